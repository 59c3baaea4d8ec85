"""How shoppers answer a list: they choose among the shown and the organic products by their hidden tastes.

A session has an intended category and a number of views, as in `recsys_assets.ingest.synthetic`. Each view is of a
shown product or of one that the shopper finds without the list. The weight of the product at place ``j`` of the list is
the chance that the shopper would choose it (without the shop's own listing order), times the examination probability
``(j + 1) ** -PLACE_BIAS``, times `PULL`, times ``exp(-FATIGUE * impressions)``: a product that was shown often is
overlooked. All organic products together have the weight 1. A view of a shown product replaces an organic one, except
for a share `EXTRA` that comes on top. Carts and purchases follow from the shopper's preference for the product,
wherever it was found; a share `DELAYED` of the purchases is made one to four days later.

All draws of a day come from the seed and the day alone, so that the arms of a year meet the same shoppers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Final

import numpy as np

from benchmarks.year.plan import PEAK_TRAFFIC, YearPlan
from recsys_assets.ingest.synthetic.catalogue import product_id
from recsys_assets.ingest.synthetic.config import MAX_VIEWS_PER_SESSION
from recsys_assets.ingest.synthetic.streams import FloatArray, IntArray
from recsys_assets.ingest.synthetic.world import WANDER, DayState, World, inverse_cdf

PULL: Final = 8.0
PLACE_BIAS: Final = 0.6
FATIGUE: Final = 0.12
FORGOTTEN: Final = 0.93
"""Share of the impressions that is remembered the next day."""

EXTRA: Final = 0.3
DELAYED: Final = 0.3
PEAK_INTEREST: Final = 0.3
"""Added to the logits of every third category during the season peak."""


@dataclass(frozen=True)
class Session:
    """One visit. ``second``: of the day; ``draws``: float64 ``[MAX_VIEWS_PER_SESSION, 6]`` in [0, 1)."""

    number: int
    user: int
    row: int
    second: int
    category: int
    views: int
    draws: FloatArray


@dataclass(frozen=True)
class View:
    """One viewed product.

    Attributes:
        slot: place of the shelf.
        place: in the list, ``-1`` where it was found without it.
        carted, bought: what followed; ``delay``: days until the purchase.
    """

    slot: int
    place: int
    carted: bool
    bought: bool
    delay: int


class ShoppingDay:
    """The shoppers of one day: their sessions, and what they would choose."""

    def __init__(self, world: World, plan: YearPlan, day: date) -> None:
        state = world.on(day)
        self.state = at_peak(state) if plan.is_peak(day) else state
        self.world = world
        rng = np.random.default_rng([plan.seed, day.toordinal(), 4_711])
        users, sessions = self._draw_sessions(rng)
        self.users = users
        self.sessions = sessions
        self._slot_category = np.repeat(np.arange(len(world.categories)), np.diff(world.categories.first_slot))
        self._interest = world.category_interest(self.state, users)
        features = world.user_features(self.state, users)
        choices = [world.choices(self.state, users, features, z) for z in range(len(world.categories))]
        self._view = np.hstack([one.view for one in choices])
        self.cart = world.cart_probability(self.state, np.hstack([one.cart for one in choices]))
        # Without the order of the shop's own listing.
        merit = self._view * np.exp(-np.where(self.state.shelf >= 0, self.state.log_examination, 0.0))
        sums = np.add.reduceat(merit, world.categories.first_slot[:-1], axis=1)
        self._merit = merit / np.maximum(sums, 1e-12)[:, self._slot_category]

    @cached_property
    def product_ids(self) -> list[str]:
        """Id of the product in each place of the shelf; empty where there is none."""
        numbers, shelf = self.world.products.number, self.state.shelf
        return [product_id(int(numbers[row])) if row >= 0 else "" for row in shelf]

    def best_lists(self, k: int) -> IntArray:
        """The truth: for each of `users` the ``k`` shelf places that they are most likely to choose and buy."""
        checkout = self.world.shoppers.checkout[self.users][:, None]
        value = self._interest[:, self._slot_category] * self._merit * self.cart * checkout
        return np.argsort(-value, axis=1, kind="stable")[:, :k]

    def answer(self, session: Session, shown: Sequence[int], impressions: FloatArray) -> list[View]:
        """What the shopper does with a list.

        Args:
            shown: shelf place of each shown product, ``-1`` for one that is not on sale.
            impressions: ``[n_slots]`` how often each was shown to this shopper lately.
        """
        row = session.row
        intent = WANDER * self._interest[row]
        intent[session.category] += 1.0 - WANDER
        slots = np.asarray(shown, dtype=np.int64)
        on_sale = slots >= 0
        places = np.flatnonzero(on_sale)
        slots = slots[on_sale]
        weight = PULL * (places + 1.0) ** -PLACE_BIAS * np.exp(-FATIGUE * impressions[slots])
        weight *= intent[self._slot_category[slots]] * self._merit[row, slots]
        listed = np.cumsum(weight)
        total = float(listed[-1]) if len(listed) else 0.0
        organic = np.cumsum(self._view[row] * intent[self._slot_category])
        views: list[View] = []
        checkout = float(self.world.shoppers.checkout[session.user])
        seen: set[int] = set()
        wanted = session.views
        for first, second, cart, buy, late, extra in session.draws:
            if len(views) >= min(wanted, MAX_VIEWS_PER_SESSION):
                break
            if first * (1.0 + total) < total:
                at = min(int(np.searchsorted(listed, second * total, side="right")), len(slots) - 1)
                slot, place = int(slots[at]), int(places[at])
                wanted += int(extra < EXTRA)
            else:
                slot = int(np.searchsorted(organic, second * organic[-1], side="right"))
                slot, place = min(slot, len(organic) - 1), -1
            carted = slot not in seen and bool(cart < self.cart[row, slot])
            bought = carted and bool(buy < checkout)
            delay = 1 + int(4 * late / DELAYED) if bought and late < DELAYED else 0
            seen |= {slot} if carted else set()
            views.append(View(slot, place, carted, bought, delay))
        return views

    def restocks(self, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Shoppers and shelf places of the purchases out of habit, which no list moves."""
        due = self.world.due_restocks(self.state)
        come = np.flatnonzero(rng.random(len(due.user)) < due.probability)
        return due.user[come], due.slot[come]

    def _draw_sessions(self, rng: np.random.Generator) -> tuple[IntArray, list[Session]]:
        world, state = self.world, self.state
        user = np.repeat(np.arange(len(state.rate)), rng.poisson(state.rate))
        users, row = np.unique(user, return_inverse=True)
        lengths = 1 + rng.choice(len(world.session_lengths), size=len(user), p=world.session_lengths)
        interest = np.cumsum(world.category_interest(state, users), axis=1)
        category = inverse_cdf(interest[row], rng.random(len(user)))
        second = np.sort(rng.integers(3_600, 82_000, len(user)))
        draws = rng.random((len(user), MAX_VIEWS_PER_SESSION, 6))
        order = rng.permutation(len(user))
        sessions = [
            Session(
                number, int(user[at]), int(row[at]), int(second[number]), int(category[at]), int(lengths[at]), draws[at]
            )
            for number, at in enumerate(order)
        ]
        return users, sessions


def at_peak(state: DayState) -> DayState:
    """The day with the traffic of the season peak and more interest in every third category."""
    gifts = np.where(np.arange(len(state.category_logits)) % 3 == 0, PEAK_INTEREST, 0.0)
    return replace(state, rate=PEAK_TRAFFIC * state.rate, category_logits=state.category_logits + gifts)
