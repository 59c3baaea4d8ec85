"""Trees that rank candidates: fitting them forward in time, and their form in a bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.two_stage.ranker import MOST_LEAVES, Ranker

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset

CUTOFFS = (10, 30, 100)
SMOOTHING = 25

BINS = 63
"""Distinct values of a feature that trees split between. 255 ranked no better and took longer."""

BINNED_ROWS = 20_000
"""Rows that bins are chosen from. Ten times as many ranked no better and took twice as long to bin."""

PARITY = 1e-4
"""Largest difference tolerated between an exported score and LightGBM's own."""

WORDS = (np.uint8, np.uint16, np.uint32, np.uint64)

Walked = tuple[list[tuple[int, float, int, int]], list[float]]
"""Conditions of a tree (column, threshold, the first and the one after the last of the leaves to the left), leaves."""


@dataclass(frozen=True)
class RankingRows:
    """Rows of one window, ``R`` rows of ``G`` shoppers.

    Attributes:
        features: float32 ``[R, F]``.
        grades: int32 ``[R]``, 0 where the shopper did not take the candidate.
        groups: int64 ``[G]``, rows of each shopper, in order.
    """

    features: NDArray[np.float32]
    grades: NDArray[np.int32]
    groups: NDArray[np.int64]

    def reading(self, columns: NDArray[np.int64]) -> "RankingRows":
        """The same rows with these feature columns alone."""
        return RankingRows(np.ascontiguousarray(self.features[:, columns]), self.grades, self.groups)

    @classmethod
    def concatenate(cls, parts: Sequence["RankingRows"]) -> "RankingRows":
        """All rows of ``parts`` in order."""
        return cls(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.grades for part in parts]),
            np.concatenate([part.groups for part in parts]),
        )


def binned(rows: RankingRows, names: Sequence[str], reference: "Dataset | None" = None) -> "Dataset":
    """``rows`` as LightGBM holds them, in the bins of ``reference`` if given.

    Binning takes as long as dozens of trees, so whoever fits several sets of trees to the same rows bins them once.
    """
    import lightgbm

    return lightgbm.Dataset(
        rows.features,
        label=rows.grades,
        group=rows.groups,
        feature_name=list(names),
        params={"max_bin": BINS, "bin_construct_sample_cnt": BINNED_ROWS},
        reference=reference,
        free_raw_data=False,
    )


def fit_trees(rows: "Dataset", parameters: Mapping[str, Any], trees: int) -> "Booster":
    """Gradient-boosted trees (LightGBM) of the objective in ``parameters``, exactly ``trees`` of them."""
    import lightgbm

    return lightgbm.train(dict(parameters), rows, num_boost_round=trees)


def ndcg_curve(
    older: "Dataset", newest: "Dataset", parameters: Mapping[str, Any], trees: int
) -> tuple["Booster", NDArray[np.float64]]:
    """Fit ``trees`` trees on older windows: the booster, and how well each of its lengths ranks the newest one.

    The curve, float64 ``[trees]``, is the mean of NDCG at `CUTOFFS`.
    """
    import lightgbm

    curves: dict[str, dict[str, list[float]]] = {}
    booster = lightgbm.train(
        {**parameters, "metric": "ndcg", "eval_at": list(CUTOFFS)},
        older,
        num_boost_round=trees,
        valid_sets=[newest],
        callbacks=[lightgbm.record_evaluation(curves)],
    )
    curve = np.mean([np.asarray(values) for values in curves["valid_0"].values()], axis=0)
    # LightGBM stops where no split is left.
    return booster, np.append(curve, np.full(trees - len(curve), curve[-1]))


def smooth_peak(curve: NDArray[np.float64]) -> int:
    """The length, from 1, at which the mean of the last `SMOOTHING` values of ``curve`` is highest.

    A few hundred shoppers make a jagged curve, and stopping at its first peak measured a fifth of the trees that were
    worth having.
    """
    width = min(SMOOTHING, len(curve))
    smooth = np.convolve(curve, np.full(width, 1.0 / width), mode="valid")
    return int(np.argmax(smooth)) + width


