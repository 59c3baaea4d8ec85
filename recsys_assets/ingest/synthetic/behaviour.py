"""Draws one day of behaviour from the probabilities in ``world``: sessions of views, carts and purchases."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from recsys_assets.ingest.synthetic.config import MAX_VIEWS_PER_SESSION
from recsys_assets.ingest.synthetic.streams import BoolArray, FloatArray, IntArray
from recsys_assets.ingest.synthetic.world import WANDER, DayState, World, inverse_cdf

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_GAP = (8 * _SECOND, 90 * _SECOND)
_CART_DELAY = (2 * _SECOND, 7 * _SECOND)
_CHECKOUT_DELAY = (10 * _SECOND, 60 * _SECOND)
_LONGEST_SESSION = MAX_VIEWS_PER_SESSION * _GAP[1] + _CHECKOUT_DELAY[1]
_HOURS = np.array(
    [6, 4, 2, 1, 1, 2, 6, 14, 22, 28, 33, 37, 42, 40, 36, 34, 35, 40, 50, 62, 66, 54, 32, 15], dtype=np.float64
)


@dataclass(frozen=True)
class Behaviour:
    """``E`` events of a day in order of time.

    Attributes:
        user: shopper numbers.
        product: rows of ``World.products``.
        kind: `InteractionType` codes (int8).
        microsecond: since midnight UTC, within the day.
        quantity: pieces bought, 0 unless a purchase.
        session: number of the session within the day.
    """

    user: IntArray
    product: IntArray
    kind: NDArray[np.int8]
    microsecond: IntArray
    quantity: IntArray
    session: IntArray

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Views:
    """Views of a day: shopper, shelf place, session, whether carted, whether bought.

    The views of a session are consecutive and in order. In one session a product is carted and bought at most once,
    marked at its first view.
    """

    user: IntArray
    slot: IntArray
    session: IntArray
    carted: BoolArray
    bought: BoolArray


def simulate_day(world: World, state: DayState, rng: np.random.Generator) -> Behaviour:
    """Draw one day. Shoppers act independently of each other, and days of each other, given the world.

    The number of browsing sessions of a shopper is Poisson; a session has a category and a length; each view is drawn
    independently given the category, and each viewed product is carted, then bought, independently.
    """
    browsing = browse(world, state, rng)
    restocking = restock(world, state, rng, first_session=int(browsing.session.max(initial=-1)) + 1)
    views = Views(
        *(np.concatenate([getattr(part, field.name) for part in (browsing, restocking)]) for field in fields(Views))
    )
    return _spread_over_the_day(world, state, views, rng)


def browse(world: World, state: DayState, rng: np.random.Generator) -> Views:
    """Draw the browsing sessions of a day. First step of `simulate_day`."""
    if not state.open:
        return _no_views()
    sessions_of = rng.poisson(state.rate)
    session_user = np.repeat(np.arange(len(sessions_of)), sessions_of)
    lengths = 1 + rng.choice(len(world.session_lengths), size=len(session_user), p=world.session_lengths)
    session = np.repeat(np.arange(len(session_user)), lengths)
    user, category = session_user[session], _view_categories(world, state, session_user, session, rng)
    slot, cart_probability = _choose(world, state, user, category, rng)
    carted = rng.random(len(user)) < cart_probability
    bought = carted & (rng.random(len(user)) < world.shoppers.checkout[user])
    # One cart entry and one order line per product and session, however often the product was viewed.
    line = session * world.config.n_products + slot
    carted, bought = _once(line, carted), _once(line, bought)
    return Views(user=user, slot=slot, session=session, carted=carted, bought=bought)


def _once(line: IntArray, happened: BoolArray) -> BoolArray:
    """``happened``, kept only the first time for each value of ``line``."""
    times = np.flatnonzero(happened)
    _, first = np.unique(line[times], return_index=True)
    kept = np.zeros(len(happened), dtype=bool)
    kept[times[first]] = True
    return kept


def _view_categories(
    world: World, state: DayState, session_user: IntArray, session: IntArray, rng: np.random.Generator
) -> IntArray:
    """Category of each view: its session's, or with probability `WANDER` a new draw from the shopper's interests."""
    users, row_of_session = np.unique(session_user, return_inverse=True)
    interest = np.cumsum(world.category_interest(state, users), axis=1)
    intent = inverse_cdf(interest[row_of_session], rng.random(len(session_user)))
    category = intent[session]
    wandering = np.flatnonzero(rng.random(len(session)) < WANDER)
    rows = row_of_session[session[wandering]]
    category[wandering] = inverse_cdf(interest[rows], rng.random(len(wandering)))
    return category


def _choose(
    world: World, state: DayState, user: IntArray, category: IntArray, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Shelf place of each view, and the probability that its product is put into the cart."""
    draws = rng.random(len(user))
    # One row of probabilities serves all views of a shopper in a category.
    pairs, row_of_view = np.unique(category * len(world.shoppers) + user, return_inverse=True)
    pair_category, pair_user = np.divmod(pairs, len(world.shoppers))
    first_pair = np.searchsorted(pair_category, np.arange(len(world.categories) + 1))
    by_pair = np.argsort(row_of_view, kind="stable")
    first_view = np.searchsorted(row_of_view[by_pair], first_pair)
    features = world.user_features(state, pair_user)
    slot = np.empty(len(user), dtype=np.int64)
    cart_logits = np.empty(len(user))
    for z in range(len(world.categories)):
        views = by_pair[first_view[z] : first_view[z + 1]]
        if not len(views):
            continue
        mine = slice(int(first_pair[z]), int(first_pair[z + 1]))
        choices = world.choices(state, pair_user[mine], features[mine], z)
        rows = row_of_view[views] - mine.start
        column = _draw_columns(np.cumsum(choices.view, axis=1), rows, draws[views])
        slot[views] = column + world.categories.slots(z).start
        cart_logits[views] = choices.cart[rows, column]
    return slot, world.cart_probability(state, cart_logits)


