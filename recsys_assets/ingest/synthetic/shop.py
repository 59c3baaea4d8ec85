"""The synthetic shop as tables (products, users, events of a day) and as an oracle of true purchase probabilities."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.interactions import INTERACTION_LABELS
from recsys_assets.ingest.synthetic import words
from recsys_assets.ingest.synthetic.behaviour import Behaviour, simulate_day
from recsys_assets.ingest.synthetic.catalogue import product_id, product_name
from recsys_assets.ingest.synthetic.config import DriftKind, SyntheticShopConfig
from recsys_assets.ingest.synthetic.shoppers import user_id
from recsys_assets.ingest.synthetic.streams import FloatArray, IntArray, Stream, generator
from recsys_assets.ingest.synthetic.tracking import damage_events
from recsys_assets.ingest.synthetic.truth import log_no_purchase
from recsys_assets.ingest.synthetic.world import World
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS

EVENT_COLUMNS = ("interaction_id", "user_id", "product_id", "interaction_type", "timestamp", "price", "quantity")
_EVENT_SCHEMA = pa.schema([INTERACTIONS.schema.field(name) for name in EVENT_COLUMNS])
_PROBABILITIES_PER_CHUNK = 1_000_000
_MICROSECONDS_PER_DAY = 86_400_000_000


class SyntheticShop:
    """A shop whose shoppers have hidden tastes and whose true purchase probabilities are known.

    Building it draws the hidden world only; a day is simulated on request and is independent of other days, given the
    world. Equal configs give equal bytes on one NumPy release and one kind of CPU (another may round an exponential
    differently in the last bit, which changes about one choice in a billion events).
    """

    def __init__(self, config: SyntheticShopConfig | None = None) -> None:
        self.config = config or SyntheticShopConfig()
        self.world = World(self.config)

    def day_events(self, day: date) -> pa.Table:
        """The events of the UTC ``day`` in order of time: the columns `EVENT_COLUMNS`, canonical types.

        ``price`` is the unit price at that moment, on every event; ``quantity`` is null except on purchases.
        ``interaction_id`` is the day and the position in it. A tracking bug damages some events.

        Raises:
            ValueError: ``day`` is outside the shop's life.
        """
        self._check_day(day)
        behaviour = self.behaviour(day)
        events = self.event_table(behaviour, day)
        for index, bug in enumerate(self.config.drifts(DriftKind.TRACKING_BUG)):
            if day >= bug.start:
                rng = generator(self.config.seed, Stream.TRACKING_BUG, index, day.toordinal())
                events = damage_events(events, bug.strength, rng)
        return events

    def behaviour(self, day: date) -> Behaviour:
        """The true behaviour on ``day`` as internal numbers, with sessions and without tracking bugs."""
        rng = generator(self.config.seed, Stream.DAY, day.toordinal())
        return simulate_day(self.world, self.world.on(day), rng)

    def products(self, as_of: date | None = None) -> pa.Table:
        """Canonical products: all launched until the end of the UTC day ``as_of``, with that day's prices.

        ``available`` says whether a product is on sale on that day. By default ``as_of`` is the last day that has
        events. Ratings and reviews are from before the shop's first day; a product launched later has none.
        """
        day = as_of or self.config.last_day(utc_today())
        ordinal, products = day.toordinal(), self.world.products
        # Before its first day the shop already lists the products of that day.
        rows = np.flatnonzero(products.launch <= max(ordinal, self.config.start.toordinal()))
        reviewed = products.launch[rows] <= self.config.start.toordinal()
        rating, reviews = self._reviews
        columns = {
            "product_id": self._product_ids.take(rows),
            "name": pa.array([product_name(products, int(row)) for row in rows], pa.string()),
            "category": pa.array([words.category_words(int(z)).name for z in products.category[rows]], pa.string()),
            "brand": pa.array([words.brand_name(int(brand)) for brand in products.brand[rows]], pa.string()),
            "price": pa.array(self.world.prices(rows, ordinal)),
            "rating": pa.array(rating[rows], mask=~reviewed),
            "num_reviews": pa.array(np.where(reviewed, reviews[rows], 0)),
            "available": pa.array((products.launch[rows] <= ordinal) & (ordinal < products.retire[rows])),
        }
        return PRODUCTS.conform(pa.table(columns))

    def users(self, as_of: date | None = None) -> pa.Table:
        """Canonical users: all who joined until the end of the UTC day ``as_of`` (default as for `products`)."""
        day = as_of or self.config.last_day(utc_today())
        shoppers = self.world.shoppers
        rows = np.flatnonzero(shoppers.join <= max(day.toordinal(), self.config.start.toordinal()))
        columns = {
            "user_id": self._user_ids.take(rows),
            "age": pa.array(shoppers.age[rows]),
            "gender": pa.array([words.GENDERS[index] for index in shoppers.gender[rows]], pa.string()),
            "location": pa.array([words.LOCATIONS[index] for index in shoppers.location[rows]], pa.string()),
            "join_date": pa.array([date.fromordinal(int(join)) for join in shoppers.join[rows]], pa.date32()),
        }
        return pa.table(columns, schema=USERS.schema)

    def purchase_probability(
        self, user_ids: Sequence[str], product_ids: Sequence[str], at: datetime, horizon_days: int = 1
    ) -> FloatArray:
        """The true probability that a shopper buys a product at least once, float64 ``[B, m]``.

        The window is ``horizon_days`` whole UTC days, starting with the day of ``at``. The probability is exact under
        the generative model: it is conditioned on tastes, episodes, habits, prices, products on sale and their listing
        on each day (drifts included), and sums over everything that is drawn within a day (number, category and length
        of sessions, products viewed, carted and bought). A tracking bug does not change it. It is zero for a product
        that is not on sale and for a shopper who has not joined.

        Args:
            user_ids: ``B`` ids, ``product_ids``: ``m`` ids; repeats are allowed.
            at: aware datetime, within the shop's life.

        Raises:
            ValueError: an id is unknown (it is named), ``at`` is naive, or the window leaves the shop's life.
        """
        users = self._numbers(user_ids, self._user_ids, "user_id")
        products = self._numbers(product_ids, self._product_ids, "product_id")
        first = self._window(at, horizon_days)
        result = np.empty((len(users), len(products)))
        step = max(_PROBABILITIES_PER_CHUNK // max(len(products), 1), 1)
        for start in range(0, len(users), step):
            rows = slice(start, start + step)
            result[rows] = 0.0 - np.expm1(log_no_purchase(self.world, users[rows], products, first, horizon_days))
        return result

    def event_table(self, behaviour: Behaviour, day: date) -> pa.Table:
        """The behaviour of one day as events: the columns `EVENT_COLUMNS`, without tracking bugs."""
        midnight = (day.toordinal() - date(1970, 1, 1).toordinal()) * _MICROSECONDS_PER_DAY
        position = pa.array(np.arange(len(behaviour))).cast(pa.string())
        distinct, back = np.unique(behaviour.product, return_inverse=True)
        prices = self.world.prices(distinct, day.toordinal())[back]
        columns = {
            "interaction_id": pc.binary_join_element_wise(day.strftime("%Y%m%d"), pc.utf8_lpad(position, 7, "0"), "-"),
            "user_id": self._user_ids.take(pa.array(behaviour.user)),
            "product_id": self._product_ids.take(pa.array(behaviour.product)),
            "interaction_type": pa.array(INTERACTION_LABELS).take(pa.array(behaviour.kind)),
            "timestamp": pa.array(behaviour.microsecond + midnight).cast(_EVENT_SCHEMA.field("timestamp").type),
            "price": pa.array(prices, pa.float64()),
            "quantity": pa.array(behaviour.quantity.astype(np.float64), mask=behaviour.quantity == 0),
        }
        return pa.table(columns, schema=_EVENT_SCHEMA)

    @cached_property
    def _product_ids(self) -> pa.Array:
        return pa.array([product_id(int(number)) for number in self.world.products.number], pa.string())

    @cached_property
    def _user_ids(self) -> pa.Array:
        return pa.array([user_id(number) for number in range(self.config.n_users)], pa.string())

    @cached_property
    def _reviews(self) -> tuple[FloatArray, IntArray]:
        """Average rating (1 to 5) and number of reviews: noisy signs of appeal, drawn from the product's number."""
        products = self.world.products
        # Noise from a low-discrepancy sequence on the number: a product's value does not depend on the others.
        noise = (products.number * 0.6180339887498949) % 1.0
        rating = np.round(np.clip(4.0 + 0.25 * products.appeal + 0.6 * (noise - 0.5), 1.0, 5.0), 1)
        reviews = np.floor(np.exp(2.5 + 0.8 * products.appeal + 1.5 * (noise - 0.5))).astype(np.int64)
        return rating, reviews

    def _numbers(self, ids: Sequence[str], known: pa.Array, what: str) -> IntArray:
        found = pc.index_in(pa.array(list(ids), pa.string()), known)
        if found.null_count:
            missing = ids[found.is_null().to_pylist().index(True)]
            raise ValueError(f"{what} {missing!r} is not in this shop; take ids from its tables")
        return np.asarray(found).astype(np.int64)

    def _window(self, at: datetime, horizon_days: int) -> date:
        if at.tzinfo is None:
            raise ValueError(f"at must be an aware datetime, got {at!r}; add tzinfo=UTC")
        if horizon_days < 1:
            raise ValueError(f"horizon_days must be at least 1, got {horizon_days}")
        first = at.astimezone(UTC).date()
        self._check_day(first)
        if first.toordinal() + horizon_days > self.config.horizon.toordinal():
            raise ValueError(
                f"{horizon_days} days from {first} go beyond the shop's last day; it ends before {self.config.horizon}"
            )
        return first

    def _check_day(self, day: date) -> None:
        if not self.config.start <= day < self.config.horizon:
            raise ValueError(
                f"{day} is outside the shop's days: {self.config.start} up to, but not including, {self.config.horizon}"
            )


def utc_today() -> date:
    """The UTC day that it is now."""
    return datetime.now(UTC).date()
