"""Settings of the synthetic shop: its size, how shoppers behave, and its drifts."""

import math
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

DEFAULT_FIRST_DAY = date(2025, 6, 2)
"""First day of the default shop (a Monday)."""

HORIZON_DAYS = 3650
"""A shop without a fixed number of days ends this long after its first day."""

MAX_VIEWS_PER_SESSION = 16
"""Longest browsing session, in product views."""


class DriftKind(StrEnum):
    """What a drift changes, from its start day on."""

    TASTE_SHIFT = "taste_shift"
    """Every shopper's hidden taste moves towards a new one: ``strength`` is the share of the way (1: all new)."""
    CATALOGUE_SHIFT = "catalogue_shift"
    """``strength`` is the share of the products that are replaced by new ones of another style."""
    PRICE_SHIFT = "price_shift"
    """Every price rises by the share ``strength``."""
    TRACKING_BUG = "tracking_bug"
    """``strength`` is the share of events that arrive malformed (see ``tracking``)."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One change of the shop from the UTC day ``start`` on. Two drifts of one kind add up.

    Raises:
        ValueError: ``strength`` is not in (0, 1].
    """

    kind: DriftKind
    start: date
    strength: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.strength <= 1.0:
            raise ValueError(f"Drift.strength must be in (0, 1], got {self.strength!r}")


@dataclass(frozen=True, slots=True)
class SyntheticShopConfig:
    """A synthetic shop. Equal configs give equal bytes, and changing ``days`` alone does not change any day's events.

    Attributes:
        seed: at least 0; every draw depends on it.
        start: first UTC day with events.
        days: number of days; ``None``: every day until yesterday, so the shop grows daily.
        n_users: shoppers, four fifths of whom joined before ``start``, the rest during the first year.
        n_products: places on the shelf. Each holds one product at a time; a retired product is replaced by a new one,
            so about this many are on sale on any day and the catalogue grows over time.
        n_categories: categories, each with at least one place on the shelf.
        n_brands: brands.
        sessions_per_user_per_day: mean over shoppers and days of browsing sessions.
        views_per_session: mean product views of a browsing session, above 1 and at most 8.
        taste_strength: weight of hidden taste against general appeal; 0 makes shoppers equal except for how often they
            come, the category of their current episode, and their restocking habits.
        popularity_skew: standard deviation of general appeal (in logits); 0 makes all products equally appealing.
        position_bias: exponent of the examination probability, ``(position + 1) ** -position_bias``, of a product's
            place in its category's listing; 0 turns the bias off.
        noise: share of views that go to a random product of the category.
        restocking: how common habits of buying the same consumable again are; 0 for none.
        weekly_cycle, seasonal_cycle: amplitudes, 0 (none) to 1 (full).
        product_lifetime_days: mean days from a product's launch to its retirement.
        episode_days: length of a shopper's episode of interest (a category, a style and a short list of products).
        drift: changes of the shop over time.

    Raises:
        ValueError: a field is outside its range; the message names it.
    """

    seed: int = 0
    start: date = DEFAULT_FIRST_DAY
    days: int | None = None
    n_users: int = 2000
    n_products: int = 1200
    n_categories: int = 20
    n_brands: int = 60
    sessions_per_user_per_day: float = 0.27
    views_per_session: float = 4.0
    taste_strength: float = 1.0
    popularity_skew: float = 0.9
    position_bias: float = 0.5
    noise: float = 0.05
    restocking: float = 1.0
    weekly_cycle: float = 1.0
    seasonal_cycle: float = 1.0
    product_lifetime_days: float = 500.0
    episode_days: int = 21
    drift: tuple[Drift, ...] = ()

    def __post_init__(self) -> None:
        self._check_range("seed", 0, math.inf)
        if self.days is not None:
            self._check_range("days", 1, 100 * 365)
        for name in ("n_users", "n_categories", "n_brands"):
            self._check_range(name, 1, math.inf)
        self._check_range("n_products", self.n_categories, math.inf, "at least one per category")
        self._check_range("sessions_per_user_per_day", 0.0, 1000.0)
        self._check_range("views_per_session", 1.01, MAX_VIEWS_PER_SESSION / 2)
        self._check_range("taste_strength", 0.0, 10.0)
        self._check_range("popularity_skew", 0.0, 5.0)
        self._check_range("position_bias", 0.0, 5.0)
        self._check_range("restocking", 0.0, 5.0)
        for name in ("noise", "weekly_cycle", "seasonal_cycle"):
            self._check_range(name, 0.0, 1.0)
        self._check_range("product_lifetime_days", 30.0, 36500.0)
        self._check_range("episode_days", 1, 3650)
        for drift in self.drift:
            if drift.start < self.start:
                raise ValueError(
                    f"SyntheticShopConfig.drift: {drift.kind} starts on {drift.start}, "
                    f"before the shop does ({self.start})"
                )

    def _check_range(self, name: str, low: float, high: float, why: str = "") -> None:
        value = getattr(self, name)
        if not low <= value <= high:  # also refuses NaN
            reason = f" ({why})" if why else ""
            raise ValueError(f"SyntheticShopConfig.{name} must be in [{low}, {high}]{reason}, got {value!r}")

    @property
    def horizon(self) -> date:
        """First day after the shop's last possible one."""
        return self.start + timedelta(days=self.days if self.days is not None else HORIZON_DAYS)

    def last_day(self, today: date) -> date:
        """The last day with events as of the UTC day ``today``; before ``start`` if there is none yet."""
        if self.days is not None:
            return self.horizon - timedelta(days=1)
        return min(today, self.horizon) - timedelta(days=1)

    def drifts(self, kind: DriftKind) -> tuple[Drift, ...]:
        """Drifts of one kind, by start day (equal days in the order given)."""
        return tuple(sorted((drift for drift in self.drift if drift.kind is kind), key=lambda drift: drift.start))
