"""The evaluation report: every figure of one evaluation as a frozen value with a JSON round trip."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from recsys_assets.evaluation.business import BusinessFigures
from recsys_assets.evaluation.examples import ExampleList
from recsys_assets.evaluation.fairness import FairnessGap
from recsys_assets.evaluation.provider import ProviderExposure
from recsys_assets.evaluation.ratings import RatingEvaluation
from recsys_assets.evaluation.segments import ProductSegmentResult, SegmentResult
from recsys_assets.measurement.bootstrap import Interval, PairedComparison
from recsys_assets.measurement.importance import RankerImportance
from recsys_assets.measurement.metrics import FloatArray
from recsys_assets.measurement.protocol import ModelEvaluation

FORMAT_VERSION: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Setting:
    """What was asked, of whom, and how the uncertainty was computed.

    Attributes:
        start, end: the window, UTC.
        relevant_types, minimum_rating, allow_repeats, candidates: see `EvaluationWindow`.
        k: length of the lists.
        users: how many were evaluated.
        relevant_per_user: mean number of relevant products.
        candidate_products: products that could be listed.
        reachable_share: share of relevant products that could be listed; no list finds the rest.
        confidence, resamples, seed: of every interval.
        minimum_group_size: minimum size of a group that takes part in gaps and worst group.
    """

    start: datetime
    end: datetime
    relevant_types: tuple[str, ...]
    minimum_rating: float
    allow_repeats: bool
    candidates: Literal["seen", "catalogue"]
    k: int
    users: int
    relevant_per_user: float
    candidate_products: int
    reachable_share: float
    confidence: float
    resamples: int
    seed: int
    minimum_group_size: int


@dataclass(frozen=True, slots=True)
class WorstGroup:
    """The large enough group of users with the lowest mean recall, over history and demographic groups alike."""

    dimension: str
    group: str
    recall: float
    n: int


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What was found of one model.

    Attributes:
        name: of the model.
        metrics: `RANKING_METRICS` with intervals.
        beyond: novelty, diversity, average_popularity and tail_share; ``None`` where no list had one.
        coverage, gini: see ``beyond_accuracy``; ``gini`` is ``None`` when nothing was listed.
        exposure: share of listed places per popularity band of products, most popular first.
        user_segments, product_segments, gaps: see ``segments``.
        worst_group: ``None`` when no group is large enough.
        ratings: ``None`` where the shop has no ratings.
        validation_ndcg: mean NDCG on the validation window, if it was measured.
        providers: exposure by brand, category and popularity, where the catalogue has them.
        importance: what its ranker looks at; ``None`` for models without one, or where it was not explained.
    """

    name: str
    metrics: dict[str, Interval]
    beyond: dict[str, Interval | None]
    coverage: float
    gini: float | None
    exposure: tuple[float, ...]
    user_segments: tuple[SegmentResult, ...]
    product_segments: tuple[ProductSegmentResult, ...]
    gaps: tuple[FairnessGap, ...]
    worst_group: WorstGroup | None
    ratings: RatingEvaluation | None
    validation_ndcg: float | None
    providers: tuple[ProviderExposure, ...] = ()
    importance: RankerImportance | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """``model`` minus ``against`` in one metric, on the same users."""

    metric: str
    model: str
    against: str
    role: Literal["baseline", "champion"]
    result: PairedComparison


@dataclass(frozen=True, slots=True)
class PromotionFigures:
    """What the promotion rules need of one model.

    Attributes:
        ndcg: float64 ``[B]``, row-aligned with the users of the task, hence with any other model's on that task.
        coverage: catalogue coverage.
        worst_group_recall: mean recall of the worst large enough group, ``None`` without one.
    """

    ndcg: FloatArray
    coverage: float
    worst_group_recall: float | None


@dataclass(frozen=True)
class EvaluationReport:
    """One evaluation of several models on one window.

    Attributes:
        format_version: of this JSON layout.
        setting: what was asked.
        catalogue_events: share of earlier events per popularity band of products, to hold ``exposure`` against.
        models: sorted by mean NDCG, best first.
        comparisons: every model against every baseline and against the champion.
        reference_baseline: name of the first baseline.
        champion: name of the evaluation of the champion's recipe, if there is a champion.
        challenger: the model proposed for promotion.
        challenger_chosen_on: ``"validation"``, or ``"test"`` where no validation results were given; choosing and
            reporting on the same users makes the winner look better than it is.
        business: clicks, purchases and money per recommendation; ``None`` where nobody asked.
        examples: lists of the challenger.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    format_version: Literal[1]
    setting: Setting
    catalogue_events: tuple[float, ...]
    models: tuple[ModelReport, ...]
    comparisons: tuple[Comparison, ...]
    reference_baseline: str
    champion: str | None
    challenger: str
    challenger_chosen_on: Literal["validation", "test"]
    business: BusinessFigures | None = None
    examples: tuple[ExampleList, ...] = ()

    def model(self, name: str) -> ModelReport:
        """One model's part. Raises ``KeyError`` naming those there are."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(f"no model {name!r} in this report; it holds: {', '.join(m.name for m in self.models)}")

    def comparison(self, model: str, against: str, metric: str = "ndcg") -> PairedComparison:
        """One comparison. Raises ``KeyError`` when it was not made."""
        for comparison in self.comparisons:
            if (comparison.model, comparison.against, comparison.metric) == (model, against, metric):
                return comparison.result
        raise KeyError(f"this report does not compare {metric} of {model!r} against {against!r}")

    def promotion_figures(self, evaluation: ModelEvaluation) -> PromotionFigures:
        """Inputs of the promotion rules for one of the evaluations that this report was built from."""
        worst = self.model(evaluation.name).worst_group
        return PromotionFigures(
            ndcg=evaluation.metrics["ndcg"],
            coverage=evaluation.beyond.coverage,
            worst_group_recall=None if worst is None else worst.recall,
        )

    def to_json(self, indent: int | None = None) -> str:
        """The report as JSON; `from_json` gives back an equal report."""
        return _ADAPTER.dump_json(self, indent=indent).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "EvaluationReport":
        """Inverse of `to_json`. Raises pydantic's ``ValidationError`` naming every field that does not fit."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(EvaluationReport)
