"""Weights of a shopper's events by type, age and repetition, for every model that scores from history."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import offsets_of_rows, run_starts
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IndexArray

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Profiles:
    """Distinct weighted products of ``B`` shoppers in CSR form, ``m`` pairs in all.

    Attributes:
        indptr: int64 ``[B + 1]``; shopper ``b`` owns pairs ``indptr[b]:indptr[b + 1]``.
        products: int32 ``[m]``, ascending within a shopper.
        weights: float64 ``[m]``, > 0.
    """

    indptr: NDArray[np.int64]
    products: IndexArray
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def row_of_pair(self) -> NDArray[np.int64]:
        """The shopper each pair belongs to, int64 ``[m]``."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.indptr))


@dataclass(frozen=True, slots=True)
class EventWeighting:
    """Weight of an event: ``type_weight * 0.5 ** (age / half_life_days) * step_decay ** steps``.

    ``age`` and ``steps`` count back from the shopper's own latest weighted event, so that the weights of a shopper who
    stayed away for a year do not vanish; for models linear in the weights, the ranking is the same as counting from
    now. A step is a distinct later timestamp, so the lines of one basket share theirs.

    Attributes:
        type_weights: one weight >= 0 per `InteractionType`, in code order, at least one positive.
        half_life_days: days after which an event weighs half; ``None`` for no decay with time.
        step_decay: factor per step, in (0, 1]; 1 for no decay with steps.
        combine: how events of one shopper on one product add up: their ``sum``, or their largest (``max``).
    """

    type_weights: tuple[float, ...] = (1.0,) * len(InteractionType)
    half_life_days: float | None = None
    step_decay: float = 1.0
    combine: Literal["sum", "max"] = "max"

    def __post_init__(self) -> None:
        if len(self.type_weights) != len(InteractionType):
            raise ValueError(f"type_weights needs {len(InteractionType)} values, not {len(self.type_weights)}")
        if not all(_is_number(weight) and weight >= 0 for weight in self.type_weights) or not any(self.type_weights):
            raise ValueError(f"type_weights must be finite, >= 0 and not all 0; got {self.type_weights}")
        if self.half_life_days is not None and not (_is_number(self.half_life_days) and self.half_life_days > 0):
            raise ValueError(f"half_life_days must be a positive number or None, not {self.half_life_days!r}")
        if not (_is_number(self.step_decay) and 0 < self.step_decay <= 1):
            raise ValueError(f"step_decay must be in (0, 1], not {self.step_decay!r}")
        if self.combine not in ("sum", "max"):
            raise ValueError(f"combine must be 'sum' or 'max', not {self.combine!r}")

    def parameters(self) -> dict[str, Any]:
        """JSON-able form, the input of `from_parameters`."""
        return asdict(self)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Inverse of `parameters`. Raises ``KeyError`` or ``ValueError`` where a value is missing or wrong."""
        return cls(
            type_weights=tuple(float(weight) for weight in parameters["type_weights"]),
            half_life_days=parameters["half_life_days"],
            step_decay=parameters["step_decay"],
            combine=parameters["combine"],
        )

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """bool ``[B]``: which shoppers have an event whose type has a weight."""
        return histories.have_event_of(np.asarray(self.type_weights) > 0)

    def profiles(self, histories: Histories) -> Profiles:
        """Weights per shopper and distinct product; shoppers without a weighted event own no pairs."""
        return self._weighed(_Pairs.of(histories, np.asarray(self.type_weights) > 0))

    def _weighed(self, pairs: "_Pairs") -> Profiles:
        decay = np.ones(len(pairs.types))
        if self.half_life_days is not None:
            decay = 0.5 ** (pairs.age_days / self.half_life_days)
        if self.step_decay < 1:
            decay = decay * self.step_decay**pairs.steps
        weights = np.asarray(self.type_weights, dtype=np.float64)[pairs.types] * decay
        # A weight must not underflow to zero, which would mean "no event".
        weights = np.maximum(weights, np.finfo(np.float32).tiny)
        merge = np.add if self.combine == "sum" else np.maximum
        first = pairs.first
        merged = merge.reduceat(weights[pairs.order], first) if len(first) else np.empty(0, dtype=np.float64)
        return Profiles(pairs.indptr, pairs.products, merged)


def shared_profiles(weightings: Collection[EventWeighting], histories: Histories) -> dict[EventWeighting, Profiles]:
    """`EventWeighting.profiles` of each of ``weightings``; grouping by product is done once per set of types."""
    pairs: dict[tuple[bool, ...], _Pairs] = {}
    found = {}
    for weighting in weightings:
        counted = tuple(weight > 0 for weight in weighting.type_weights)
        if counted not in pairs:
            pairs[counted] = _Pairs.of(histories, np.array(counted))
        found[weighting] = weighting._weighed(pairs[counted])
    return found


class _Pairs:
    """The events of counted types, ``E`` of them, grouped by shopper and product.

    ``order`` brings events of one pair together, in their own order; pairs begin at ``first`` of it. ``indptr`` and
    ``products`` are those of `Profiles`.
    """

    def __init__(
        self,
        shopper: NDArray[np.int64],
        products: IndexArray,
        types: NDArray[np.int8],
        timestamps: NDArray[np.int64],
        batch: int,
    ) -> None:
        self.types = types
        self._shopper, self._timestamps = shopper, timestamps
        key = shopper * (int(products.max(initial=0)) + 1) + products
        self.order = np.argsort(key, kind="stable")
        self.first = np.flatnonzero(run_starts(key[self.order]))
        chosen = self.order[self.first]
        self.products = products[chosen]
        self.indptr = offsets_of_rows(shopper[chosen], batch)

    @classmethod
    def of(cls, histories: Histories, counted: NDArray[np.bool_]) -> "_Pairs":
        """``counted``: bool per `InteractionType`."""
        shopper, products = histories.shopper_of_event, histories.products
        types, timestamps = histories.types, histories.timestamps
        if not counted.all():
            kept = np.flatnonzero(counted[types])
            shopper, products, types, timestamps = shopper[kept], products[kept], types[kept], timestamps[kept]
        return cls(shopper, products, types, timestamps, len(histories))

    @cached_property
    def age_days(self) -> NDArray[np.float64]:
        """Days from each event to the shopper's latest, float64 ``[E]``."""
        return (self._timestamps[self._latest] - self._timestamps) / SECONDS_PER_DAY

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """Distinct later moments of the same shopper, int64 ``[E]``."""
        moment = np.cumsum(run_starts(self._shopper) | run_starts(self._timestamps))
        return moment[self._latest] - moment

    @cached_property
    def _latest(self) -> NDArray[np.int64]:
        last = np.append(np.flatnonzero(run_starts(self._shopper))[1:], len(self._shopper)) - 1
        return np.repeat(last, np.diff(last, prepend=-1)) if len(self._shopper) else last[:0]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
