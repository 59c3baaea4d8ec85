"""Feature importances of a tree ranker: TreeSHAP summary and gains.

LightGBM computes TreeSHAP itself (Lundberg et al., "From local explanations to global understanding with explainable AI
for trees", Nature Machine Intelligence 2020), so the shap package is not needed. Reasons of single recommendations are
in ``lambda_api.serving.reasons``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter
from scipy.stats import rankdata

from lambda_api.atomic_files import write_text
from lambda_api.recommender.contract import Recommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.explained import ExplainedTrainer, FittedRanker
from recsys_assets.models.trainer import Report, Trainer

EXPLAINED_ROWS = 1_000
SUMMARY_POINTS = 120


@dataclass(frozen=True, slots=True)
class FeatureImportance:
    """One feature of a ranker.

    Attributes:
        name: of the feature.
        shap: mean absolute contribution to the raw score.
        share: of the sum of ``shap`` over features.
        gain: share of the total gain of splits in training.
        direction: rank correlation (Spearman) of value and contribution, in [-1, 1]; 0 where either is constant.
        points: contribution and mid-rank of the value (0 lowest, 1 highest) of up to `SUMMARY_POINTS` rows.
    """

    name: str
    shap: float
    share: float
    gain: float
    direction: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class RankerImportance:
    """Features of a ranker, most important first, as ``rows`` explained candidates show them.

    ``base`` is the mean raw score: it and a row's contributions add up to the row's raw score.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    rows: int
    base: float
    features: tuple[FeatureImportance, ...]

    def to_json(self) -> str:
        """As JSON; `from_json` reads it back."""
        return _ADAPTER.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "RankerImportance":
        """Inverse of `to_json`. Raises pydantic's ``ValidationError`` naming every field that does not fit."""
        return _ADAPTER.validate_json(text)


def ranker_importance(ranker: FittedRanker, *, rows: int = EXPLAINED_ROWS, seed: int = 0) -> RankerImportance:
    """Explain ``rows`` of the ranker's features (drawn at random where there are more).

    Contributions of a weighted sum of models are the weighted sum of theirs; that of a feature added as it is, is how
    far its value lies from its mean (Lundberg and Lee, "A unified approach to interpreting model predictions", NIPS
    2017, corollary 1). Gains are those of the trees, weighted alike.

    Raises:
        ValueError: no rows, or the number of columns, names and the trees' features differ.
    """
    names, features = ranker.names, ranker.features
    expected = {booster.num_feature() for _, booster in ranker.trees} | {len(names)}
    if len(features) == 0 or features.ndim != 2 or expected != {features.shape[1]}:
        raise ValueError(
            f"the ranker has {max(expected)} features; explain at least one row of as many columns and names, "
            f"not {features.shape} with {len(names)} names"
        )
    rng = np.random.default_rng(seed)
    sample = features[np.sort(rng.permutation(len(features))[:rows])]
    shap, base, gains = _contributions(ranker, sample)
    size = np.abs(shap).mean(axis=0)
    shown = np.sort(rng.permutation(len(sample))[:SUMMARY_POINTS])
    found = []
    for column in np.argsort(-size, kind="stable").tolist():
        rank = _mid_rank(sample[:, column].astype(np.float64))
        found.append(
            FeatureImportance(
                name=names[column],
                shap=float(size[column]),
                share=float(size[column] / max(float(size.sum()), 1e-300)),
                gain=float(gains[column] / max(float(gains.sum()), 1e-300)),
                direction=_correlation(rank, _mid_rank(shap[:, column])),
                points=tuple((round(float(shap[row, column]), 5), round(float(rank[row]), 4)) for row in shown),
            )
        )
    return RankerImportance(len(sample), base, tuple(found))


def fit_and_explain(
    trainer: Trainer, data: TrainingData, report: Report | None = None
) -> tuple[Recommender, RankerImportance | None]:
    """Fit a model, and explain its ranker if it has one.

    Raises:
        ValueError: as `Trainer.fit`.
    """
    if not isinstance(trainer, ExplainedTrainer):
        return trainer.fit(data, report), None
    found: list[RankerImportance] = []
    fitted = trainer.fit_explained(data, report, lambda ranker: found.append(ranker_importance(ranker)))
    return fitted, found[0] if found else None


def importance_path(candidate: Path) -> Path:
    """The importance file of a candidate bundle: beside its folder, because a bundle holds only what serving needs."""
    return candidate.with_name(f"{candidate.name}.importance.json")


def write_importance(importance: RankerImportance | None, candidate: Path) -> Path:
    """Write it to `importance_path`, replacing an earlier one atomically; ``None`` removes the file."""
    path = importance_path(candidate)
    if importance is None:
        path.unlink(missing_ok=True)
        return path
    return write_text(path, importance.to_json())


def read_importance(candidate: Path) -> RankerImportance | None:
    """What `write_importance` wrote for this candidate; ``None`` where nothing was."""
    path = importance_path(candidate)
    return RankerImportance.from_json(path.read_bytes()) if path.exists() else None


def _contributions(
    ranker: FittedRanker, sample: NDArray[np.float32]
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Contributions ``[n, F]`` of the rows of ``sample``, the base they add up from, and gains ``[F]``."""
    shap = np.zeros(sample.shape, dtype=np.float64)
    gains = np.zeros(sample.shape[1])
    base = 0.0
    for weight, booster in ranker.trees:
        found = np.asarray(booster.predict(sample, pred_contrib=True), dtype=np.float64)
        shap += weight * found[:, :-1]
        base += weight * float(found[:, -1].mean())
        gains += weight * np.asarray(booster.feature_importance("gain"), dtype=np.float64)
    for column, weight in ranker.columns.items():
        mean = float(ranker.features[:, column].mean(dtype=np.float64))
        shap[:, column] += weight * (sample[:, column] - mean)
        base += weight * mean
    return shap, base, gains


def _mid_rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-rank of each value, scaled to [0, 1]; missing values are lowest."""
    rank: NDArray[np.float64] = rankdata(np.where(np.isnan(values), -np.inf, values)) - 1.0
    return rank / max(len(values) - 1, 1)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


_ADAPTER = TypeAdapter(RankerImportance)
