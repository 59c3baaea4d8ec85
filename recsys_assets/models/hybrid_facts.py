"""Counts the statistics in `lambda_api.recommender.two_stage.product_statistics` from the log before a moment.

Statistics of shoppers are computed when a shopper asks (``lambda_api.recommender.two_stage.features``).
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import distinct
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.recommender.two_stage.product_statistics import NEWCOMER_DAYS, UNKNOWN, WINDOW_DAYS, CatalogueFacts
from recsys_assets.models.dataset import DEFAULT_TYPE_WEIGHTS, TrainingData, codes_of, column, prices
from recsys_assets.models.popularity import trend

TREND_DAYS, TREND_POWER = 14.0, 0.5
PRIOR_SHOPPERS = 10.0
"""Shoppers of the shop's average that every rate is mixed with, so that one of one is not certainty."""

FloatArray = NDArray[np.float32]


def catalogue_facts(data: TrainingData, relevant: Collection[InteractionType]) -> CatalogueFacts:
    """Facts as of ``data.as_of``; ``relevant`` are the types that popularity counts."""
    counted = data.is_of(relevant)
    buyers, repeat_share, repeat_days = _repeats(data, counted)
    age_days, idle_days = _ages(data)
    conversion, cart_rate = _rates(data)
    return CatalogueFacts(
        counts=_window_counts(data, counted),
        newcomers=_newcomers(data, counted),
        trend=trend(data, DEFAULT_TYPE_WEIGHTS, TREND_DAYS, TREND_POWER),
        buyers=buyers,
        repeat_share=repeat_share,
        repeat_days=repeat_days,
        age_days=age_days,
        idle_days=idle_days,
        conversion=conversion,
        cart_rate=cart_rate,
        log_price=np.log(prices(data.catalogue)).astype(np.float32),
        buyer_breadth=_buyer_breadth(data, counted),
        category=codes_of(column(data.catalogue, "category")),
        brand=codes_of(column(data.catalogue, "brand")),
        as_of=data.as_of,
    )


def _window_counts(data: TrainingData, counted: NDArray[np.bool_]) -> FloatArray:
    columns = []
    for days in WINDOW_DAYS:
        inside = counted if np.isinf(days) else counted & (data.timestamp >= data.as_of - days * SECONDS_PER_DAY)
        columns.append(np.bincount(data.product[inside], minlength=len(data.products)))
    return np.stack(columns, axis=1).astype(np.float32)


def _newcomers(data: TrainingData, counted: NDArray[np.bool_]) -> FloatArray:
    """Shoppers who took a product for the first time in each of `NEWCOMER_DAYS`."""
    pair = data.pairs[counted]
    order = np.argsort(pair, kind="stable")  # the log is in order of time within a user
    first = order[np.flatnonzero(np.diff(pair[order], prepend=-1))]
    product, age = data.product[counted][first], (data.as_of - data.timestamp[counted][first]) / SECONDS_PER_DAY
    columns = [np.bincount(product[age <= days], minlength=len(data.products)) for days in NEWCOMER_DAYS]
    return np.stack(columns, axis=1).astype(np.float32)


def _repeats(data: TrainingData, counted: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct buyers, the share who bought on a second day (smoothed), and the mean days between buying days."""
    n_products = len(data.products)
    day = data.timestamp[counted] // int(SECONDS_PER_DAY)
    pair = data.pairs[counted]
    days = np.unique(np.stack([pair, day]), axis=1) if len(pair) else np.empty((2, 0), dtype=np.int64)
    start = np.flatnonzero(np.diff(days[0], prepend=-1))
    stop = np.append(start, days.shape[1])[1:] - 1
    product = days[0][start] % n_products
    visits, span = stop - start, days[1][stop] - days[1][start]
    buyers = np.bincount(product, minlength=n_products)
    returned = np.bincount(product[visits > 0], minlength=n_products)
    average = returned.sum() / max(1, buyers.sum())
    share = (returned + PRIOR_SHOPPERS * average) / (buyers + PRIOR_SHOPPERS)
    gaps = np.bincount(product, weights=visits, minlength=n_products)
    total = np.bincount(product, weights=span, minlength=n_products)
    mean_gap = np.where(gaps > 0, total / np.maximum(gaps, 1), UNKNOWN)
    return buyers.astype(np.float32), share.astype(np.float32), mean_gap.astype(np.float32)


def first_seen(data: TrainingData) -> NDArray[np.int64]:
    """Time of each product's first event of any type, int64 ``[n_products]``; the largest int64 without one."""
    first = np.full(len(data.products), np.iinfo(np.int64).max)
    np.minimum.at(first, data.product, data.timestamp)
    return first


def _ages(data: TrainingData) -> tuple[FloatArray, FloatArray]:
    first = first_seen(data)
    last = np.zeros(len(data.products), dtype=np.int64)
    np.maximum.at(last, data.product, data.timestamp)
    touched = last > 0
    age = np.where(touched, (data.as_of - np.where(touched, first, 0)) / SECONDS_PER_DAY, 0.0)
    idle = np.where(touched, (data.as_of - last) / SECONDS_PER_DAY, UNKNOWN)
    return age.astype(np.float32), idle.astype(np.float32)


def _rates(data: TrainingData) -> tuple[FloatArray, FloatArray]:
    """Purchases and additions to the cart per view, mixed with the shop's own; `UNKNOWN` without views."""
    counts = [
        np.bincount(data.product[data.kind == kind], minlength=len(data.products)).astype(np.float64)
        for kind in (InteractionType.VIEW, InteractionType.PURCHASE, InteractionType.ADD_TO_CART)
    ]
    views = counts[0]
    rates = []
    for taken in counts[1:]:
        if views.sum() == 0 or taken.sum() == 0:
            rates.append(np.full(len(views), UNKNOWN, dtype=np.float32))
            continue
        average = taken.sum() / views.sum()
        rates.append(((taken + PRIOR_SHOPPERS * average) / (views + PRIOR_SHOPPERS)).astype(np.float32))
    return rates[0], rates[1]


def _buyer_breadth(data: TrainingData, counted: NDArray[np.bool_]) -> FloatArray:
    """Mean over a product's shoppers of log(1 + their distinct products); the shop's mean where nobody took it."""
    n_products = len(data.products)
    pairs = distinct(data.pairs[counted])
    user, product = pairs // n_products, pairs % n_products
    breadth = np.log1p(np.bincount(user, minlength=len(data.users)))
    shoppers = np.bincount(product, minlength=n_products)
    mean = breadth[user].mean() if len(user) else 0.0
    total = np.bincount(product, weights=breadth[user], minlength=n_products)
    return ((total + mean) / (shoppers + 1)).astype(np.float32)
