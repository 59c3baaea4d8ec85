"""The hidden shoppers: age, gender, place, tastes, how often they come, and what they buy again and again."""

from dataclasses import dataclass, fields

import numpy as np

from recsys_assets.ingest.synthetic import words
from recsys_assets.ingest.synthetic.catalogue import BRAND_DIMENSIONS, INTEREST_DIMENSIONS, STYLE_DIMENSIONS, Categories
from recsys_assets.ingest.synthetic.config import DriftKind, SyntheticShopConfig
from recsys_assets.ingest.synthetic.streams import FloatArray, IntArray, Stream, generator

RESTOCK_CANDIDATES = 6
"""Shelf places from which a shopper's habit in one consumable category takes its product."""
CHARACTER_DIMENSIONS = 4
"""Tastes in categories, styles, brands and prices depend on one hidden character, so they are correlated."""
_CHARACTER = 1.2
_INDIVIDUALITY = 0.3
_PRICE_SENSITIVITY = 0.5
_JOINED_BEFORE = 0.8
_ACTIVITY_SPREAD = 0.7
_RESTOCK_SHARE = 0.1


@dataclass(frozen=True)
class Tastes:
    """Hidden tastes of ``n`` shoppers: categories, styles and brands, and the price level that they prefer."""

    interest: FloatArray
    style: FloatArray
    brand: FloatArray
    budget: FloatArray

    def towards(self, other: "Tastes", share: float) -> "Tastes":
        """``share`` of the way to ``other``."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Tastes(*((1 - share) * mine + share * theirs for mine, theirs in pairs))


@dataclass(frozen=True)
class Restocks:
    """``R`` habits: each is one shopper who buys one product of a consumable category again and again.

    Attributes:
        user, category: the shopper and the category; ascending by user.
        candidates: ``[R, RESTOCK_CANDIDATES]`` shelf places; the shopper buys the product they like best among those
            on sale.
        period, phase: days; the product runs out on days with ``(day - phase) % period == 0``.
        reliability: probability of restocking over one period.
    """

    user: IntArray
    category: IntArray
    candidates: IntArray
    period: IntArray
    phase: IntArray
    reliability: FloatArray


@dataclass(frozen=True)
class Shoppers:
    """``n`` shoppers.

    Attributes:
        age, gender, location: whole years, index into ``words.GENDERS`` and ``words.LOCATIONS``.
        join: day ordinal of joining; no sessions before.
        rate: mean browsing sessions a day.
        price_sensitivity: weight of the squared distance from the own price level.
        checkout: probability that a product in the cart is bought.
        phase: days by which this shopper's episodes of interest are shifted.
        eras: tastes after 0, 1, ... taste shifts.
        restocks: standing habits.
    """

    age: IntArray
    gender: IntArray
    location: IntArray
    join: IntArray
    rate: FloatArray
    price_sensitivity: FloatArray
    checkout: FloatArray
    phase: IntArray
    eras: tuple[Tastes, ...]
    restocks: Restocks

    def __len__(self) -> int:
        return len(self.age)


def user_id(number: int) -> str:
    """The shop's id of a shopper."""
    return f"U{number:06d}"


def build_shoppers(config: SyntheticShopConfig, categories: Categories) -> Shoppers:
    """Draw the shoppers. Tastes depend a little on age and gender, price level on location; individuals differ more."""
    rng = generator(config.seed, Stream.SHOPPERS)
    count = config.n_users
    start = config.start.toordinal()
    age = np.clip(np.round(18 + rng.gamma(4.0, 6.0, count)), 18, 85).astype(np.int64)
    gender = rng.choice(len(words.GENDERS), size=count, p=words.GENDER_SHARES)
    location = rng.choice(len(words.LOCATIONS), size=count, p=words.LOCATION_SHARES)
    early = start - rng.integers(0, 900, count)
    late = start + rng.integers(1, 366, count)
    join = np.where(rng.random(count) < _JOINED_BEFORE, early, late)
    activity = rng.lognormal(-0.5 * _ACTIVITY_SPREAD**2, _ACTIVITY_SPREAD, count)
    # Small locations are also less active, so a model that is good only for the majority is worse for them.
    activity *= np.linspace(1.1, 0.7, len(words.LOCATIONS))[location]
    first = _draw_tastes(rng, config, age, gender, location)
    return Shoppers(
        age=age,
        gender=gender,
        location=location,
        join=join,
        rate=config.sessions_per_user_per_day * activity,
        price_sensitivity=_PRICE_SENSITIVITY * rng.gamma(3.0, 1.0 / 3.0, count),
        checkout=rng.beta(6.0, 5.0, count),
        phase=rng.integers(0, config.episode_days, count),
        eras=_eras(config, first, age, gender, location),
        restocks=_build_restocks(config, categories, first),
    )


