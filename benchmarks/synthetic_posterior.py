"""What shoppers' own events tell of the episodes of interest they are in: draws from the exact posterior.

Whoever knows the synthetic shop's rules, its products and every shopper's lasting tastes and habits still has to guess
the category, style, short list and activity of a running episode from what the shopper did since it began. Episodes are
independent of each other, so nothing else tells of them. Category, style and short list are drawn by
Metropolis-Hastings (Hastings 1970, "Monte Carlo sampling methods using Markov chains and their applications") under the
likelihood of every view and cart, with probabilities asked of the world itself; activity, which only the number of
sessions tells of, is drawn from its posterior on a fine grid.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, lru_cache
from typing import Final

import numpy as np

from benchmarks.synthetic_habits import no_habits
from recsys_assets.ingest.synthetic.behaviour import Views, browse
from recsys_assets.ingest.synthetic.catalogue import STYLE_DIMENSIONS
from recsys_assets.ingest.synthetic.config import DriftKind, SyntheticShopConfig
from recsys_assets.ingest.synthetic.streams import BoolArray, FloatArray, IntArray, Stream, generator
from recsys_assets.ingest.synthetic.world import (
    EPISODE_ACTIVITY,
    EPISODE_STYLE,
    SHORTLIST,
    WANDER,
    DayState,
    World,
    inverse_cdf,
)

Episode = tuple[IntArray, FloatArray, IntArray, FloatArray]
"""Category, style, short list and activity of every shopper's episode."""

WARM_UP, THINNING = 80, 6
"""Steps before the first draw and between draws; a step moves every shopper once."""
_STRIDES: Final = (0.9, 0.5, 0.25)
_STREAM, _EPISODES_STREAM, _ACTIVITIES = 7_933, 7_927, 400
_TINY = 1e-300


@dataclass(frozen=True)
class Browsed:
    """What some shoppers looked at on one day.

    Attributes:
        state: the day.
        views: theirs; sessions count from 0.
        waiting, unbought: of each view, whether its product had not been carted, or bought, in the session before.
    """

    state: DayState
    views: Views
    waiting: BoolArray
    unbought: BoolArray

    @classmethod
    def of(cls, state: DayState, views: Views, shoppers: BoolArray) -> "Browsed":
        """The views of ``shoppers`` (bool ``[n_users]``)."""
        kept = shoppers[views.user]
        session = np.unique(views.session[kept], return_inverse=True)[1].astype(np.int64)
        views = Views(views.user[kept], views.slot[kept], session, views.carted[kept], views.bought[kept])
        line = np.unique(views.session * (1 + views.slot.max(initial=0)) + views.slot, return_inverse=True)[1]
        place = np.arange(len(line))

        def not_after(marked: BoolArray) -> BoolArray:
            first = np.full(1 + line.max(initial=0), len(line))
            first[line[marked]] = place[marked]
            return np.asarray(place <= first[line])

        return cls(state, views, not_after(views.carted), not_after(views.bought))


