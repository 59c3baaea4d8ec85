"""What the hybrid ranks by: trees of two objectives and, where held-out windows show a gain, the order of a source.

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
    OPSET,
    RankingRows,
    binned,
    exported,
    fit_trees,
    ndcg_curve,
    single_column,
    smooth_peak,
    with_float32_thresholds,
)

if TYPE_CHECKING:
    from lightgbm import Booster

MEMBERS = ("lambdarank", "rank_xendcg")
"""Objectives of the two sets of trees, each with a seed of its own: LambdaMART (Burges 2010) and XE-NDCG-MART (Bruch,
"An alternative cross entropy loss for learning-to-rank", WWW 2021). Trees of one seed differ by 3 % of their NDCG from
those of the next; the sum of both ranks better than most of them."""

FEATURES_READ = 40
"""Features that the final trees learn from, those with the largest gain in the trees of the held-out windows. The
others changed nothing, and every feature costs time in training and in answers."""

ENOUGH_GROUPS = 400
"""Shoppers to judge mixtures on: further windows are held out in turn until so many are reached."""

FEW_GROUPS = 50
"""Fewer shoppers than this choose by luck; then trees and the first of the columns count half each."""

COLUMNS_TRIED = 3
"""Sources, the best by themselves, that may have a say beside the trees."""

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of a source in a mixture that are tried."""

SURE = 2.0
"""Standard errors of the paired difference by which a mixture has to be ahead of trees alone. The trees it is compared
with learned from fewer windows than those that will serve, so that they look weaker than they are, and the best of many
mixtures looks stronger: without this bar nine shops of a few hundred shoppers had 1 % less in the mean, one a tenth."""