def _draw_tastes(
    rng: np.random.Generator, config: SyntheticShopConfig, age: IntArray, gender: IntArray, location: IntArray
) -> Tastes:
    count = config.n_users
    character = _CHARACTER * rng.standard_normal((count, CHARACTER_DIMENSIONS))
    character += 0.5 * rng.standard_normal((len(words.GENDERS), CHARACTER_DIMENSIONS))[gender]
    character += 0.3 * (age - 42)[:, None] / 14.0 * rng.standard_normal(CHARACTER_DIMENSIONS)
    by_location = np.linspace(0.25, -0.25, len(words.LOCATIONS))

    def leaning(dimensions: int) -> FloatArray:
        loading = rng.standard_normal((CHARACTER_DIMENSIONS, dimensions)) / np.sqrt(CHARACTER_DIMENSIONS)
        return character @ loading + _INDIVIDUALITY * rng.standard_normal((count, dimensions))

    return Tastes(
        interest=leaning(INTEREST_DIMENSIONS),
        style=leaning(STYLE_DIMENSIONS),
        brand=leaning(BRAND_DIMENSIONS),
        budget=by_location[location] + 0.3 * leaning(1)[:, 0],
    )


def _eras(
    config: SyntheticShopConfig, first: Tastes, age: IntArray, gender: IntArray, location: IntArray
) -> tuple[Tastes, ...]:
    eras = [first]
    for index, shift in enumerate(config.drifts(DriftKind.TASTE_SHIFT)):
        rng = generator(config.seed, Stream.TASTE_SHIFT, index)
        eras.append(eras[-1].towards(_draw_tastes(rng, config, age, gender, location), shift.strength))
    return tuple(eras)


def habit_chances(config: SyntheticShopConfig, categories: Categories, tastes: Tastes) -> tuple[IntArray, FloatArray]:
    """Consumable categories and the probability that each shopper has a habit in each, ``[n, consumable]``.

    The probability grows with the shopper's interest in the category.
    """
    consumable = np.flatnonzero(categories.consumable)
    pull = tastes.interest @ categories.interest[consumable].T / np.sqrt(INTEREST_DIMENSIONS)
    lean = np.exp(np.clip(0.6 * config.taste_strength * pull, -2.0, 1.2))
    return consumable, np.minimum(_RESTOCK_SHARE * config.restocking * lean, 1.0)


def draw_habits(rng: np.random.Generator, categories: Categories, user: IntArray, category: IntArray) -> Restocks:
    """A habit for each pair of a shopper and a category, ``[R]``; users ascend."""
    first, size = categories.first_slot[category], np.diff(categories.first_slot)[category]
    draws = rng.random((len(user), RESTOCK_CANDIDATES))
    period = rng.integers(7, 36, len(user))
    return Restocks(
        user=user.astype(np.int64),
        category=category,
        candidates=first[:, None] + np.floor(draws * size[:, None]).astype(np.int64),
        period=period,
        phase=np.floor(rng.random(len(user)) * period).astype(np.int64),
        reliability=rng.uniform(0.5, 0.95, len(user)),
    )


def _build_restocks(config: SyntheticShopConfig, categories: Categories, tastes: Tastes) -> Restocks:
    rng = generator(config.seed, Stream.RESTOCKS)
    consumable, chance = habit_chances(config, categories, tastes)
    user, column = np.nonzero(rng.random(chance.shape) < chance)
    return draw_habits(rng, categories, user, consumable[column])
