"""The probabilities of the synthetic shop on one day: who comes, what is for sale, what is viewed and bought.

``behaviour`` draws events from these probabilities and ``truth`` multiplies them out, so the simulated events and the
true probabilities always agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np

from recsys_assets.ingest.synthetic.catalogue import (
    STYLE_DIMENSIONS,
    Brands,
    Categories,
    Products,
    build_brands,
    build_categories,
    build_products,
)
from recsys_assets.ingest.synthetic.config import MAX_VIEWS_PER_SESSION, DriftKind, SyntheticShopConfig
from recsys_assets.ingest.synthetic.shoppers import Shoppers, Tastes, build_shoppers
from recsys_assets.ingest.synthetic.streams import FloatArray, IntArray, Stream, generator

WANDER = 0.2
"""Probability that a view of a session leaves the session's category for any the shopper has an interest in."""
EPISODE_SHARE = 0.6
"""Share of sessions in the category of the shopper's current episode of interest."""
SHORTLIST = 4
"""Places of the shelf that a shopper prefers during an episode."""
EPISODE_STYLE = 0.8
"""Standard deviation of each dimension of an episode's style."""
EPISODE_ACTIVITY = 0.6
"""Standard deviation of the log of an episode's activity, whose mean is 1."""
_SHORTLIST_BOOST = 1.2
_INTEREST_SCALE = 0.8
_STYLE_SCALE = 0.35
_BRAND_SCALE = 0.25
_NOVELTY_BOOST = 0.8
_NOVELTY_DAYS = 21.0
_LISTING_NOISE = 0.8
_CART_INTERCEPT = -2.6
_CART_SLOPE = 0.5
_PRICE_RISE_EFFECT = 1.5
_WEEK = np.array([0.88, 0.84, 0.86, 0.92, 1.05, 1.25, 1.20])
_SEASON_AMPLITUDE, _SEASON_PEAK = 0.25, 345.0
RESTOCK_DAYS: Mapping[int, float] = {-1: 0.2, 0: 0.6, 1: 0.2}
"""Share of restockings on each day, relative to the day on which the product runs out."""


@dataclass(frozen=True)
class Choices:
    """Probabilities of viewing and carting for ``n`` shoppers and the ``s`` places of one category.

    Attributes:
        view: ``[n, s]`` probability of each place per view in the category, position bias included; rows sum to 1.
        cart: ``[n, s]`` logits of putting a viewed product into the cart (position has no influence).
    """

    view: FloatArray
    cart: FloatArray


@dataclass(frozen=True)
class DueRestocks:
    """Restocking habits that are due today: shopper, shelf place, probability of a purchase."""

    user: IntArray
    slot: IntArray
    probability: FloatArray


@dataclass(frozen=True)
class DayState:
    """The world on one day, before any choice is made.

    Attributes:
        ordinal: the day.
        shelf: ``[n_slots]`` row of `Products`, ``-1`` where the place is empty.
        features: ``[n_slots, F]``; a shopper's preference is the inner product with theirs.
        appeal: ``[n_slots]`` logits shared by all, ``-inf`` where the place is empty.
        log_examination: ``[n_slots]`` log of the probability that a listed product is examined, from its position.
        category_logits: ``[Z]``, ``-inf`` where a whole category is sold out.
        rate: ``[n_users]`` expected browsing sessions today.
        tastes: of this day.
        episode_category, episode_style, shortlist: ``[n_users]``, ``[n_users, STYLE_DIMENSIONS]``,
            ``[n_users, SHORTLIST]`` (shelf places) of each shopper's episode.
    """

    ordinal: int
    shelf: IntArray
    features: FloatArray
    appeal: FloatArray
    log_examination: FloatArray
    category_logits: FloatArray
    rate: FloatArray
    tastes: Tastes
    episode_category: IntArray
    episode_style: FloatArray
    shortlist: IntArray

    @property
    def open(self) -> bool:
        """Whether anything is on sale."""
        return bool((self.shelf >= 0).any())