@dataclass(frozen=True)
class HeldOut:
    """Rows of windows that the scores beside them have not seen.

    Attributes:
        scores: float64 ``[R, len(MEMBERS)]``, of trees fitted on earlier windows.
        rows: the windows' rows.
        trees: how many of each member rank them best.
        gains: float64 ``[F]``, total gain of each feature in the trees of all members.
    """

    scores: NDArray[np.float64] = field(repr=False)
    rows: RankingRows = field(repr=False)
    trees: tuple[int, ...]
    gains: NDArray[np.float64] = field(repr=False)

    def read(self, columns: Collection[int]) -> NDArray[np.int64]:
        """The `FEATURES_READ` columns with the largest gain, together with ``columns``; ascending."""
        order = np.argsort(-self.gains, kind="stable")[:FEATURES_READ]
        return np.union1d(order[self.gains[order] > 0], np.array(sorted(columns), dtype=np.int64)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Mixture:
    """``sum of weight * score`` over `MEMBERS`, plus the same over feature columns.

    Attributes:
        trees: one weight >= 0 per member.
        columns: weight > 0 by feature column.
    """

    trees: tuple[float, ...]
    columns: Mapping[int, float]

    def score(self, trees: NDArray[np.float64], features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 ``[R]`` from scores of each member (``[R, len(MEMBERS)]``) and features (``[R, F]``)."""
        total = trees @ np.asarray(self.trees)
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
    counts, columns, gains = [], [], np.zeros(len(names))
    for member in range(len(MEMBERS)):
        wanted = _of_member(parameters, member)
        fits = [ndcg_curve(past, part, wanted, most_trees) for past, part in zip(older, newest, strict=True)]
        weights = [len(part.groups) for part in parts[first:]]
        gains += np.sum([booster.feature_importance("gain") for booster, _ in fits], axis=0)
        trees = smooth_peak(np.average([curve for _, curve in fits], axis=0, weights=weights))
        counts.append(trees)
        columns.append(
            np.concatenate(
                [
                    np.asarray(booster.predict(part.features, num_iteration=trees, raw_score=True))
                    for (booster, _), part in zip(fits, parts[first:], strict=True)
                ]
            )
        )
    return HeldOut(np.stack(columns, axis=1), RankingRows.concatenate(parts[first:]), tuple(counts), gains)


def best_mixture(judged: HeldOut, columns: Sequence[int]) -> Mixture:
    """Trees alone, all members alike, unless with one of the feature ``columns`` held-out windows are ranked better.

    What is mixed is first divided by its standard deviation there. Of the mixtures that are better by `SURE` standard
    errors of mean NDCG at `CUTOFFS` the one that is surest is taken. With `FEW_GROUPS` nothing is chosen.
    """
    features = judged.rows.features
    trees = tuple(float(1 / len(MEMBERS) / width) for width in _or_one(judged.scores.std(axis=0)))
    if len(judged.rows.groups) < FEW_GROUPS:
        return _shared(trees, columns[0], _spread(features, columns[0]), 0.5)
    alone = {column: judged_ndcg(features[:, column], judged.rows).mean() for column in columns}
    tried = sorted(alone, key=lambda column: (-alone[column], column))[:COLUMNS_TRIED]
    best, surest = Mixture(trees, {}), 0.0
    usual = judged_ndcg(best.score(judged.scores, features), judged.rows)
    for column, share in product(tried, SHARES):
        mixture = _shared(trees, column, _spread(features, column), share)
        gain = judged_ndcg(mixture.score(judged.scores, features), judged.rows) - usual
        sure = float(gain.mean() - SURE * gain.std(ddof=1) / np.sqrt(len(gain)))
        if sure > surest:
            best, surest = mixture, sure
    return best


def _shared(trees: Sequence[float], column: int, width: float, share: float) -> Mixture:
    """Trees with their weights and a feature column of standard deviation ``width``, which has ``share`` of the say."""
    return Mixture(tuple((1.0 - share) * weight for weight in trees), {column: share / width})


def judged_ndcg(scores: NDArray[Any], rows: RankingRows) -> NDArray[np.float64]:
    """Mean over `CUTOFFS` of NDCG of rows in the order of ``scores``; the highest grade is relevant.

    Ties go to the earlier row. The ideal counts what is among the rows. One figure per shopper with a relevant row.
    """
    relevant = rows.grades == rows.grades.max(initial=0)
    shopper = np.repeat(np.arange(len(rows.groups)), rows.groups)
    order = np.lexsort((-np.asarray(scores, dtype=np.float64), shopper))
    place = np.arange(len(shopper)) - np.repeat(np.cumsum(rows.groups) - rows.groups, rows.groups)
    count = np.bincount(shopper, weights=relevant, minlength=len(rows.groups)).astype(int)
    gain = relevant[order] / np.log2(place + 2.0)
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
    trees: Sequence[int],
) -> "list[tuple[float, Booster]]":
    """The trees that have a weight, fitted on ``everything``, each beside its weight."""
    rows = binned(everything, names)
    return [
        (weight, with_float32_thresholds(fit_trees(rows, _of_member(parameters, member), count)))
        for member, (weight, count) in enumerate(zip(mixture.trees, trees, strict=True))
        if weight > 0
    ]


def exported_mixture(
    trees: "Sequence[tuple[float, Booster]]", columns: Mapping[int, float], samples: NDArray[np.float32]
) -> bytes:
    """`fitted_trees` and weighted feature ``columns`` as one graph, checked on ``samples`` (``[R, F]``).

    Raises:
        ValueError: an exported graph does not score ``samples`` as LightGBM does.
    """
    graphs, weights = [], []
    for weight, booster in trees:
        graphs.append(exported(booster, samples))
        weights.append(weight)
    for column, weight in columns.items():
        graphs.append(single_column(column, samples.shape[1]))
        weights.append(weight)
    return joined(graphs, weights)


def joined(graphs: Sequence[bytes], weights: Sequence[float]) -> bytes:
    """One graph whose scores are ``sum of weight * score`` over ``graphs`` of one input."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers, scaled = [], [], []
    opsets: dict[str, int] = {"": OPSET}
    for number, (serialised, weight) in enumerate(zip(graphs, weights, strict=True)):
        model = onnx.compose.add_prefix(onnx.load_from_string(serialised), f"part{number}_", rename_inputs=False)
        opsets |= {opset.domain: opset.version for opset in model.opset_import if opset.domain}
        nodes += list(model.graph.node)
        initializers += list(model.graph.initializer)
        initializers.append(numpy_helper.from_array(np.array(weight, dtype=np.float32), f"weight{number}"))
        nodes.append(helper.make_node("Mul", [model.graph.output[0].name, f"weight{number}"], [f"scaled{number}"]))
        scaled.append(f"scaled{number}")
        inputs = list(model.graph.input)
    nodes.append(helper.make_node("Sum", scaled, ["scores"]))
    output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "ranker", inputs, [output], initializers)
    imports = [helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items())]
    result: bytes = helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
    return result


def _of_member(parameters: Mapping[str, Any], member: int) -> dict[str, Any]:
    seed = int(parameters["seed"]) + member * SEED_STEP
    return {**parameters, "objective": MEMBERS[member], "seed": seed}


SEED_STEP = 1_000_003


def _spread(features: NDArray[np.float32], column: int) -> float:
    return float(_or_one(features[:, column].std()))


def _or_one(spread: Any) -> Any:
    return np.where(spread > 0, spread, 1.0)
