"""Search spaces: which hyper-parameters of each model are varied, and between which values.

Spaces are plain data, independent of any search library: the local search and SageMaker's tuning jobs read the same
definition. Ranges are wide on purpose (orders of magnitude on a logarithmic scale), because they hold for any shop.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias


def text_of(value: Any) -> str:
    """A value of `OneOf` as JSON text; equal values have equal texts."""
    return json.dumps(value, sort_keys=True)


def _require_range(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a range needs finite ends with low < high, got [{low}, {high}]")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range must lie above 0, got [{low}, {high}]")


@dataclass(frozen=True, slots=True)
class Real:
    """A real number in ``[low, high]``, tried evenly on a logarithmic scale if ``log``."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, self.log)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number in ``[low, high]``, tried evenly on a logarithmic scale if ``log``."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, self.log)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few JSON-able values, in no order. Jobs carry a value as its JSON text (`text_of`)."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len({text_of(value) for value in self.values}) < max(1, len(self.values)):
            raise ValueError(f"a choice needs at least one value, each once; got {self.values!r}")

    def __contains__(self, value: object) -> bool:
        return text_of(value) in self.texts

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as JSON text, in order."""
        return tuple(text_of(value) for value in self.values)


Dimension: TypeAlias = Real | Whole | OneOf
SearchSpace: TypeAlias = Mapping[str, Dimension]
"""Dimensions by hyper-parameter name; a parameter without one keeps its default."""

ONE_DAY, TEN_YEARS = 1.0, 3650.0

HALF_LIFE_DAYS = Real(ONE_DAY, TEN_YEARS, log=True)
"""Ten years means no decay in practice, so the space needs no separate value for it."""

TREND_DAYS = Real(1.0, 90.0, log=True)
TREND_POWER = Real(0.0, 1.0)

TYPE_WEIGHTS = OneOf(
    (
        {"view": 1.0, "add_to_cart": 2.0, "purchase": 4.0, "rating": 4.0},
        {"view": 1.0, "add_to_cart": 1.0, "purchase": 1.0, "rating": 1.0},
        {"view": 1.0, "add_to_cart": 4.0, "purchase": 16.0, "rating": 16.0},
        {"view": 0.0, "add_to_cart": 1.0, "purchase": 2.0, "rating": 2.0},
    )
)
"""From equal weights to views ignored. Without effect on a log with one kind of interaction."""

RECENCY: SearchSpace = MappingProxyType({"half_life_days": HALF_LIFE_DAYS, "step_decay": Real(0.5, 1.0)})
EVENT_RECENCY: SearchSpace = MappingProxyType({"event_half_life_days": HALF_LIFE_DAYS})
EVENT_DECAY: SearchSpace = MappingProxyType(
    {"event_half_life_days": OneOf((None, 7.0, 14.0, 30.0, 60.0, 120.0, 365.0))}
)
TREND: SearchSpace = MappingProxyType({"trend_days": TREND_DAYS, "trend_power": TREND_POWER})

SEARCH_SPACES: Mapping[str, SearchSpace] = MappingProxyType(
    {
        "popularity": {"half_life_days": HALF_LIFE_DAYS, "type_weights": TYPE_WEIGHTS},
        "own_history": {"ease_weight": Real(0.0, 3.0), **RECENCY, **EVENT_DECAY, "type_weights": TYPE_WEIGHTS},
        "item_knn": {
            "k1": Real(0.1, 50.0, log=True),
            "b": Real(0.0, 1.0),
            **RECENCY,
            **TREND,
            **EVENT_DECAY,
            "type_weights": TYPE_WEIGHTS,
        },
        "ease": {"l2": Real(1.0, 10_000.0, log=True), **RECENCY, **TREND, **EVENT_DECAY, "type_weights": TYPE_WEIGHTS},
        "temporal_linear": {
            "clock": OneOf(("steps", "days")),
            "delta_past": Real(0.3, 30.0, log=True),
            "delta_future": Real(0.3, 100.0, log=True),
            "delta_serving": Real(0.3, 100.0, log=True),
            "l2": Real(1.0, 10_000.0, log=True),
            "ease_weight": Real(0.0, 1.0),
            "content_weight": Real(0.0, 0.2),
            **TREND,
            **EVENT_DECAY,
            "type_weights": TYPE_WEIGHTS,
        },
        "hybrid": {
            "learning_rate": Real(0.05, 0.4, log=True),
            "leaves": Whole(4, 31, log=True),
            "leaf_rows": Whole(10, 200, log=True),
            "feature_share": Real(0.4, 1.0),
            "l2": Real(0.5, 50.0, log=True),
            "truncation": Whole(10, 40, log=True),
            "type_weights": TYPE_WEIGHTS,
        },
        "matrix_factorisation": {
            "factors": Whole(16, 128, log=True),
            "regularisation": Real(0.01, 100.0, log=True),
            "alpha": Real(0.1, 100.0, log=True),
            **EVENT_RECENCY,
            **RECENCY,
            "type_weights": TYPE_WEIGHTS,
        },
        "session_knn": {
            "neighbours": Whole(20, 1_000, log=True),
            "sample": Whole(100, 5_000, log=True),
            "gap_hours": Real(0.25, 168.0, log=True),
            "step_decay": Real(0.3, 1.0),
            "match_decay": Real(0.2, 1.0),
            "reach": Real(0.5, 100.0, log=True),
            "length_power": Real(0.0, 1.0),
            **EVENT_RECENCY,
            "type_weights": TYPE_WEIGHTS,
        },
        "content": {
            "name_weight": Real(0.1, 2.0, log=True),
            "category_weight": Real(0.0, 1.0),
            "brand_weight": Real(0.0, 1.0),
            "price_weight": Real(0.0, 0.5),
            **RECENCY,
            **TREND,
            "type_weights": TYPE_WEIGHTS,
        },
        "two_tower": {
            "size": Whole(16, 128, log=True),
            "horizon_days": Real(3.0, 60.0, log=True),
            "dropout": Real(0.0, 0.5),
            "learning_rate": Real(0.0005, 0.01, log=True),
            "weight_decay": Real(0.0001, 0.1, log=True),
            **EVENT_DECAY,
            "type_weights": TYPE_WEIGHTS,
        },
        "ncf": {
            "gmf_size": Whole(8, 64, log=True),
            "negatives": Whole(2, 16, log=True),
            "sampling": OneOf(("uniform", "popularity")),
            "learning_rate": Real(0.0005, 0.02, log=True),
            **EVENT_DECAY,
            "type_weights": TYPE_WEIGHTS,
        },
    }
)
"""By name in the zoo. A model without an entry is not tuned; it is evaluated with its defaults."""


def search_space(model: str, kinds_of_interaction: int = 2) -> SearchSpace:
    """The search space of ``model`` on a log with this many kinds of interaction; empty when nothing is varied.

    With a single kind, ``type_weights`` changes no ranking and is left out.
    """
    space = SEARCH_SPACES.get(model, {})
    return {name: dimension for name, dimension in space.items() if kinds_of_interaction > 1 or name != "type_weights"}
