"""Trees that rank candidates: fitting them forward in time, and their form as an ONNX graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.two_stage.stage import GRAPH_INPUT

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset

OPSET = 15
CUTOFFS = (10, 30, 100)
SMOOTHING = 25

BINS = 63
"""Distinct values of a feature that trees split between. 255 ranked no better and took longer."""

BINNED_ROWS = 20_000
"""Rows that bins are chosen from. Ten times as many ranked no better and took twice as long to bin."""

PARITY = 1e-4
"""Largest difference tolerated between an exported score and LightGBM's own."""


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


def with_float32_thresholds(booster: "Booster") -> "Booster":
    """The same trees with every threshold rounded down to a float32.

    Features are float32, so ``x <= t`` and ``x <= float32 below t`` are the same question; an ONNX graph, which holds
    float32 thresholds, then asks it exactly.
    """
    import lightgbm

    lines = []
    for line in booster.model_to_string().split("\n"):
        if line.startswith("threshold="):
            values = np.array([float(value) for value in line.removeprefix("threshold=").split()])
            single = values.astype(np.float32)
            single = np.where(single > values, np.nextafter(single, np.float32(-np.inf)), single)
            line = "threshold=" + " ".join(repr(float(value)) for value in single)
        lines.append(line)
    # Byte sizes of the trees change with their text; without the index LightGBM reads them one after the other.
    text = "\n".join(line for line in lines if not line.startswith("tree_sizes="))
    return lightgbm.Booster(model_str=text)


def exported(booster: "Booster", samples: NDArray[np.float32]) -> bytes:
    """``booster`` as a serialised ONNX graph, float32 ``[R, F]`` to scores.

    Raises:
        ValueError: the graph does not score ``samples`` (``[R, F]``) as LightGBM does.
    """
    from onnx import helper
    from onnxmltools import convert_lightgbm  # type: ignore[import-untyped]
    from onnxmltools.convert.common.data_types import FloatTensorType  # type: ignore[import-untyped]
    from onnxruntime import InferenceSession

    columns = samples.shape[1]
    inputs = [(GRAPH_INPUT, FloatTensorType([None, columns]))]
    model = convert_lightgbm(booster, initial_types=inputs, target_opset=OPSET)
    # The converter draws a random name and lists domains in any order; equal models shall have equal bundles.
    model.graph.name = "ranker"
    domains = sorted((opset.domain, opset.version) for opset in model.opset_import)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in domains)
    graph: bytes = model.SerializeToString()
    theirs = InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {GRAPH_INPUT: samples})[0]
    native = np.asarray(booster.predict(samples, raw_score=True))
    difference = float(np.abs(theirs.reshape(-1) - native).max(initial=0.0))
    if not difference <= PARITY * max(1.0, float(np.abs(native).max(initial=0.0))):
        raise ValueError(
            f"the exported ranker differs from LightGBM's own scores by {difference:.3g} on {len(samples)} rows: "
            "the ONNX converter does not support this model; change the objective or the converter's version"
        )
    return graph


def single_column(column: int, columns: int) -> bytes:
    """A graph that ranks by one feature: for shops whose log is too short to learn a ranking from."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Gather", [GRAPH_INPUT, "column"], ["scores"], axis=1)],
        "single_column",
        [helper.make_tensor_value_info(GRAPH_INPUT, TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.array([column], dtype=np.int64), "column")],
    )
    opset = [helper.make_opsetid("", OPSET)]
    serialised: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return serialised


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
