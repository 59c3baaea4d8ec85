"""Re-ranking rules: limits per category and brand, freshness, diversity, exploration.

Pure functions over one pool of ``m`` candidates, best first. An order is int64 places into the pool, best first. Pools
and attributes come from ``lambda_api.serving.engine``, what a shop wants of them from `ListRules`.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]
SECONDS_PER_DAY = 86_400.0


def relevance_of_places(size: int) -> NDArray[np.float64]:
    """Relevance of a ranked pool by place alone: 1, then evenly down to 1 / ``size``; float64 ``[size]``.

    Scores of different models have different distributions (counts, probabilities, logits); only the order means the
    same for all of them.
    """
    return (size - np.arange(size)) / max(1, size)


def diversified(relevance: NDArray[np.float64], likeness: NDArray[np.floating], diversity: float, count: int) -> Order:
    """Maximal marginal relevance: each place takes the candidate with the largest
    ``(1 - diversity) * relevance - diversity * (largest likeness to a candidate already placed)``.

    Carbonell & Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998, with ``lambda = 1 - diversity``.

    Args:
        relevance: float64 ``[m]``, in [0, 1], of candidates best first.
        likeness: ``[m, m]``, in [0, 1], symmetric.
        diversity: 0 returns the order unchanged; 1 uses likeness alone after the first place.
        count: places to fill; the other candidates follow in their old order.
    """
    size = len(relevance)
    if diversity == 0 or size == 0:
        return np.arange(size, dtype=np.int64)
    value = (1.0 - diversity) * relevance
    nearest = np.zeros(size)
    taken = np.zeros(size, dtype=bool)
    order: list[int] = []
    for _ in range(min(count, size)):
        gain = np.where(taken, -np.inf, value - diversity * nearest)
        # argmax takes the first, more relevant of equals. Relevance decides the first place even at diversity 1.
        best = int(np.argmax(gain)) if order else int(np.argmax(relevance))
        order.append(best)
        taken[best] = True
        np.maximum(nearest, likeness[best], out=nearest)
    return np.concatenate([np.array(order, dtype=np.int64), np.flatnonzero(~taken)])


def capped(order: Order, groups: NDArray[np.int32], limit: int | None) -> tuple[Order, Order]:
    """Split ``order`` into those within ``limit`` per group and those beyond; each keeps its order.

    ``groups``: int32 ``[m]``, -1 where unknown; those are not limited.
    """
    if limit is None or len(order) == 0:
        return order, order[:0]
    group = groups[order]
    by_group = np.argsort(group, kind="stable")
    sorted_groups = group[by_group]
    nth = np.empty(len(order), dtype=np.int64)
    nth[by_group] = np.arange(len(order)) - np.searchsorted(sorted_groups, sorted_groups)
    within = (nth < limit) | (group < 0)
    return order[within], order[~within]


def freshened(
    relevance: NDArray[np.float64], first_seen: NDArray[np.int64], now: int, freshness: float, fresh_days: float
) -> NDArray[np.float64]:
    """Relevance plus ``freshness * 0.5 ** (age / fresh_days)``; float64 ``[m]``.

    ``first_seen``: int64 ``[m]``, seconds since 1970 UTC. Nothing is added where it is negative (unknown); times after
    ``now`` count as now.
    """
    age_days = np.maximum(now - first_seen, 0) / SECONDS_PER_DAY
    return relevance + np.where(first_seen >= 0, freshness * 0.5 ** (age_days / fresh_days), 0.0)


@dataclass(frozen=True, slots=True)
class Explored:
    """A list with some places filled at random.

    Attributes:
        order: int64 ``[k]``, places into the pool.
        propensity: float64 ``[k]``, probability over all seeds that this candidate has this place.
        by_chance: bool ``[k]``, places filled at random.
    """

    order: Order
    propensity: NDArray[np.float64]
    by_chance: NDArray[np.bool_]


def explored(order: Order, count: int, explore: float, generator: np.random.Generator) -> Explored:
    """Fill each place of the list, with probability ``explore``, with a candidate from below the list.

    The list is ``order[:count]``, the candidates are ``order[count:]``. Each explorable place is drawn independently;
    places that explore get distinct candidates, drawn uniformly. So a listed product keeps its place with probability
    ``1 - explore``, and each candidate has any given explorable place with probability ``explore / candidates``; both
    are exact marginals over seeds. With fewer candidates than places, only that many of the last places are
    explorable, and the others keep their product.

    This is the epsilon mixture of logging policies for off-policy evaluation (Li et al., "Unbiased offline evaluation
    of contextual-bandit-based news article recommendation algorithms", WSDM 2011), per place.
    """
    listed, rest = order[:count], order[count:]
    explorable = min(len(listed), len(rest))
    first = len(listed) - explorable
    swapped = np.zeros(len(listed), dtype=bool)
    propensity = np.ones(len(listed))
    chosen = listed.copy()
    if explore > 0 and explorable:
        swapped[first:] = generator.random(explorable) < explore
        drawn = generator.permutation(len(rest))[:explorable]
        chosen[first:] = np.where(swapped[first:], rest[drawn], listed[first:])
        propensity[first:] = np.where(swapped[first:], explore / len(rest), 1.0 - explore)
    return Explored(chosen, propensity, swapped)


def seeded(seed: str) -> np.random.Generator:
    """A random generator from a text; equal on every machine and in every process."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(seed.encode(errors="replace")).digest())))
