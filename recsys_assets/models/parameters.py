"""Checks and conversions of hyper-parameters that several trainers share.

Put a rule here when a second trainer needs it. Keep defaults in the trainers.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lambda_api.interactions import INTERACTION_LABELS, InteractionType
from lambda_api.recommender.profiles import EventWeighting
from recsys_assets.models.dataset import DEFAULT_TYPE_WEIGHTS, TrainingData


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
        if not (_is_number(weight) and weight >= 0):
            raise ValueError(f"type_weights[{label!r}] must be a finite number >= 0, not {weight!r}")
    if not any(type_weights.values()):
        raise ValueError("type_weights: at least one interaction type needs a positive weight")
    return {InteractionType.from_label(label): float(weight) for label, weight in type_weights.items()}


def weighting(
    type_weights: Mapping[str, float],
    half_life_days: float | None = None,
    step_decay: float = 1.0,
    combine: Any = "max",
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


def require_positive(**values: float | None) -> None:
    """Raise ``ValueError`` naming the first value that is not a finite number > 0 (``None`` passes: "off")."""
    for name, value in values.items():
        if value is not None and not (_is_number(value) and value > 0):
            raise ValueError(f"{name} must be a finite number > 0, not {value!r}")


def require_given(**values: Any) -> None:
    """Raise ``ValueError`` naming the first value that is ``None``: this one cannot be turned off."""
    for name, value in values.items():
        if value is None:
            raise ValueError(f"{name} must be given; it cannot be None")


def require_not_negative(**values: float) -> None:
    """Raise ``ValueError`` naming the first value that is not a finite number >= 0."""
    for name, value in values.items():
        if not (_is_number(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number >= 0, not {value!r}")


def require_whole(**values: int | None) -> None:
    """Raise ``ValueError`` naming the first value that is not a whole number >= 1 (``None`` passes: "off")."""
    for name, value in values.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a whole number >= 1, not {value!r}")


def require_interactions(data: TrainingData, type_weights: Mapping[InteractionType, float], model: str) -> None:
    """Raise ``ValueError`` when no interaction of a weighted type is left to learn from."""
    counted = [int(kind) for kind, weight in type_weights.items() if weight > 0]
    if not np.isin(data.kind, counted).any():
        labels = ", ".join(INTERACTION_LABELS[code] for code in counted)
        raise ValueError(
            f"{model} has nothing to learn from: none of {len(data.kind)} interactions is of a weighted type "
            f"({labels}); widen the data window or give another type a weight in type_weights"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