def _draw_columns(cumulative: FloatArray, rows: IntArray, draws: FloatArray) -> IntArray:
    """Inverse CDF for draws that share rows: one binary search over all rows, each row shifted by its number."""
    count, width = cumulative.shape
    cumulative /= cumulative[:, -1:]
    cumulative += np.arange(count)[:, None]
    found = np.searchsorted(cumulative.ravel(), rows + draws, side="right")
    return np.clip(found - rows * width, 0, width - 1)


def restock(world: World, state: DayState, rng: np.random.Generator, first_session: int) -> Views:
    """Draw the restocking purchases of a day, each a session of one view; numbers start at ``first_session``.

    Second step of `simulate_day`.
    """
    due = world.due_restocks(state)
    come = np.flatnonzero(rng.random(len(due.user)) < due.probability)
    always = np.ones(len(come), dtype=bool)
    session = first_session + np.arange(len(come))
    return Views(user=due.user[come], slot=due.slot[come], session=session, carted=always, bought=always)


def _spread_over_the_day(world: World, state: DayState, views: Views, rng: np.random.Generator) -> Behaviour:
    """Assign times to events: views of a session in order, each cart event after its view, the checkout at the end."""
    count = len(views.user)
    n_sessions = int(views.session.max(initial=-1)) + 1
    hour = rng.choice(24, size=n_sessions, p=_HOURS / _HOURS.sum())
    share_of_day = (hour + rng.random(n_sessions)) / 24.0
    start = np.floor(share_of_day * (_DAY - _LONGEST_SESSION)).astype(np.int64)
    total = np.cumsum(rng.integers(*_GAP, count))
    first = np.searchsorted(views.session, np.arange(n_sessions))
    last = np.searchsorted(views.session, np.arange(n_sessions), side="right") - 1
    viewed = start[views.session] + total - total[first[views.session]]
    checkout = viewed[last] + rng.integers(*_CHECKOUT_DELAY, n_sessions)
    carted, bought = np.flatnonzero(views.carted), np.flatnonzero(views.bought)
    in_cart = viewed[carted] + rng.integers(*_CART_DELAY, len(carted))
    event = np.concatenate([np.arange(count), carted, bought])
    time = np.concatenate([viewed, in_cart, checkout[views.session[bought]]])
    kind = np.repeat(
        np.array([InteractionType.VIEW, InteractionType.ADD_TO_CART, InteractionType.PURCHASE], dtype=np.int8),
        [count, len(carted), len(bought)],
    )
    consumable = world.categories.consumable[world.products.category[state.shelf[views.slot[bought]]]]
    quantity = np.concatenate([np.zeros(count + len(carted), dtype=np.int64), 1 + rng.poisson(0.1 + 0.7 * consumable)])
    order = np.argsort(time, kind="stable")
    event = event[order]
    return Behaviour(
        user=views.user[event],
        product=state.shelf[views.slot[event]],
        kind=kind[order],
        microsecond=time[order],
        quantity=quantity[order],
        session=views.session[event],
    )


def _no_views() -> Views:
    nothing, never = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    return Views(user=nothing, slot=nothing, session=nothing, carted=never, bought=never)
