"""What shoppers' own events tell of their restocking habits: draws from the exact posterior.

A habit shows when it is acted upon. Who knows lasting tastes and which events are restocking still cannot know a habit
that has not shown yet, nor the places of the shelf to which a habit turns when its product is gone: those are drawn
afresh, as far as the shopper's events leave them possible. Of a habit that has shown, category, period, phase and
reliability count as known.
"""

from copy import copy
from dataclasses import fields, replace
from datetime import date

import numpy as np

from recsys_assets.ingest.synthetic.behaviour import browse, restock
from recsys_assets.ingest.synthetic.config import DriftKind, SyntheticShopConfig
from recsys_assets.ingest.synthetic.shoppers import RESTOCK_CANDIDATES, Restocks, draw_habits, habit_chances
from recsys_assets.ingest.synthetic.streams import BoolArray, FloatArray, IntArray, Stream, generator
from recsys_assets.ingest.synthetic.world import RESTOCK_DAYS, DayState, World, inverse_cdf


class Habits:
    """The habits of everybody when the day ``now`` (ordinal) begins, seen from the restocking before.

    Attributes:
        shown: rows of the world's habits that have been acted upon.

    Raises:
        ValueError: tastes shift, which would change habits.
    """

    def __init__(self, config: SyntheticShopConfig, now: int) -> None:
        if config.drifts(DriftKind.TASTE_SHIFT):
            raise ValueError("habits are inferred for lasting tastes; take the taste shifts out of the config")
        self.world, self.now = World(config), now
        world = self.world
        first, sizes = world.categories.first_slot, np.diff(world.categories.first_slot)
        habits, width = world.shoppers.restocks, len(world.categories)
        key = habits.user * width + habits.category
        possible = np.arange(int(sizes.max())) < sizes[habits.category][:, None]
        kept = np.zeros(habits.candidates.shape, dtype=bool)
        for ordinal in range(config.start.toordinal(), now):
            state = world.on(date.fromordinal(ordinal))
            rng = generator(config.seed, Stream.DAY, ordinal)
            browse(world, state, rng)
            acts = restock(world, state, rng, 0)
            category = np.searchsorted(first, acts.slot, side="right") - 1
            row = np.searchsorted(key, acts.user * width + category)
            kept[row] |= habits.candidates[row] == acts.slot[:, None]
            possible[row] &= self._less_liked(state, acts.user, acts.slot, category)
        self.shown: IntArray = np.flatnonzero(kept.any(axis=1))
        self._kept, self._possible = kept[self.shown], possible[self.shown]

    def _less_liked(self, state: DayState, users: IntArray, slots: IntArray, category: IntArray) -> BoolArray:
        """Places of each category, by their number within it, that a shopper likes less than ``slots``."""
        world = self.world
        last = np.diff(world.categories.first_slot)[category] - 1
        column = np.arange(int(np.diff(world.categories.first_slot).max()))
        places = world.categories.first_slot[category][:, None] + np.minimum(column, last[:, None])
        liking = world.habit_liking(state, users, places)
        return np.asarray(liking < world.habit_liking(state, users, slots[:, None]))

    def draw(self, rng: np.random.Generator) -> Restocks:
        """Habits of everybody from the posterior."""
        parts = [self._shown_again(rng), *self._unseen(rng)]
        joined = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Restocks)
        }
        order = np.argsort(joined["user"], kind="stable")
        return Restocks(**{name: values[order] for name, values in joined.items()})

    def _shown_again(self, rng: np.random.Generator) -> Restocks:
        """Habits that have shown; places never gone to are drawn among those less liked than what was bought."""
        habits = _rows(self.world.shoppers.restocks, self.shown)
        first, cumulative = self.world.categories.first_slot[habits.category], np.cumsum(self._possible, axis=1)
        # With no other place possible, all six are the one gone to.
        some = cumulative[:, -1] > 0
        candidates = habits.candidates.copy()
        for place in range(candidates.shape[1]):
            drawn = first + inverse_cdf(cumulative.astype(np.float64), rng.random(len(first)))
            again = some & ~self._kept[:, place]
            candidates[again, place] = drawn[again]
        return replace(habits, candidates=candidates)

    def _unseen(self, rng: np.random.Generator) -> list[Restocks]:
        """Habits that have not shown: drawn, and drawn again where they would have shown."""
        world = self.world
        consumable, chance = habit_chances(world.config, world.categories, world.shoppers.eras[0])
        shown = _rows(world.shoppers.restocks, self.shown)
        chance[shown.user, np.searchsorted(consumable, shown.category)] = 0.0
        pending = chance > 0
        found = []
        while pending.any():
            user, column = np.nonzero(pending & (rng.random(chance.shape) < chance))
            drawn = draw_habits(rng, world.categories, user, consumable[column])
            silent = rng.random(len(user)) < np.exp(self._log_silence(drawn))
            found.append(_rows(drawn, np.flatnonzero(silent)))
            pending = np.zeros(chance.shape, dtype=bool)
            pending[user[~silent], column[~silent]] = True
        return found

    def _log_silence(self, habits: Restocks) -> FloatArray:
        """Log of the probability that each habit has never been acted upon.

        That all places of a habit stood empty on a day it was due is left out of account.
        """
        days = np.arange(self.world.config.start.toordinal(), self.now)
        offset = (days - habits.phase[:, None] + 1) % habits.period[:, None] - 1
        weight = np.zeros(offset.shape)
        for day, share in RESTOCK_DAYS.items():
            weight[offset == day] = share
        weight *= self.world.shoppers.join[habits.user][:, None] <= days
        return np.asarray(np.log1p(-weight * habits.reliability[:, None]).sum(axis=1))

    def purchase_probability(
        self, users: IntArray, products: IntArray, days: int, draws: int, rng: np.random.Generator
    ) -> FloatArray:
        """Probability that a habit makes each shopper buy each product within ``days`` days from ``now`` on.

        Averaged over ``draws`` draws. ``users``: ``[B]`` shoppers, ``products``: ``[m]`` rows of the world's products,
        both distinct; ``[B, m]``.
        """
        row = np.full(len(self.world.shoppers), -1)
        row[users] = np.arange(len(users))
        column = np.full(len(self.world.products), -1)
        column[products] = np.arange(len(products))
        states = [self.world.on(date.fromordinal(self.now + day)) for day in range(days)]
        world, total = copy(self.world), np.zeros((len(users), len(products)))
        for _ in range(draws):
            world.shoppers = replace(self.world.shoppers, restocks=self.draw(rng))
            due = [(world.due_restocks(state), state.shelf) for state in states]
            place = np.concatenate([row[each.user] * len(products) + column[shelf[each.slot]] for each, shelf in due])
            there = np.concatenate([(row[each.user] >= 0) & (column[shelf[each.slot]] >= 0) for each, shelf in due])
            missed = np.log1p(-np.concatenate([each.probability for each, _ in due]))
            cells, back = np.unique(place[there], return_inverse=True)
            total.ravel()[cells] -= np.expm1(np.bincount(back, weights=missed[there], minlength=len(cells)))
        return total / draws


def _rows(habits: Restocks, rows: IntArray) -> Restocks:
    return Restocks(**{field.name: getattr(habits, field.name)[rows] for field in fields(Restocks)})


def no_habits() -> Restocks:
    """Of a shop where nobody has any."""
    none = np.zeros(0, dtype=np.int64)
    return Restocks(none, none, np.zeros((0, RESTOCK_CANDIDATES), dtype=np.int64), none, none, np.zeros(0))