def exported(
    trees: "Sequence[tuple[float, Booster]]", columns: Mapping[int, float], samples: NDArray[np.float32]
) -> Ranker:
    """Weighted ``trees`` and feature ``columns`` as one ranker, checked on ``samples`` (``[R, F]``).

    Raises:
        ValueError: a tree asks for something else than ``feature <= threshold`` or has more than `MOST_LEAVES` leaves,
            or the ranker does not score ``samples`` as LightGBM does.
    """
    native = np.zeros(len(samples))
    walked = []
    for weight, booster in trees:
        native += weight * np.asarray(booster.predict(samples, raw_score=True))
        walked += [_walked(tree["tree_structure"], weight) for tree in booster.dump_model()["tree_info"]]
    for column, weight in columns.items():
        native += weight * samples[:, column]
    ranker = _packed(walked or [([], [0.0])], columns)
    difference = float(np.abs(ranker.score(samples) - native).max(initial=0.0))
    if not difference <= PARITY * max(1.0, float(np.abs(native).max(initial=0.0))):
        raise ValueError(
            f"the exported ranker differs from LightGBM's own scores by {difference:.3g} on {len(samples)} rows: "
            "this version of LightGBM describes its trees in another way; install the one of constraints.txt"
        )
    return ranker


def _packed(walked: Sequence[Walked], columns: Mapping[int, float]) -> Ranker:
    """Trees side by side; what shorter ones lack are conditions that always hold, and leaves that are never reached."""
    shape = (max(len(conditions) for conditions, _ in walked), len(walked))
    leaves = np.zeros((len(walked), max(len(values) for _, values in walked)), dtype=np.float32)
    word = next((bits for bits in WORDS if leaves.shape[1] <= np.iinfo(bits).bits), None)
    if word is None:
        raise ValueError(f"a tree has {leaves.shape[1]} leaves; the ranker takes at most {MOST_LEAVES}")
    feature, kept = np.zeros(shape, dtype=np.int32), np.full(shape, np.iinfo(word).max, dtype=word)
    threshold = np.full(shape, np.inf)
    for tree, (conditions, values) in enumerate(walked):
        leaves[tree, : len(values)] = values
        for number, (column, limit, first, stop) in enumerate(conditions):
            feature[number, tree], threshold[number, tree] = column, limit
            kept[number, tree] ^= word((1 << stop) - (1 << first))
    weights = np.array(list(columns.values()), dtype=np.float32)
    return Ranker(feature, _float32_below(threshold), kept, leaves, np.array(list(columns), dtype=np.int32), weights)


def _walked(root: Mapping[str, Any], weight: float) -> Walked:
    """Conditions of one tree, and what its leaves add times ``weight``, from left to right."""
    conditions: list[tuple[int, float, int, int]] = []
    leaves: list[float] = []

    def walk(node: Mapping[str, Any]) -> None:
        if "leaf_value" in node:
            leaves.append(weight * node["leaf_value"])
            return
        if node["decision_type"] != "<=":
            raise ValueError(f"a tree asks {node['decision_type']!r} of a feature; only '<=' can be exported")
        first = len(leaves)
        walk(node["left_child"])
        conditions.append((node["split_feature"], node["threshold"], first, len(leaves)))
        walk(node["right_child"])

    walk(root)
    return conditions, leaves


def _float32_below(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 at most each of ``values``: for a float32 ``x``, ``x <=`` either of them is the same."""
    single = values.astype(np.float32)
    return np.where(single > values, np.nextafter(single, np.float32(-np.inf)), single)


def calibrated(scores: NDArray[np.float64], taken: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope > 0 and intercept of ``P(taken | score)`` by Platt scaling (Newton's method, smoothed targets).

    Platt 1999, "Probabilistic outputs for support vector machines"; a slope that would not be positive becomes tiny.
    """
    positive, negative = int(taken.sum()), int((~taken).sum())
    target = np.where(taken, (positive + 1.0) / (positive + 2.0), 1.0 / (negative + 2.0))
    slope, intercept = 1.0, float(np.log((positive + 1.0) / (negative + 1.0)))
    centre = float(scores.mean()) if len(scores) else 0.0
    design = np.stack([scores - centre, np.ones(len(scores))], axis=1)
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ [slope, intercept], -30, 30)))
        gradient = design.T @ (chance - target) + 1e-6 * np.array([slope, intercept])
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        step = np.clip(step, -1.0, 1.0)
        slope, intercept = slope - float(step[0]), intercept - float(step[1])
        if np.abs(step).max() < 1e-9:
            break
    slope = max(slope, 1e-3)
    return slope, intercept - slope * centre
