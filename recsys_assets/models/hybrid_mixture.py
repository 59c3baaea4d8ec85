"""What the hybrid ranks by: two sets of trees and, where held-out windows show a gain, the order of a source.

Trees win on a large log. On a small one a single source can rank better; it is blended in where held-out windows show a
clear gain. One set of trees is fitted in ``hybrid_ranker``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recsys_assets.models.hybrid_ranker import (
    CUTOFFS,
    RankingRows,
    binned,
    fit_trees,
    ndcg_curve,
    smooth_peak,
)

if TYPE_CHECKING:
    from lightgbm import Booster

SETS, SEED_STEP = 2, 1_000_003
"""Sets of trees (LambdaMART, Burges 2010), and the difference of their seeds. Trees of one seed differ by 3 % of their
NDCG from those of the next; the sum of two ranks better than most of them."""

FEATURES_READ = 40
"""Features that the final trees learn from, those with the largest gain in the trees of the held-out windows. The
others changed nothing, and every feature costs time in training and in answers."""

ENOUGH_GROUPS = 400
"""Shoppers to judge mixtures on: further windows are held out in turn until so many are reached."""

FEW_GROUPS = 50
"""Fewer shoppers than this choose by luck; then trees and the first of the columns count half each."""

COLUMNS_TRIED = 3
"""Sources, those that rank best alone, that are tried in a mixture with the trees."""

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of a source in a mixture that are tried."""

MIN_STANDARD_ERRORS = 2.0
"""Standard errors of the paired difference by which a mixture has to be ahead of trees alone. The trees it is compared
with learned from fewer windows than those that will serve, so that they look weaker than they are, and the best of many
mixtures looks stronger: without this bar nine shops of a few hundred shoppers had 1 % less in the mean, one a tenth."""


@dataclass(frozen=True)
class HeldOut:
    """Rows of windows that the scores beside them have not seen.

    Attributes:
        scores: float64 ``[R]``, of trees fitted on earlier windows.
        rows: the windows' rows.
        trees: how many rank them best.
        gains: float64 ``[F]``, total gain of each feature in the trees.
    """

    scores: NDArray[np.float64] = field(repr=False)
    rows: RankingRows = field(repr=False)
    trees: int
    gains: NDArray[np.float64] = field(repr=False)

    def read(self, columns: Collection[int]) -> NDArray[np.int64]:
        """The `FEATURES_READ` columns with the largest gain, together with ``columns``; ascending."""
        order = np.argsort(-self.gains, kind="stable")[:FEATURES_READ]
        return np.union1d(order[self.gains[order] > 0], np.array(sorted(columns), dtype=np.int64)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Weight times the score of trees, plus the same over feature columns.

    Attributes:
        trees: weight >= 0 of the mean of all sets.
        columns: weight > 0 by feature column.
    """

    trees: float
    columns: Mapping[int, float]

    def score(self, trees: NDArray[np.float64], features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 ``[R]`` from scores of trees (``[R]``) and features (``[R, F]``)."""
        total = self.trees * trees
        for column, weight in self.columns.items():
            total = total + weight * features[:, column]
        return np.asarray(total, dtype=np.float64)


def held_out(
    parts: Sequence[RankingRows], names: Sequence[str], parameters: Mapping[str, Any], most_trees: int
) -> HeldOut:
    """Fit trees on the windows before each of the newest ones (``parts``: at least two, oldest first) and score these.

    Raises:
        ValueError: fewer than two windows.
    """
    if len(parts) < 2:
        raise ValueError(f"holding out a window needs an older one to learn from; there are {len(parts)} windows")
    first = len(parts) - 1
    while first > 1 and sum(len(part.groups) for part in parts[first:]) < ENOUGH_GROUPS:
        first -= 1
    older = [binned(RankingRows.concatenate(parts[:newest]), names) for newest in range(first, len(parts))]
    newest = [binned(part, names, past) for part, past in zip(parts[first:], older, strict=True)]
    fits = [ndcg_curve(past, part, parameters, most_trees) for past, part in zip(older, newest, strict=True)]
    weights = [len(part.groups) for part in parts[first:]]
    gains = np.sum([booster.feature_importance("gain") for booster, _ in fits], axis=0)
    trees = smooth_peak(np.average([curve for _, curve in fits], axis=0, weights=weights))
    scores = [
        np.asarray(booster.predict(part.features, num_iteration=trees, raw_score=True))
        for (booster, _), part in zip(fits, parts[first:], strict=True)
    ]
    return HeldOut(np.concatenate(scores), RankingRows.concatenate(parts[first:]), trees, gains)


def best_mixture(judged: HeldOut, columns: Sequence[int]) -> Mixture:
    """Trees alone, unless with one of the feature ``columns`` held-out windows are ranked better.

    What is mixed is first divided by its standard deviation there. Of the mixtures that are better by
    `MIN_STANDARD_ERRORS` of mean NDCG at `CUTOFFS`, the one furthest beyond them is taken. With fewer shoppers than
    `FEW_GROUPS`, trees and the first column count half each.
    """
    features = judged.rows.features
    trees = 1.0 / float(_or_one(judged.scores.std()))
    if len(judged.rows.groups) < FEW_GROUPS:
        return _shared(trees, columns[0], features, 0.5)
    alone = {column: judged_ndcg(features[:, column], judged.rows).mean() for column in columns}
    tried = sorted(alone, key=lambda column: (-alone[column], column))[:COLUMNS_TRIED]
    best, furthest = Mixture(trees, {}), 0.0
    usual = judged_ndcg(best.score(judged.scores, features), judged.rows)
    for column, share in product(tried, SHARES):
        mixture = _shared(trees, column, features, share)
        gain = judged_ndcg(mixture.score(judged.scores, features), judged.rows) - usual
        ahead = float(gain.mean() - MIN_STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)))
        if ahead > furthest:
            best, furthest = mixture, ahead
    return best


