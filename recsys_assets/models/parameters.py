"""Hyper-parameters of trainers: types of fields with their allowed ranges, and the fields that several trainers share.

Trainers are pydantic dataclasses, so a wrong value is refused when a trainer is made; `recsys_assets.models.zoo` turns
the refusal into one sentence.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from lambda_api.errors import RecsysError
from lambda_api.interactions import INTERACTION_LABELS, InteractionType
from lambda_api.recommender.profiles import EventWeighting
from recsys_assets.models.dataset import DEFAULT_TYPE_WEIGHTS, EVENTS_PER_SHOPPER, TrainingData

STRICT = ConfigDict(strict=True, extra="forbid")
"""No text for numbers, no fractions for whole numbers, no unknown fields."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, le=1)]
Decay = OpenShare
Whole = Annotated[int, Field(ge=1)]
WholeOrZero = Annotated[int, Field(ge=0)]
Days = Positive | None
"""A half-life; ``None`` for no decay."""

Combine = Literal["sum", "max"]

DEFAULT_HALF_LIFE_DAYS = 7.0
"""Of popularity."""


class NothingToLearn(RecsysError, ValueError):
    """The data hold nothing that this model could learn from."""


def default_type_weights() -> dict[str, float]:
    """`DEFAULT_TYPE_WEIGHTS` by label, as hyper-parameters hold them."""
    return {kind.label: weight for kind, weight in DEFAULT_TYPE_WEIGHTS.items()}


def by_type(type_weights: Mapping[str, float]) -> dict[InteractionType, float]:
    """Weights by label turned into weights by `InteractionType`.

    Raises:
        ValueError: a label is unknown, a weight is negative or not finite, or none is positive.
    """
    for label, weight in type_weights.items():
        if label not in INTERACTION_LABELS:
            raise ValueError(f"type_weights: unknown interaction type {label!r}; use {', '.join(INTERACTION_LABELS)}")
        if isinstance(weight, bool) or not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"type_weights[{label!r}] must be a finite number >= 0, not {weight!r}")
    if not any(type_weights.values()):
        raise ValueError("type_weights: at least one interaction type needs a positive weight")
    return {InteractionType.from_label(label): float(weight) for label, weight in type_weights.items()}


def _checked(type_weights: Mapping[str, float]) -> Mapping[str, float]:
    by_type(type_weights)
    return type_weights


TypeWeights = Annotated[Mapping[str, float], AfterValidator(_checked)]


@dataclass(frozen=True, config=STRICT)
class TrainerParameters:
    """Fields of every trainer.

    Attributes:
        type_weights: weight of each interaction type, by label; types without a weight are not learned from.
    """

    name: ClassVar[str]

    type_weights: TypeWeights = field(default_factory=default_type_weights)

    @property
    def weights(self) -> dict[InteractionType, float]:
        """``type_weights`` by `InteractionType`."""
        return by_type(self.type_weights)

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def learnable(self, data: TrainingData) -> TrainingData:
        """The newest `EVENTS_PER_SHOPPER` events of each shopper.

        Raises:
            NothingToLearn: no interaction is of a weighted type.
        """
        counted = [kind for kind, weight in self.weights.items() if weight > 0]
        if not data.is_of(counted).any():
            labels = ", ".join(kind.label for kind in counted)
            raise NothingToLearn(
                f"{self.name} has nothing to learn from: none of {len(data.kind)} interactions is of a weighted type "
                f"({labels})",
                remedy="widen the data window or give another type a weight in type_weights",
            )
        return data.newest_of_each_user(EVENTS_PER_SHOPPER)


@dataclass(frozen=True, config=STRICT)
class PersonalParameters(TrainerParameters):
    """Fields of every trainer of a personal model.

    Attributes:
        popularity_half_life_days: of the popularity that shoppers without history get.
    """

    popularity_half_life_days: Days = DEFAULT_HALF_LIFE_DAYS


@dataclass(frozen=True, config=STRICT)
class ProfileParameters(PersonalParameters):
    """Fields of models that score from weighted events (`EventWeighting`).

    Attributes:
        half_life_days, step_decay: recency decay of the shopper's events; ``None`` and 1 for none.
    """

    half_life_days: Days = 90.0
    step_decay: Decay = 1.0

    def weighting(self, combine: Combine = "max") -> EventWeighting:
        """How a shopper's events weigh."""
        return weighting(self.type_weights, self.half_life_days, self.step_decay, combine)


@dataclass(frozen=True, config=STRICT)
class TrendParameters(PersonalParameters):
    """Fields of models whose scores are multiplied by a trend (`recsys_assets.models.popularity.trend`).

    Attributes:
        trend_days, trend_power: window and exponent of the trend; power 0 for none.
    """

    trend_days: Positive = 14.0
    trend_power: NotNegative = 0.5


def weighting(
    type_weights: Mapping[str, float],
    half_life_days: float | None = None,
    step_decay: float = 1.0,
    combine: Combine = "max",
) -> EventWeighting:
    """The `EventWeighting` of a trainer's fields, relative to the largest type weight (which becomes 1)."""
    weights = by_type(type_weights)
    largest = max(weights.values())
    return EventWeighting(
        type_weights=tuple(weights.get(kind, 0.0) / largest for kind in InteractionType),
        half_life_days=half_life_days,
        step_decay=step_decay,
        combine=combine,
    )