class RunningEpisodes:
    """The episodes that run when the day ``now`` (ordinal) begins, seen from the browsing since they began.

    Raises:
        ValueError: tastes shift, which would change episodes while they run.
    """

    def __init__(self, config: SyntheticShopConfig, now: int) -> None:
        if config.drifts(DriftKind.TASTE_SHIFT):
            raise ValueError("episodes are inferred for lasting tastes; take the taste shifts out of the config")
        self.world = World(config)
        shoppers, length = self.world.shoppers, config.episode_days

        def index(ordinal: int) -> IntArray:
            return np.asarray(ordinal // length + (ordinal % length + shoppers.phase >= length))

        self.days: list[Browsed] = []
        self.index = index(now)
        self.visits = np.zeros(len(shoppers))
        self.expected_visits = np.zeros(len(shoppers))
        for ordinal in range(max(now - length + 1, config.start.toordinal()), now):
            running = index(ordinal) == self.index
            state = self.world.on(date.fromordinal(ordinal))
            views = browse(self.world, state, generator(config.seed, Stream.DAY, ordinal))
            seen = Browsed.of(state, views, running)
            self.days.append(seen)
            usual = shoppers.rate * self.world.traffic(date.fromordinal(ordinal)) * (shoppers.join <= ordinal)
            self.expected_visits += np.where(running & state.open, usual, 0.0)
            visitor = np.unique(np.stack([seen.views.session, seen.views.user]), axis=1)[1]
            self.visits += np.bincount(visitor, minlength=len(shoppers))

    def draws(self, count: int, warm_up: int = WARM_UP, thinning: int = THINNING) -> Iterator[Episode]:
        """``count`` episodes of everybody, each from the posterior, one after the other along one chain a shopper."""
        rng = np.random.default_rng([self.world.config.seed, _STREAM])
        episode = self._proposed(rng)
        episode = (episode[0], EPISODE_STYLE * rng.standard_normal((len(episode[0]), STYLE_DIMENSIONS)), episode[2])
        likelihood = self.log_likelihood(*episode)
        for step in range(warm_up + thinning * count):
            if step >= warm_up and (step - warm_up) % thinning == 0:
                yield (*(part.copy() for part in episode), self._activity(rng))  # type: ignore[misc]
            episode, likelihood = self._moved(episode, likelihood, step, rng)

    def log_likelihood(self, category: IntArray, style: FloatArray, shortlist: IntArray) -> FloatArray:
        """Log of the chance of what each shopper looked at and carted, given when they came, ``[n_users]``.

        The style matters in all categories, the short list in the episode's own.
        """
        total = self._log_intents[np.arange(len(category)), category]
        for day in self.days:
            state = replace(day.state, episode_category=category, episode_style=style, shortlist=shortlist)
            np.add.at(total, day.views.user, self._log_choices(day, state))
        return total

    def _log_choices(self, day: Browsed, state: DayState) -> FloatArray:
        """Of each view, given its category: log of the chance of the place looked at and of what was done then."""
        world, views = self.world, day.views
        width = len(world.shoppers)
        pair, row_of_view = np.unique(self._category_of_slot[views.slot] * width + views.user, return_inverse=True)
        category, user = np.divmod(pair, width)
        features = world.user_features(state, user)
        seen, cart = np.empty(len(views.user)), np.empty(len(views.user))
        order = np.argsort(row_of_view, kind="stable")
        for z in np.unique(category):
            mine = slice(*np.searchsorted(category, [z, z + 1]))
            at = order[slice(*np.searchsorted(row_of_view[order], [mine.start, mine.stop]))]
            choices = world.choices(state, user[mine], features[mine], int(z))
            place = row_of_view[at] - mine.start, views.slot[at] - world.categories.first_slot[z]
            seen[at], cart[at] = choices.view[place], choices.cart[place]
        carted = world.cart_probability(state, cart)
        # A second taking within a session shows only where it alone was bought.
        unseen = np.where(day.waiting, carted, carted * world.shoppers.checkout[views.user])
        taken = views.carted | views.bought
        done = np.where(taken, np.log(carted), np.where(day.unbought, np.log1p(-unseen), 0.0))
        return np.asarray(np.log(seen) + done)

    @cached_property
    def _category_of_slot(self) -> IntArray:
        return np.repeat(np.arange(len(self.world.categories)), np.diff(self.world.categories.first_slot))

    @cached_property
    def _log_intents(self) -> FloatArray:
        """Log of the chance of the categories of each shopper's views, were the episode about each category."""
        users, n_categories = len(self.world.shoppers), len(self.world.categories)
        total = np.zeros((users, n_categories))
        for day in self.days:
            views = day.views
            counts = np.zeros((int(views.session.max(initial=-1)) + 1, n_categories))
            np.add.at(counts, (views.session, self._category_of_slot[views.slot]), 1.0)
            user = np.empty(len(counts), dtype=np.int64)
            user[views.session] = views.user
            for z in range(n_categories):
                state = replace(day.state, episode_category=np.full(users, z))
                interest = np.maximum(self.world.category_interest(state, user), _TINY)
                stray = WANDER * interest
                # A session is about one category, which is not seen; each of its views may wander from it.
                about = interest * ((stray + 1.0 - WANDER) / stray) ** counts
                np.add.at(total[:, z], user, (counts * np.log(stray)).sum(axis=1) + np.log(about.sum(axis=1)))
        return total

    @cached_property
    def _category_proposal(self) -> FloatArray:
        """Probability of each category given the categories of views alone, ``[n_users, Z]``."""
        logits = np.log(np.maximum(self.world.episode_categories(0), _TINY)) + self._log_intents
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    @cached_property
    def _place_proposal(self) -> FloatArray:
        """Probability of each shelf place, given its category: half even, half by views, ``[n_users, n_slots]``."""
        category, sizes = self._category_of_slot, np.diff(self.world.categories.first_slot)
        views = np.zeros((len(self.world.shoppers), len(category)))
        for day in self.days:
            np.add.at(views, (day.views.user, day.views.slot), 1.0)
        total = np.add.reduceat(views, self.world.categories.first_slot[:-1], axis=1)[:, category]
        even = 1.0 / sizes[category]
        return np.asarray(np.where(total > 0, 0.5 * even + 0.5 * views / np.maximum(total, 1.0), even))

    def _places(self, category: IntArray, rng: np.random.Generator) -> IntArray:
        first, size = self.world.categories.first_slot[category], np.diff(self.world.categories.first_slot)[category]
        column = np.arange(int(size.max()))
        inside = column < size[:, None]
        slots = np.where(inside, first[:, None] + column, 0)
        cumulative = np.cumsum(np.take_along_axis(self._place_proposal, slots, axis=1) * inside, axis=1)
        return np.stack([first + inverse_cdf(cumulative, rng.random(len(first))) for _ in range(SHORTLIST)], axis=1)

    def _proposed(self, rng: np.random.Generator) -> tuple[IntArray, FloatArray, IntArray]:
        users = len(self.world.shoppers)
        category = inverse_cdf(np.cumsum(self._category_proposal, axis=1), rng.random(users))
        return category, np.zeros((users, STYLE_DIMENSIONS)), self._places(category, rng)

    def _log_odds(self, category: IntArray, shortlist: IntArray) -> FloatArray:
        """Log of prior over proposal of category and short list, but for a constant of each shopper."""
        users = np.arange(len(category))
        even = -SHORTLIST * np.log(np.diff(self.world.categories.first_slot)[category])
        proposed = np.log(np.take_along_axis(self._place_proposal, shortlist, axis=1)).sum(axis=1)
        # Prior of the category over its proposal leaves the likelihood of the views' categories.
        return np.asarray(even - proposed - self._log_intents[users, category])

    def _moved(
        self,
        episode: tuple[IntArray, FloatArray, IntArray],
        likelihood: FloatArray,
        step: int,
        rng: np.random.Generator,
    ) -> tuple[tuple[IntArray, FloatArray, IntArray], FloatArray]:
        """One step: another style (by turns), another place of the short list, or another category with its list.

        Styles are proposed as in "preconditioned Crank-Nicolson" (Cotter et al. 2013), which leaves their prior as it
        is.
        """
        category, style, shortlist = episode
        kind = step % 4
        if kind in (0, 2):
            stride = _STRIDES[step // 2 % len(_STRIDES)]
            fresh = EPISODE_STYLE * rng.standard_normal(style.shape)
            proposal = (category, np.sqrt(1.0 - stride**2) * style + stride * fresh, shortlist)
        elif kind == 1:
            other = self._places(category, rng)
            changed = np.arange(SHORTLIST) == rng.integers(SHORTLIST, size=len(category))[:, None]
            proposal = (category, style, np.where(changed, other, shortlist))
        else:
            drawn = self._proposed(rng)
            proposal = (drawn[0], style, drawn[2])
        theirs = self.log_likelihood(*proposal)
        odds = self._log_odds(proposal[0], proposal[2]) - self._log_odds(category, shortlist)
        accepted = np.log(rng.random(len(category))) < theirs - likelihood + odds
        moved = tuple(
            np.where(accepted if new.ndim == 1 else accepted[:, None], new, old)
            for new, old in zip(proposal, episode, strict=True)
        )
        return moved, np.where(accepted, theirs, likelihood)  # type: ignore[return-value]

    def _activity(self, rng: np.random.Generator) -> FloatArray:
        """Log-normal before, Poisson in the number of sessions: drawn on a grid of the former's quantiles."""
        from scipy.special import ndtri

        quantile = ndtri((np.arange(_ACTIVITIES) + 0.5) / _ACTIVITIES)
        activity = np.exp(EPISODE_ACTIVITY * quantile - 0.5 * EPISODE_ACTIVITY**2)
        logits = self.visits[:, None] * np.log(activity) - self.expected_visits[:, None] * activity
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(activity[inverse_cdf(np.cumsum(weights, axis=1), rng.random(len(weights)))])


class OtherEpisodes(World):
    """The same world, but for episodes that begin after the day ``now`` (ordinal): those are drawn afresh.

    With ``running``, those running on that day are these, listings of weeks that begin on it or later are drawn afresh
    as well, and there are no restocking habits.
    """

    def __init__(self, config: SyntheticShopConfig, now: int, draw: int, running: Episode | None = None) -> None:
        super().__init__(config)
        length = config.episode_days
        current = now // length + (now % length + self.shoppers.phase >= length)

        def episodes(index: int, era: int) -> Episode:
            real, afresh = self._draw_episodes(index, era), self._drawn(draw, index, era)
            there = real if running is None else _chosen(current == index, running, real)
            return _chosen(index <= current, there, afresh)

        def listing_noise(week: int) -> FloatArray:
            if 7 * week < now:
                return self._draw_listing_noise(week)
            return generator(config.seed, Stream.LISTING, _EPISODES_STREAM * (draw + 1), week).standard_normal(
                config.n_products
            )

        self._episodes = lru_cache(maxsize=8)(episodes)
        if running is not None:
            self._listing_noise = lru_cache(maxsize=8)(listing_noise)
            self.shoppers = replace(self.shoppers, restocks=no_habits())

    def _drawn(self, draw: int, index: int, era: int) -> Episode:
        # An index no shop lives to see: the same distribution, other numbers.
        return self._draw_episodes(_EPISODES_STREAM * (draw + 1) + index, era)


def _chosen(first: BoolArray, these: Episode, those: Episode) -> Episode:
    """``these`` of the shoppers marked, ``those`` of the others."""
    return (
        np.where(first, these[0], those[0]),
        np.where(first[:, None], these[1], those[1]),
        np.where(first[:, None], these[2], those[2]),
        np.where(first, these[3], those[3]),
    )
