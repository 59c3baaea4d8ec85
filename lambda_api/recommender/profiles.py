"""What a shopper's events weigh: from histories to one weight per shopper and product.

Put the choice of how kinds of interaction, age and repetition count here, once, for every model that scores from
history. Keep what the weights are multiplied with (similarities, factors) in the recommenders.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.histories import Histories, run_starts
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


@dataclass(frozen=True, slots=True)
class EventWeighting:
    """Weight of an event: ``type_weight * 0.5 ** (age / half_life_days) * step_decay ** steps``.

    ``age`` and ``steps`` count back from the shopper's own latest event that has a weight: a shopper who stayed away
    for a year is not forgotten, and for models linear in the weights the ranking is the same as counting from now.
    A step is a distinct later timestamp, so the lines of one basket share theirs.

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
        return {
            "type_weights": list(self.type_weights),
            "half_life_days": self.half_life_days,
            "step_decay": self.step_decay,
            "combine": self.combine,
        }

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
        counted = np.asarray(self.type_weights)[histories.types] > 0
        known = np.zeros(len(histories), dtype=bool)
        known[histories.shopper_of_event[counted]] = True
        return known

    def profiles(self, histories: Histories) -> Profiles:
        """Weights per shopper and distinct product; shoppers without a weighted event own no pairs."""
        weights = np.asarray(self.type_weights, dtype=np.float64)[histories.types]
        counted = np.flatnonzero(weights > 0)
        shopper = histories.shopper_of_event[counted]
        product = histories.products[counted].astype(np.int64)
        weights = weights[counted] * self._decay(shopper, histories.timestamps[counted])
        # A weight that underflows stays a weight: the event happened.
        weights = np.maximum(weights, np.finfo(np.float32).tiny)
        width = int(product.max(initial=0)) + 1
        key = shopper * width + product
        order = np.argsort(key, kind="stable")
        key = key[order]
        first = np.flatnonzero(run_starts(key))
        merge = np.add if self.combine == "sum" else np.maximum
        merged = merge.reduceat(weights[order], first) if len(first) else np.empty(0, dtype=np.float64)
        counts = np.bincount(key[first] // width, minlength=len(histories))
        return Profiles(
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            products=(key[first] % width).astype(np.int32),
            weights=merged,
        )

    def _decay(self, shopper: NDArray[np.int64], timestamps: NDArray[np.int64]) -> NDArray[np.float64]:
        decay = np.ones(len(shopper), dtype=np.float64)
        if len(shopper) == 0 or (self.half_life_days is None and self.step_decay == 1):
            return decay
        new_shopper = run_starts(shopper)
        last = np.append(np.flatnonzero(new_shopper)[1:], len(shopper)) - 1
        last_of_event = np.repeat(last, np.diff(last, prepend=-1))
        if self.half_life_days is not None:
            age_days = (timestamps[last_of_event] - timestamps) / SECONDS_PER_DAY
            decay *= 0.5 ** (age_days / self.half_life_days)
        if self.step_decay < 1:
            moment = np.cumsum(new_shopper | run_starts(timestamps))
            decay *= self.step_decay ** (moment[last_of_event] - moment)
        return decay


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
