"""From what was shown and answered to arrays, and what the business sees in them: clicks, purchases, revenue.

Put the adapter between the inference log and arrays, and metrics of feedback as it happened, here. Keep estimates of
what another policy would have earned (``off_policy``) and the join itself (``lambda_api.state.exposures``) out.

Attribution: an event counts for a shown product when it names that request, shopper and product (see `join_feedback`)
and happened from a tolerance before the exposure (shoppers' clocks run wrong) until the end of a window after it. An
event names one request, so nothing is counted twice. What a shopper bought without naming a request is not counted:
these are lower bounds, and differences between policies rather than levels are to be read from them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.state.exposures import JoinedItem
from lambda_api.state.history import CLOCK_TOLERANCE_S, StoredEvent
from recsys_assets.evaluation.off_policy import LoggedFeedback
from recsys_assets.measurement.bootstrap import RESAMPLES, FloatArray, Interval, ratio_interval

DEFAULT_WINDOW = timedelta(days=1)

Reward = Callable[["Shown"], FloatArray]
"""What a row of `Shown` is worth: float64 ``[n]``."""


@dataclass(frozen=True)
class Shown:
    """``n`` shown products, one row per product and place, and what came of each within the window.

    Attributes:
        request_ids: of ``R`` requests, in the order of their first row.
        request: int64 ``[n]``, place in ``request_ids``.
        product_ids: length ``n``.
        rank: int64 ``[n]``, from 1.
        propensity: float64 ``[n]``; 1 where nothing was drawn.
        views, carts, purchases: int64 ``[n]``, attributed events; a purchase counts once however many pieces.
        revenue: float64 ``[n]``, price times quantity (1 where not said) of attributed purchases.
        unpriced: int64 ``[n]``, purchases for which no price is known; they earned 0 in ``revenue``.
    """

    request_ids: tuple[str, ...] = field(repr=False)
    request: NDArray[np.int64] = field(repr=False)
    product_ids: tuple[str, ...] = field(repr=False)
    rank: NDArray[np.int64] = field(repr=False)
    propensity: FloatArray = field(repr=False)
    views: NDArray[np.int64] = field(repr=False)
    carts: NDArray[np.int64] = field(repr=False)
    purchases: NDArray[np.int64] = field(repr=False)
    revenue: FloatArray = field(repr=False)
    unpriced: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.request)


@dataclass(frozen=True, slots=True)
class BusinessMetrics:
    """What ``recommendations`` shown products in ``requests`` lists brought. Intervals come from resampled requests.

    Attributes:
        click_through: share of shown products that were looked at, carted or bought.
        list_click_through: share of lists with at least one such product.
        cart_rate: share of shown products that were put into the cart or bought.
        conversion: share of shown products that were bought.
        list_conversion: share of lists from which something was bought.
        purchases_per_click: bought ones among those clicked; ``None`` without clicks.
        revenue: money per shown product.
        unpriced: purchases without a known price, which earned 0.
    """

    requests: int
    recommendations: int
    click_through: Interval
    list_click_through: Interval
    cart_rate: Interval
    conversion: Interval
    list_conversion: Interval
    purchases_per_click: Interval | None
    revenue: Interval
    unpriced: int


def shown(
    joined: Sequence[JoinedItem],
    window: timedelta = DEFAULT_WINDOW,
    prices: Mapping[str, float] | None = None,
) -> Shown:
    """Arrays of `join_feedback`'s answer.

    Args:
        joined: items of lists as they were shown.
        window: how long after its exposure an event is attributed, by the event's own clock.
        prices: by product id, for purchases that do not say their price.

    Raises:
        ValueError: a negative window.
    """
    if window < timedelta(0):
        raise ValueError(f"the attribution window must not be negative: {window}")
    number: dict[str, int] = {}
    request = np.array([number.setdefault(one.exposure.request_id, len(number)) for one in joined], dtype=np.int64)
    attributed = [_attributed(one, window) for one in joined]
    counts = {
        kind: np.array([sum(event.interaction_type == kind for event in events) for events in attributed], np.int64)
        for kind in (InteractionType.VIEW, InteractionType.ADD_TO_CART, InteractionType.PURCHASE)
    }
    earned = [[_amount(event, prices or {}) for event in events if _bought(event)] for events in attributed]
    return Shown(
        request_ids=tuple(number),
        request=request,
        product_ids=tuple(one.item.product_id for one in joined),
        rank=np.array([one.item.rank for one in joined], dtype=np.int64),
        propensity=np.array(
            [1.0 if one.item.propensity is None else one.item.propensity for one in joined], np.float64
        ),
        views=counts[InteractionType.VIEW],
        carts=counts[InteractionType.ADD_TO_CART],
        purchases=counts[InteractionType.PURCHASE],
        revenue=np.array([sum(amount or 0.0 for amount in row) for row in earned], dtype=np.float64),
        unpriced=np.array([sum(amount is None for amount in row) for row in earned], dtype=np.int64),
    )


def clicked(log: Shown) -> FloatArray:
    """1 where a shown product was looked at, carted or bought (a click that only its purchase tells of is one too)."""
    return ((log.views + log.carts + log.purchases) > 0).astype(np.float64)


def carted(log: Shown) -> FloatArray:
    """1 where a shown product was put into the cart or bought."""
    return ((log.carts + log.purchases) > 0).astype(np.float64)


def bought(log: Shown) -> FloatArray:
    """1 where a shown product was bought."""
    return (log.purchases > 0).astype(np.float64)


def earned(log: Shown) -> FloatArray:
    """Money."""
    return log.revenue


def business_metrics(
    log: Shown, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> BusinessMetrics:
    """Clicks, conversion and revenue of what was shown, as it was shown.

    Raises:
        ValueError: nothing was shown.
    """
    if len(log) == 0:
        raise ValueError("nothing was shown, so there is nothing to measure")
    requests = len(log.request_ids)
    places = np.bincount(log.request, minlength=requests).astype(np.float64)
    each = {
        name: np.bincount(log.request, weights=reward(log), minlength=requests).astype(np.float64)
        for name, reward in (("clicked", clicked), ("carted", carted), ("bought", bought), ("earned", earned))
    }

    def ratio(numerator: FloatArray, denominator: FloatArray) -> Interval | None:
        return ratio_interval(numerator, denominator, confidence=confidence, resamples=resamples, seed=seed)

    def mean(numerator: FloatArray, denominator: FloatArray) -> Interval:
        found = ratio(numerator, denominator)
        assert found is not None  # every request has shown something
        return found

    ones = np.ones(requests)
    return BusinessMetrics(
        requests=requests,
        recommendations=len(log),
        click_through=mean(each["clicked"], places),
        list_click_through=mean((each["clicked"] > 0).astype(np.float64), ones),
        cart_rate=mean(each["carted"], places),
        conversion=mean(each["bought"], places),
        list_conversion=mean((each["bought"] > 0).astype(np.float64), ones),
        purchases_per_click=ratio(each["bought"], each["clicked"]),
        revenue=mean(each["earned"], places),
        unpriced=int(log.unpriced.sum()),
    )


def target_of_lists(log: Shown, lists: Mapping[str, Sequence[str]]) -> FloatArray:
    """Chance of each shown product under a policy without chance: 1 where its list has that product, at whatever place.

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
    """Chance that each shown product was in its list at all, at whatever place; float64 ``[n]``.

    What exploration put in (``by_chance``, bool ``[n]``) had its logged chance at every place that could explore, and
    cannot stand at two of them (`lambda_api.recommender.rules.explored`); what the list held anyway had one place.
    """
    open_places = np.bincount(log.request, weights=log.propensity < 1, minlength=len(log.request_ids))[log.request]
    return np.where(by_chance, np.minimum(log.propensity * np.maximum(open_places, 1), 1.0), log.propensity)


def logged_feedback(
    log: Shown,
    reward: Reward,
    target: FloatArray,
    *,
    expected_shown: FloatArray | None = None,
    expected_target: FloatArray | None = None,
    supported: FloatArray | None = None,
) -> LoggedFeedback:
    """Rows of shown products for ``off_policy``; ``reward``: `clicked`, `carted`, `bought`, `earned`, or one's own."""
    return LoggedFeedback(
        request=log.request,
        reward=reward(log),
        propensity=log.propensity,
        target=target,
        expected_shown=expected_shown,
        expected_target=expected_target,
        supported=supported,
    )


def _attributed(one: JoinedItem, window: timedelta) -> list[StoredEvent]:
    at = one.exposure.at_ms / 1000
    first, last = at - CLOCK_TOLERANCE_S, at + window.total_seconds()
    return [event for event in one.events if first <= event.timestamp <= last]


def _bought(event: StoredEvent) -> bool:
    return event.interaction_type == InteractionType.PURCHASE


def _amount(event: StoredEvent, prices: Mapping[str, float]) -> float | None:
    price = event.price if event.price is not None else prices.get(event.product_id)
    return None if price is None else price * (1 if event.quantity is None else event.quantity)
