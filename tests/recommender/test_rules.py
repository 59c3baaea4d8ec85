"""Re-ranking rules against hand-computed lists, brute force and simulation."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.recommender.rules import (
    capped,
    diversified,
    explored,
    freshened,
    relevance_of_places,
    seeded,
)

DAY = 86_400


def pools(most: int = 9) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Relevance, best first, and a symmetric likeness in [0, 1]."""

    def build(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        likeness = rng.integers(0, 5, (size, size)) / 4
        likeness = np.maximum(likeness, likeness.T)
        np.fill_diagonal(likeness, 1.0)
        return np.sort(rng.integers(0, 6, size) / 5)[::-1].copy(), likeness

    return st.builds(build, st.integers(0, 10_000), st.integers(0, most))


@given(pools(), st.integers(1, 9))
def test_no_diversity_leaves_the_list_untouched(pool: tuple[np.ndarray, np.ndarray], count: int) -> None:
    relevance, likeness = pool
    assert diversified(relevance, likeness, 0.0, count).tolist() == list(range(len(relevance)))


@given(pools(), st.floats(0.01, 1.0), st.integers(1, 9))
def test_marginal_relevance_is_maximal_at_every_place(
    pool: tuple[np.ndarray, np.ndarray], diversity: float, count: int
) -> None:
    """Oracle: the formula of the paper, evaluated for every candidate at every place."""
    relevance, likeness = pool
    order = diversified(relevance, likeness, diversity, count).tolist()
    assert sorted(order) == list(range(len(relevance)))
    for place in range(1, min(count, len(order))):
        above, rest = order[:place], order[place:]
        value = {
            item: (1 - diversity) * relevance[item] - diversity * max(likeness[item, other] for other in above)
            for item in rest
        }
        best = max(value.values())
        assert value[order[place]] == pytest.approx(best, abs=1e-12)
    beyond = order[count:]
    assert beyond == sorted(beyond), "what is not placed keeps its order"


def test_diversity_by_hand() -> None:
    relevance = np.array([1.0, 0.9, 0.8, 0.1])
    twins = np.eye(4)
    twins[0, 1] = twins[1, 0] = 1.0
    # At 1/2: 1 scores 0.45 - 0.5 = -0.05 beside its twin, 2 scores 0.4, 3 scores 0.05.
    assert diversified(relevance, twins, 0.5, 4).tolist() == [0, 2, 3, 1]
    # At 1/20 the twin scores 0.855 - 0.05 = 0.805, more than 0.76.
    assert diversified(relevance, twins, 0.05, 4).tolist() == [0, 1, 2, 3]


@given(
    st.lists(st.integers(-1, 3), max_size=20).map(lambda groups: np.array(groups, dtype=np.int32)),
    st.none() | st.integers(1, 4),
    st.integers(0, 1_000),
)
def test_caps_keep_the_best_of_each_group(groups: np.ndarray, limit: int | None, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(groups)).astype(np.int64)
    within, beyond = capped(order, groups, limit)
    expected_within, expected_beyond, counts = [], [], Counter[int]()
    for item in order.tolist():
        counts[int(groups[item])] += 1
        free = limit is None or groups[item] < 0 or counts[int(groups[item])] <= limit
        (expected_within if free else expected_beyond).append(item)
    assert (within.tolist(), beyond.tolist()) == (expected_within, expected_beyond)


def test_freshness_by_hand() -> None:
    now = 1_000 * DAY
    seen = np.array([now, now - 14 * DAY, now - 28 * DAY, -1, now + DAY])
    fresh = freshened(np.full(5, 0.5), seen, now, 0.4, 14.0)
    assert fresh.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5, 0.9])
    assert freshened(np.full(5, 0.5), seen, now, 0.0, 14.0).tolist() == [0.5] * 5


def test_relevance_of_places_is_even() -> None:
    assert relevance_of_places(4).tolist() == [1.0, 0.75, 0.5, 0.25]
    assert relevance_of_places(0).tolist() == []


@pytest.mark.parametrize(("size", "count", "explore"), [(12, 4, 0.3), (7, 5, 0.5), (9, 3, 1.0)])
def test_propensities_are_the_frequencies_over_seeds(size: int, count: int, explore: float) -> None:
    """Every shown product's propensity is how often it has its place, and all chances of a place add up to one."""
    order = np.random.default_rng(5).permutation(size).astype(np.int64)
    draws = 20_000
    shown: Counter[tuple[int, int]] = Counter()
    claimed: dict[tuple[int, int], float] = {}
    for seed in range(draws):
        result = explored(order, count, explore, seeded(f"request-{seed}"))
        assert len(set(result.order.tolist())) == count, "no product twice"
        for place, (item, chance, swapped) in enumerate(
            zip(result.order.tolist(), result.propensity.tolist(), result.by_chance.tolist(), strict=True)
        ):
            shown[place, item] += 1
            assert claimed.setdefault((place, item), chance) == chance, "one propensity, whatever else was drawn"
            assert swapped == (item in order[count:])
    for (place, item), chance in claimed.items():
        # Five standard deviations of a share of that many draws.
        tolerance = 5 * np.sqrt(chance * (1 - chance) / draws)
        assert shown[place, item] / draws == pytest.approx(chance, abs=tolerance + 1e-12)
    for place in range(count):
        total = sum(chance for (at, _), chance in claimed.items() if at == place)
        assert total == pytest.approx(1.0)


def test_clicks_weighted_by_propensity_estimate_another_list() -> None:
    """Inverse propensity scoring on explored lists finds the value of a list that was rarely shown."""
    order = np.arange(8)
    worth = np.array([0.1, 0.2, 0.3, 0.1, 0.9, 0.4, 0.0, 0.6])
    wanted = {1: 4, 2: 7}
    total, squares, draws = 0.0, 0.0, 20_000
    for seed in range(draws):
        result = explored(order, 3, 0.4, seeded(str(seed)))
        value = sum(
            worth[item] / chance
            for place, (item, chance) in enumerate(zip(result.order, result.propensity, strict=True))
            if wanted.get(place) == item
        )
        total, squares = total + value, squares + value**2
    deviation = np.sqrt((squares / draws - (total / draws) ** 2) / draws)
    assert total / draws == pytest.approx(0.9 + 0.6, abs=5 * deviation)


def test_the_seed_decides_and_without_exploring_nothing_is_left_to_chance() -> None:
    order = np.arange(30)
    first, again = (explored(order, 10, 0.5, seeded("a")) for _ in range(2))
    assert first.order.tolist() == again.order.tolist()
    assert first.order.tolist() != explored(order, 10, 0.5, seeded("b")).order.tolist()
    certain = explored(order, 10, 0.0, seeded("a"))
    assert certain.order.tolist() == list(range(10))
    assert certain.propensity.tolist() == [1.0] * 10
    short = explored(np.arange(3), 10, 0.5, seeded("a"))
    assert (short.order.tolist(), short.propensity.tolist()) == ([0, 1, 2], [1.0] * 3)