class World:
    """The hidden world of a config. Every method is a pure function of the config and the day."""

    def __init__(self, config: SyntheticShopConfig) -> None:
        self.config = config
        self.categories: Categories = build_categories(config)
        self.brands: Brands = build_brands(config)
        self.products: Products = build_products(config, self.categories, self.brands)
        self.shoppers: Shoppers = build_shoppers(config, self.categories)
        self.session_lengths: FloatArray = session_length_distribution(config.views_per_session)
        self._episodes = lru_cache(maxsize=8)(self._draw_episodes)
        self._listing_noise = lru_cache(maxsize=8)(self._draw_listing_noise)

    def price_level(self, ordinal: int) -> float:
        """Factor on every price from the price shifts so far."""
        level = 1.0
        for shift in self.config.drifts(DriftKind.PRICE_SHIFT):
            if ordinal >= shift.start.toordinal():
                level *= 1.0 + shift.strength
        return level

    def prices(self, rows: IntArray, ordinal: int) -> FloatArray:
        """Prices of products (rows) on a day, in whole pence."""
        log_price = self.categories.log_price[self.products.category[rows]] + self.products.log_price[rows]
        return np.round(np.exp(log_price) * self.price_level(ordinal), 2)

    def shelf(self, ordinal: int) -> IntArray:
        """The product (row) in each place of the shelf, ``-1`` where there is none, ``[n_slots]``."""
        on_sale = np.flatnonzero((self.products.launch <= ordinal) & (ordinal < self.products.retire))
        shelf = np.full(self.config.n_products, -1, dtype=np.int64)
        shelf[self.products.slot[on_sale]] = on_sale
        return shelf

    def era(self, ordinal: int) -> int:
        """How many taste shifts have begun: the place of a day's tastes in ``shoppers.eras``."""
        return sum(ordinal >= shift.start.toordinal() for shift in self.config.drifts(DriftKind.TASTE_SHIFT))

    def on(self, day: date) -> DayState:
        """The world on ``day``."""
        ordinal = day.toordinal()
        shelf = self.shelf(ordinal)
        rows = np.maximum(shelf, 0)
        products, empty = self.products, shelf < 0
        age = np.maximum(ordinal - products.launch[rows], 0)
        # Products on sale since the first day get no novelty boost.
        news = np.where(products.launch[rows] > self.config.start.toordinal(), np.exp(-age / _NOVELTY_DAYS), 0.0)
        appeal = np.where(empty, -np.inf, products.appeal[rows] + _NOVELTY_BOOST * news)
        relative_price = products.log_price[rows] + np.log(self.price_level(ordinal))
        position = self.brands.position[products.brand[rows]]
        price = (relative_price**2, relative_price, np.ones(len(rows)))
        features = np.column_stack([products.style[rows], position, *price])
        sold_out = np.logical_and.reduceat(empty, self.categories.first_slot[:-1])
        episode_category, episode_style, shortlist, activity = self._episode_on(ordinal)
        return DayState(
            ordinal=ordinal,
            shelf=shelf,
            features=features,
            appeal=appeal,
            log_examination=self._log_examination(appeal, ordinal),
            category_logits=np.where(sold_out, -np.inf, self._category_logits(ordinal)),
            rate=self.shoppers.rate * activity * self.traffic(day) * (self.shoppers.join <= ordinal),
            tastes=self.shoppers.eras[self.era(ordinal)],
            episode_category=episode_category,
            episode_style=episode_style,
            shortlist=shortlist,
        )

    def user_features(self, state: DayState, users: IntArray, episode: bool = True) -> FloatArray:
        """``[n, F]``, the counterpart of ``state.features``: style (with that of the episode), brand, price level."""
        strength = self.config.taste_strength
        tastes = state.tastes
        budget, sensitivity = tastes.budget[users], strength * self.shoppers.price_sensitivity[users]
        return np.column_stack(
            [
                strength * _STYLE_SCALE * (tastes.style[users] + state.episode_style[users] * episode),
                strength * _BRAND_SCALE * tastes.brand[users],
                -sensitivity,
                2.0 * sensitivity * budget,
                -sensitivity * budget**2,
            ]
        )

    def category_interest(self, state: DayState, users: IntArray) -> FloatArray:
        """Probability of each category for a session of each shopper, episode included, ``[n, Z]``; rows sum to 1."""
        interest = _softmax(self._interest_logits(state.tastes, users) + state.category_logits)
        favourite = state.episode_category[users]
        sold_out = np.isneginf(state.category_logits[favourite])
        share = np.where(sold_out, 0.0, EPISODE_SHARE)
        interest *= (1.0 - share)[:, None]
        interest[np.arange(len(users)), favourite] += share
        return interest

    def choices(self, state: DayState, users: IntArray, features: FloatArray, category: int) -> Choices:
        """View probabilities and cart logits of ``users`` (with their `user_features`) in one category."""
        slots = self.categories.slots(category)
        preference = features @ state.features[slots].T
        eager = np.flatnonzero(state.episode_category[users] == category)
        listed = state.shortlist[users[eager]] - slots.start
        boost = np.zeros_like(preference)
        boost[eager[:, None], listed] = self.config.taste_strength * _SHORTLIST_BOOST
        preference += boost
        logits = preference + (state.appeal[slots] + state.log_examination[slots])
        view = _softmax(logits)
        on_sale = np.isfinite(state.appeal[slots])
        noise = self.config.noise
        view = (1.0 - noise) * view + (noise / max(int(on_sale.sum()), 1)) * on_sale
        return Choices(view=view, cart=preference)

    def cart_probability(self, state: DayState, cart_logits: FloatArray) -> FloatArray:
        """Probability that a viewed product goes into the cart, from `Choices.cart`.

        A general price rise lowers the probability, whatever price level a shopper prefers.
        """
        intercept = _CART_INTERCEPT - _PRICE_RISE_EFFECT * np.log(self.price_level(state.ordinal))
        return 1.0 / (1.0 + np.exp(-(intercept + _CART_SLOPE * cart_logits)))

    def due_restocks(self, state: DayState) -> DueRestocks:
        """Habits due on or beside this day, of shoppers who have joined; at most one per shopper and category."""
        habits = self.shoppers.restocks
        offset = (state.ordinal - habits.phase + 1) % habits.period - 1
        weight = np.zeros(len(offset))
        for day, share in RESTOCK_DAYS.items():
            weight[offset == day] = share
        joined = self.shoppers.join[habits.user] <= state.ordinal
        due = np.flatnonzero((weight > 0) & joined)
        users = habits.user[due]
        candidates = habits.candidates[due]
        liking = self.habit_liking(state, users, candidates)
        best = liking.argmax(axis=1)
        there = np.isfinite(liking[np.arange(len(due)), best])
        slot = candidates[np.arange(len(due)), best]
        probability = weight[due] * habits.reliability[due]
        return DueRestocks(user=users[there], slot=slot[there], probability=probability[there])

    def habit_liking(self, state: DayState, users: IntArray, places: IntArray) -> FloatArray:
        """Preference of each shopper for the product in each of their places, ``[n, c]``; ``-inf`` where it is empty.

        Habits do not depend on the current episode or on novelty.
        """
        liking = np.einsum("rf,rcf->rc", self.user_features(state, users, episode=False), state.features[places])
        rows = state.shelf[places]
        return np.asarray(liking + np.where(rows >= 0, self.products.appeal[rows], -np.inf))

    def _interest_logits(self, tastes: Tastes, users: IntArray) -> FloatArray:
        scale = self.config.taste_strength * _INTEREST_SCALE
        return scale * tastes.interest[users] @ self.categories.interest.T

    def _category_logits(self, ordinal: int) -> FloatArray:
        turn = 2.0 * np.pi * (_day_of_year(ordinal) - self.categories.season_peak) / 365.25
        season = self.config.seasonal_cycle * self.categories.season_amplitude * np.cos(turn)
        return self.categories.popularity + season

    def traffic(self, day: date) -> float:
        """Factor on every session rate on a day, from weekday and season."""
        week = 1.0 + self.config.weekly_cycle * (_WEEK[day.weekday()] - 1.0)
        turn = 2.0 * np.pi * (_day_of_year(day.toordinal()) - _SEASON_PEAK) / 365.25
        return float(week * (1.0 + self.config.seasonal_cycle * _SEASON_AMPLITUDE * np.cos(turn)))

    def _log_examination(self, appeal: FloatArray, ordinal: int) -> FloatArray:
        """Log examination probability of each place, from its position in the listing of its category.

        Position-based model (Craswell et al. 2008, "An experimental comparison of click position-bias models"). The
        shop lists each category by its weekly estimate of appeal.
        """
        return -self.config.position_bias * np.log1p(self.listing_positions(appeal, ordinal))

    def listing_positions(self, appeal: FloatArray, ordinal: int) -> IntArray:
        """Position of each shelf place in its category's listing, 0 at the top; empty places come last."""
        guess = appeal + _LISTING_NOISE * self._listing_noise(ordinal // 7)
        category = np.repeat(np.arange(len(self.categories)), np.diff(self.categories.first_slot))
        order = np.lexsort((-guess, category))
        positions = np.empty(len(order), dtype=np.int64)
        positions[order] = np.arange(len(order)) - self.categories.first_slot[category]
        return positions

    def _draw_listing_noise(self, week: int) -> FloatArray:
        return generator(self.config.seed, Stream.LISTING, week).standard_normal(self.config.n_products)

    def _draw_episodes(self, index: int, era: int) -> tuple[IntArray, FloatArray, IntArray, FloatArray]:
        """Episode ``index`` of every shopper: category, style, short list (shelf places), activity."""
        rng = generator(self.config.seed, Stream.EPISODES, index)
        count = len(self.shoppers)
        style = EPISODE_STYLE * rng.standard_normal((count, STYLE_DIMENSIONS))
        draw = rng.random(count)
        places = rng.random((count, SHORTLIST))
        activity = rng.lognormal(-0.5 * EPISODE_ACTIVITY**2, EPISODE_ACTIVITY, count)
        category = inverse_cdf(np.cumsum(self.episode_categories(era), axis=1), draw)
        first, size = self.categories.first_slot[category], np.diff(self.categories.first_slot)[category]
        shortlist = first[:, None] + np.floor(places * size[:, None]).astype(np.int64)
        return category, style, shortlist, activity

    def episode_categories(self, era: int) -> FloatArray:
        """Probability that an episode of each shopper is about each category, ``[n_users, Z]``."""
        everybody = np.arange(len(self.shoppers))
        return _softmax(self._interest_logits(self.shoppers.eras[era], everybody) + self.categories.popularity)

    def _episode_on(self, ordinal: int) -> tuple[IntArray, FloatArray, IntArray, FloatArray]:
        """The current episode of each shopper; shoppers start new episodes on different days."""
        length = self.config.episode_days
        era = self.era(ordinal)
        earlier, later = self._episodes(ordinal // length, era), self._episodes(ordinal // length + 1, era)
        changed = ordinal % length + self.shoppers.phase >= length
        return (
            np.where(changed, later[0], earlier[0]),
            np.where(changed[:, None], later[1], earlier[1]),
            np.where(changed[:, None], later[2], earlier[2]),
            np.where(changed, later[3], earlier[3]),
        )


def session_length_distribution(mean: float) -> FloatArray:
    """Probability of 1, 2, ... `MAX_VIEWS_PER_SESSION` views: geometric, cut off, with the given mean."""
    lengths = np.arange(1, MAX_VIEWS_PER_SESSION + 1)
    low, high = 0.0, 1.0
    for _ in range(60):
        ratio = 0.5 * (low + high)
        weights = ratio ** (lengths - 1.0)
        if (weights * lengths).sum() / weights.sum() < mean:
            low = ratio
        else:
            high = ratio
    return weights / weights.sum()


def inverse_cdf(cumulative: FloatArray, draws: FloatArray) -> IntArray:
    """For each row of ``cumulative`` ``[n, s]`` (last column the total), the column its draw in [0, 1) falls into.

    Columns of probability 0 are never chosen.
    """
    target = draws * cumulative[:, -1]
    return np.minimum((cumulative <= target[:, None]).sum(axis=1), cumulative.shape[1] - 1)


def _softmax(logits: FloatArray) -> FloatArray:
    """Row-wise; a row of ``-inf`` alone becomes zeros."""
    top = logits.max(axis=1, keepdims=True, initial=-np.inf)
    weights = np.exp(logits - np.where(np.isfinite(top), top, 0.0))
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total > 0, total, 1.0)


def _day_of_year(ordinal: int) -> int:
    return date.fromordinal(ordinal).timetuple().tm_yday
