"""Served lists joined with feedback, as arrays; clicks, purchases and revenue of what was shown.

Attribution: an event counts for a shown product when it names that request, shopper and product (see `join_feedback`)
and happened between a tolerance before the exposure (shoppers' clocks can be wrong) and the end of a window after it.
An event names one request, so nothing is counted twice. Purchases that name no request are not counted, so these
figures are lower bounds: compare policies by their differences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.state.exposures import JoinedItem
from lambda_api.state.history import CLOCK_TOLERANCE_S, StoredEvent
from recsys_assets.evaluation.off_policy import LoggedFeedback
from recsys_assets.measurement.bootstrap import RESAMPLES, FloatArray, Interval, ratio_interval

DEFAULT_WINDOW = timedelta(days=1)

Measure = Literal["click_through", "conversion", "revenue"]
MEASURES: Final[tuple[Measure, ...]] = ("click_through", "conversion", "revenue")
_CLICKS: Final = {InteractionType.VIEW, InteractionType.ADD_TO_CART, InteractionType.PURCHASE}


@dataclass(frozen=True)
class Shown:
    """``n`` shown products, one row per product and place, and what followed within the window.

    Attributes:
        request_ids: of ``R`` requests, in the order of their first row.
        request: int64 ``[n]``, place in ``request_ids``.
        shopper: int64 ``[n]``, a number per shopper: the unit of resampling.
        product_ids: length ``n``.
        propensity: float64 ``[n]``; 1 where nothing was drawn.
        rewards: float64 ``[n]`` each. ``click_through``: 1 where the product was viewed, put into the cart or bought;
            ``conversion``: 1 where it was bought; ``revenue``: price times quantity (1 where not given) of purchases.
        unpriced: purchases for which no price is known; they count 0 in ``revenue``.
    """

    request_ids: tuple[str, ...] = field(repr=False)
    request: NDArray[np.int64] = field(repr=False)
    shopper: NDArray[np.int64] = field(repr=False)
    product_ids: tuple[str, ...] = field(repr=False)
    propensity: FloatArray = field(repr=False)
    rewards: Mapping[Measure, FloatArray] = field(repr=False)
    unpriced: int

    def __len__(self) -> int:
        return len(self.request)


def shown(
    joined: Sequence[JoinedItem], window: timedelta = DEFAULT_WINDOW, prices: Mapping[str, float] | None = None
) -> Shown:
    """Arrays of `join_feedback`'s answer.

    Args:
        joined: items of lists as they were shown.
        window: how long after its exposure an event is attributed, by the event's own clock.
        prices: by product id, for purchases that do not give their price.

    Raises:
        ValueError: a negative window.
    """
    if window < timedelta(0):
        raise ValueError(f"the attribution window must not be negative: {window}")
    requests: dict[str, int] = {}
    shoppers: dict[str, int] = {}
    attributed = [_attributed(one, window) for one in joined]
    purchases = [
        [event for event in events if event.interaction_type == InteractionType.PURCHASE] for events in attributed
    ]
    amounts = [[_amount(event, prices or {}) for event in events] for events in purchases]
    clicks = [any(event.interaction_type in _CLICKS for event in events) for events in attributed]
    chances = [1.0 if one.item.propensity is None else one.item.propensity for one in joined]
    return Shown(
        request=_numbers([one.exposure.request_id for one in joined], requests),
        shopper=_numbers([one.exposure.user_id for one in joined], shoppers),
        request_ids=tuple(requests),
        product_ids=tuple(one.item.product_id for one in joined),
        propensity=np.array(chances, dtype=np.float64),
        rewards={
            "click_through": np.array(clicks, dtype=np.float64),
            "conversion": np.array([bool(events) for events in purchases], dtype=np.float64),
            "revenue": np.array([sum(amount or 0.0 for amount in row) for row in amounts], dtype=np.float64),
        },
        unpriced=sum(amount is None for row in amounts for amount in row),
    )


def business_metrics(log: Shown, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[Measure, Interval]:
    """Each of `MEASURES` per shown product. Intervals are over shoppers, because one shopper's lists depend on each
    other.

    Raises:
        ValueError: nothing was shown.
    """
    if len(log) == 0:
        raise ValueError("nothing was shown, so there is nothing to measure")
    places = np.bincount(log.shopper).astype(np.float64)
    found: dict[Measure, Interval] = {}
    for measure in MEASURES:
        totals = np.bincount(log.shopper, weights=log.rewards[measure]).astype(np.float64)
        interval = ratio_interval(totals, places, resamples=resamples, seed=seed)
        assert interval is not None  # every shopper was shown something
        found[measure] = interval
    return found


def target_of_lists(log: Shown, lists: Mapping[str, Sequence[str]]) -> FloatArray:
    """Chance of each shown product under a deterministic policy: 1 where its list has that product, at any place.

    Args:
        lists: product ids by request id.

    Raises:
        ValueError: a request without a list (it is named).
    """
    missing = [request for request in log.request_ids if request not in lists]
    if missing:
        raise ValueError(
            f"the policy has no list for {len(missing)} of the logged requests, the first is {missing[0]!r}"
        )
    listed = [frozenset(lists[request]) for request in log.request_ids]
    rows = zip(log.request.tolist(), log.product_ids, strict=True)
    return np.array([product in listed[request] for request, product in rows], dtype=np.float64)


def listing_chance(log: Shown, by_chance: NDArray[np.bool_]) -> FloatArray:
    """Chance that each shown product was in its list at all, at any place; float64 ``[n]``.

    A product put in by exploration (``by_chance``, bool ``[n]``) had its logged chance at every place that could
    explore, and cannot be at two of them (`lambda_api.recommender.rules.explored`); other products had one place.
    """
    open_places = np.bincount(log.request, weights=log.propensity < 1, minlength=len(log.request_ids))[log.request]
    return np.where(by_chance, np.minimum(log.propensity * np.maximum(open_places, 1), 1.0), log.propensity)


def logged_feedback(
    log: Shown, measure: Measure, target: FloatArray, supported: FloatArray | None = None
) -> LoggedFeedback:
    """Rows of shown products for ``off_policy``."""
    return LoggedFeedback(log.shopper, log.rewards[measure], log.propensity, target, supported)


def _numbers(names: Sequence[str], known: dict[str, int]) -> NDArray[np.int64]:
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def _attributed(one: JoinedItem, window: timedelta) -> list[StoredEvent]:
    at = one.exposure.at_ms / 1000
    first, last = at - CLOCK_TOLERANCE_S, at + window.total_seconds()
    return [event for event in one.events if first <= event.timestamp <= last]


def _amount(event: StoredEvent, prices: Mapping[str, float]) -> float | None:
    price = event.price if event.price is not None else prices.get(event.product_id)
    return None if price is None else price * (1 if event.quantity is None else event.quantity)
