"""Draws of running episodes: their likelihood is the simulator's, and they are as probable as the true ones."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.synthetic_posterior import RunningEpisodes
from recsys_assets.ingest.synthetic import SyntheticShopConfig
from recsys_assets.ingest.synthetic.config import Drift, DriftKind
from recsys_assets.ingest.synthetic.streams import FloatArray
from recsys_assets.ingest.synthetic.world import SHORTLIST, WANDER

SHOP = SyntheticShopConfig(
    seed=4, days=60, n_users=400, n_products=60, n_categories=5, n_brands=8, sessions_per_user_per_day=0.6
)
NOW = SHOP.start.toordinal() + 50


@pytest.fixture(scope="module")
def running() -> RunningEpisodes:
    return RunningEpisodes(SHOP, NOW)


def test_only_running_episodes_are_looked_at(running: RunningEpisodes) -> None:
    begun = running.index * SHOP.episode_days - running.world.shoppers.phase
    for day in running.days:
        assert (begun[day.views.user] <= day.state.ordinal).all() and day.state.ordinal < NOW
    sessions = sum(len(np.unique(day.views.session)) for day in running.days)
    assert sessions == running.visits.sum() > len(begun)
    assert abs(sessions - running.expected_visits.sum()) < 0.15 * sessions


def test_likelihood_is_that_of_hand_made_sums(running: RunningEpisodes) -> None:
    """One shopper's events, multiplied out view by view from the world's probabilities."""
    world = running.world
    visits = np.array(running.visits)
    user = int(np.argmax(visits))
    category, style, shortlist, _ = next(running.draws(1, 0, 1))
    expected = 0.0
    for day in running.days:
        state = type(day.state)(**{**vars(day.state), "episode_category": category, "episode_style": style,
                                   "shortlist": shortlist})  # fmt: skip
        me = np.array([user])
        features, interest = world.user_features(state, me), world.category_interest(state, me)[0]
        views = day.views
        for session in np.unique(views.session[views.user == user]):
            rows = np.flatnonzero(views.session == session)
            places = views.slot[rows]
            own = [int(np.searchsorted(world.categories.first_slot, place, side="right")) - 1 for place in places]
            intents = 0.0
            for about in range(len(interest)):
                chance = interest[about]
                for z in own:
                    chance *= WANDER * interest[z] + (1 - WANDER) * (z == about)
                intents += chance
            expected += np.log(intents)
            carted: set[int] = set()
            bought: set[int] = set()
            for row, place, z in zip(rows, places, own, strict=True):
                choices = world.choices(state, me, features, z)
                column = int(place) - int(world.categories.first_slot[z])
                expected += np.log(choices.view[0, column])
                cart = float(world.cart_probability(state, choices.cart[0, column]))
                if views.carted[row] or views.bought[row]:
                    expected += np.log(cart)
                elif int(place) not in carted:
                    expected += np.log(1 - cart)
                elif int(place) not in bought:
                    expected += np.log(1 - cart * world.shoppers.checkout[user])
                carted |= {int(place)} if views.carted[row] else set()
                bought |= {int(place)} if views.bought[row] else set()
    assert running.log_likelihood(category, style, shortlist)[user] == pytest.approx(expected, rel=1e-9)


def test_true_episodes_are_a_draw_like_the_others(running: RunningEpisodes) -> None:
    """Drawn from the posterior, a quantity is above its true value as often as below: mean rank 1/2 over shoppers
    (Cook, Gelman and Rubin 2006, "Validation of software for Bayesian models using posterior quantiles")."""
    world = running.world
    real = [world._draw_episodes(int(index), 0) for index in np.unique(running.index)]
    true = tuple(
        np.stack([one[part] for one in real])[running.index - running.index.min(), np.arange(len(running.index))]
        for part in range(4)
    )
    seen = running.visits >= 2
    drawn = list(running.draws(40, 80, 8))
    quantities: dict[str, Callable[..., FloatArray]] = {
        "popularity of the category": lambda episode: world.categories.popularity[episode[0]],
        "style": lambda episode: episode[1][:, 0],
        "style, second": lambda episode: episode[1][:, 1],
        "appeal of the short list": lambda episode: world.products.appeal[episode[2]].sum(axis=1),
        "activity": lambda episode: episode[3],
        "likelihood": lambda episode: running.log_likelihood(*episode[:3]),
    }
    for name, quantity in quantities.items():
        value, others = quantity(true), np.stack([quantity(episode) for episode in drawn])
        ranks = ((others < value) + 0.5 * (others == value)).mean(axis=0)[seen]
        assert abs(ranks.mean() - 0.5) < 4 * ranks.std() / np.sqrt(len(ranks)), name
    # They are learnt from events at all: the true category is drawn far more often than one in five.
    assert np.mean([(episode[0] == true[0])[seen].mean() for episode in drawn]) > 0.5
    assert drawn[0][2].shape == (SHOP.n_users, SHORTLIST)


def test_shifting_tastes_are_refused() -> None:
    shift = Drift(DriftKind.TASTE_SHIFT, SHOP.start)
    with pytest.raises(ValueError, match="taste shifts"):
        RunningEpisodes(SyntheticShopConfig(seed=1, days=60, drift=(shift,)), NOW)