def _shared(trees: float, column: int, features: NDArray[np.float32], share: float) -> Mixture:
    """Trees of weight ``trees`` and a feature column over its standard deviation, mixed with the column's ``share``."""
    return Mixture((1.0 - share) * trees, {column: share / float(_or_one(features[:, column].std()))})


def judged_ndcg(scores: NDArray[Any], rows: RankingRows) -> NDArray[np.float64]:
    """Mean over `CUTOFFS` of NDCG of rows in the order of ``scores``; the highest grade is relevant.

    Ties go to the earlier row. The ideal counts what is among the rows. One figure per shopper with a relevant row.
    """
    scores = np.asarray(scores, dtype=np.float64)
    shopper = np.repeat(np.arange(len(rows.groups)), rows.groups)
    column = np.arange(len(shopper)) - np.repeat(np.cumsum(rows.groups) - rows.groups, rows.groups)
    table = np.full((len(rows.groups), int(rows.groups.max(initial=0))), -np.inf)
    table[shopper, column] = scores
    relevant = np.flatnonzero(rows.grades == rows.grades.max(initial=0))
    own, shopper, column = scores[relevant, None], shopper[relevant], column[relevant, None]
    lines = table[shopper]
    earlier = (lines > own) | ((lines == own) & (np.arange(table.shape[1]) < column))
    place = earlier.sum(axis=1)
    count = np.bincount(shopper, minlength=len(rows.groups))
    gain = 1.0 / np.log2(place + 2.0)
    total = np.zeros(int((count > 0).sum()))
    for cutoff in CUTOFFS:
        ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, cutoff + 2)))])[np.minimum(count, cutoff)]
        found = np.bincount(shopper, weights=np.where(place < cutoff, gain, 0.0), minlength=len(rows.groups))
        total += found[count > 0] / ideal[count > 0]
    return total / len(CUTOFFS)


def fitted_trees(
    mixture: Mixture,
    everything: RankingRows,
    names: Sequence[str],
    parameters: Mapping[str, Any],
    trees: int,
) -> "list[tuple[float, Booster]]":
    """`SETS` of ``trees`` fitted on ``everything``, each beside its weight; none where the mixture has no trees."""
    if mixture.trees == 0:
        return []
    rows, seed = binned(everything, names), int(parameters["seed"])
    seeds = [seed + number * SEED_STEP for number in range(SETS)]
    return [(mixture.trees / SETS, fit_trees(rows, {**parameters, "seed": own}, trees)) for own in seeds]


def _or_one(spread: Any) -> Any:
    return np.where(spread > 0, spread, 1.0)
