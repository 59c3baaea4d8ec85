"""Exact purchase probabilities of the generative model in ``world``."""

from datetime import date, timedelta

import numpy as np

from recsys_assets.ingest.synthetic.streams import BoolArray, FloatArray, IntArray
from recsys_assets.ingest.synthetic.world import WANDER, DayState, World


def log_no_purchase(world: World, users: IntArray, products: IntArray, first_day: date, days: int) -> FloatArray:
    """Log of the probability that none of ``days`` days from ``first_day`` sees a purchase, ``[B, m]``.

    Days are independent given the world, so the logs of the days are added; see `log_no_purchase_on_day`.
    """
    total = np.zeros((len(users), len(products)))
    for offset in range(days):
        total += log_no_purchase_on_day(world, world.on(first_day + timedelta(days=offset)), users, products)
    return total


def log_no_purchase_on_day(world: World, state: DayState, users: IntArray, products: IntArray) -> FloatArray:
    """Log of the probability that the shopper (row) does not buy the product (column) on one day, ``[B, m]``.

    In a browsing session with category c, views are independent and each buys product p with probability
    ``b_c = P(view is in p's category | c) * P(view is of p) * P(cart) * P(checkout)``. So a session of random length L
    ends without p with probability ``E[(1 - b_c) ** L]``, averaged over c (only "p's own category" and "another"
    differ). The number of sessions is Poisson with mean ``rate``, which thins to ``exp(-rate * P(session buys p))``.
    A due restocking habit is one more independent chance.
    """
    on_sale = state.shelf[world.products.slot[products]] == products
    category = np.where(on_sale, world.products.category[products], -1)
    interest = world.category_interest(state, users)
    features = world.user_features(state, users)
    result = np.zeros((len(users), len(products)))
    for z in np.unique(category[on_sale]):
        columns = np.flatnonzero(category == z)
        places = world.products.slot[products[columns]] - world.categories.slots(int(z)).start
        choices = world.choices(state, users, features, int(z))
        taken = world.cart_probability(state, choices.cart[:, places]) * world.shoppers.checkout[users][:, None]
        bought = choices.view[:, places] * taken
        own = interest[:, z][:, None]
        empty_handed = own * _generating_function(world, 1.0 - (1.0 - WANDER + WANDER * own) * bought)
        empty_handed += (1.0 - own) * _generating_function(world, 1.0 - WANDER * own * bought)
        result[:, columns] = -state.rate[users][:, None] * (1.0 - empty_handed)
    _add_restocks(world, state, users, products, on_sale, result)
    return result


def _generating_function(world: World, x: FloatArray) -> FloatArray:
    """``E[x ** L]`` of the session length L."""
    result = np.zeros_like(x)
    for probability in world.session_lengths[::-1]:
        result += probability
        result *= x
    return result


def _add_restocks(
    world: World, state: DayState, users: IntArray, products: IntArray, on_sale: BoolArray, result: FloatArray
) -> None:
    due = world.due_restocks(state)
    row, habit = np.nonzero(users[:, None] == due.user)
    same_place = world.products.slot[products] == due.slot[habit][:, None]
    match, column = np.nonzero(same_place & on_sale)
    np.add.at(result, (row[match], column), np.log1p(-due.probability)[habit[match]])
