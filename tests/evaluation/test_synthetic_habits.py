"""Draws of restocking habits: in keeping with what was restocked, and as probable as the true ones."""

from dataclasses import fields, replace
from datetime import date

import numpy as np
import pytest

from benchmarks.synthetic_habits import Habits
from recsys_assets.ingest.synthetic import SyntheticShopConfig
from recsys_assets.ingest.synthetic.shoppers import Restocks, Shoppers
from recsys_assets.ingest.synthetic.truth import log_no_purchase
from recsys_assets.ingest.synthetic.world import World

SHOP = SyntheticShopConfig(
    seed=6, days=60, n_users=1_500, n_products=150, n_categories=12, restocking=2.0, product_lifetime_days=60.0
)
NOW = SHOP.start.toordinal() + 45


@pytest.fixture(scope="module")
def habits() -> Habits:
    return Habits(SHOP, NOW)


def test_draws_leave_what_was_restocked_as_it_was(habits: Habits) -> None:
    """A shown habit, redrawn, goes on every past day it was due to the place it went to, if it then went."""
    world = World(SHOP)
    drawn = habits.draw(np.random.default_rng(0))
    other = World(SHOP)
    other.shoppers = replace(world.shoppers, restocks=drawn)
    real = world.shoppers.restocks
    shown = set(zip(real.user[habits.shown].tolist(), real.category[habits.shown].tolist(), strict=True))
    assert 0 < len(shown) < len(real.user)
    assert shown <= set(zip(drawn.user.tolist(), drawn.category.tolist(), strict=True))
    assert (np.diff(drawn.user) >= 0).all() and len(drawn.user) == len(
        set(zip(drawn.user, drawn.category, strict=True))
    )
    acted = 0
    for ordinal in range(SHOP.start.toordinal(), NOW):
        went = _restocked(SHOP, ordinal)
        goes = other.due_restocks(world.on(date.fromordinal(ordinal)))
        assert went <= set(zip(goes.user.tolist(), goes.slot.tolist(), strict=True))
        acted += len(went)
    assert acted > 100


def test_places_never_gone_to_are_drawn_afresh(habits: Habits) -> None:
    real = World(SHOP).shoppers.restocks.candidates[habits.shown]
    drawn = habits._shown_again(np.random.default_rng(0)).candidates
    assert (drawn[habits._kept] == real[habits._kept]).all()
    assert (drawn[~habits._kept] != real[~habits._kept]).mean() > 0.5


def test_chance_of_one_draw_is_that_of_a_shop_where_nobody_browses(habits: Habits) -> None:
    still = World(SHOP)
    users, products = np.arange(0, SHOP.n_users, 2), np.arange(0, len(still.products), 3)
    got = habits.purchase_probability(users, products, 10, 1, np.random.default_rng(3))
    still.shoppers = replace(
        still.shoppers, rate=np.zeros(SHOP.n_users), restocks=habits.draw(np.random.default_rng(3))
    )
    silent = log_no_purchase(still, users, products, date.fromordinal(NOW), 10)
    assert (got > 0).any()
    np.testing.assert_allclose(got, -np.expm1(silent), atol=1e-12)


def test_true_habits_are_a_draw_like_the_others(habits: Habits) -> None:
    """As many as there are have not shown, with as much of their places' appeal, period and reliability, within the
    deviation of draws."""
    world, rng = habits.world, np.random.default_rng(1)
    real = world.shoppers.restocks
    unseen = np.setdiff1d(np.arange(len(real.user)), habits.shown)
    draws = [habits._unseen(rng) for _ in range(30)]

    def told(parts: list[Restocks]) -> list[float]:
        joined = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Restocks)
        }
        join = world.shoppers.join[joined["user"]]
        return [len(joined["user"]), joined["period"].mean(), joined["reliability"].mean(), join.mean()]

    truth = told([Restocks(**{field.name: getattr(real, field.name)[unseen] for field in fields(Restocks)})])
    drawn = np.array([told(parts) for parts in draws])
    assert truth[0] > 50
    for value, others in zip(truth, drawn.T, strict=True):
        assert abs(value - others.mean()) < 4 * others.std(ddof=1)


def _restocked(config: SyntheticShopConfig, ordinal: int) -> set[tuple[int, int]]:
    """Shopper and place of every restocking of a day: what is done with habits and not without."""
    from recsys_assets.ingest.synthetic.behaviour import simulate_day
    from recsys_assets.ingest.synthetic.streams import Stream, generator

    def pairs(world: World) -> dict[int, tuple[int, int]]:
        state = world.on(date.fromordinal(ordinal))
        day = simulate_day(world, state, generator(config.seed, Stream.DAY, ordinal))
        slots = world.products.slot[day.product]
        return {int(s): (int(u), int(p)) for s, u, p in zip(day.session, day.user, slots, strict=True)}

    without = World(config)
    shoppers: Shoppers = without.shoppers
    nobody = Restocks(**{field.name: getattr(shoppers.restocks, field.name)[:0] for field in fields(Restocks)})
    without.shoppers = replace(shoppers, restocks=nobody)
    browsing = pairs(without)
    return {pair for session, pair in pairs(World(config)).items() if session not in browsing}
