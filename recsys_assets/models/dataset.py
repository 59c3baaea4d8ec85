"""Training data: the interaction log up to a moment as arrays, and the catalogue in the order of the product ids."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.interactions import INTERACTION_LABELS, InteractionType
from lambda_api.recommender.csr import offsets, offsets_of_rows
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.profiles import SECONDS_PER_DAY

DEFAULT_TYPE_WEIGHTS: Mapping[InteractionType, float] = {
    InteractionType.VIEW: 1.0,
    InteractionType.ADD_TO_CART: 2.0,
    InteractionType.PURCHASE: 4.0,
    InteractionType.RATING: 4.0,
}
"""Weight of each interaction type unless a model's parameters say otherwise."""

EVENTS_PER_SHOPPER = 10_000
"""Newest events of a shopper that models learn from. Only robots have more, and the cost of counting pairs of products
grows with the square."""


@dataclass(frozen=True)
class TrainingData:
    """``E`` interactions strictly before ``as_of``, ordered by (user, time), and the catalogue known then.

    Attributes:
        users, products: id maps. ``products`` holds the whole catalogue, so cold products have an index too.
        user, product: int32 ``[E]`` internal indices.
        kind: int8 ``[E]`` `InteractionType` codes.
        timestamp: int64 ``[E]`` seconds since 1970 UTC.
        rating: float32 ``[E]``, NaN where there is none.
        catalogue: canonical products table, row ``i`` describing product index ``i`` (null columns where unknown).
        as_of: seconds since 1970 UTC; the moment the data ends.
    """

    users: IdMap
    products: IdMap
    user: IndexArray
    product: IndexArray
    kind: NDArray[np.int8]
    timestamp: NDArray[np.int64]
    rating: NDArray[np.float32]
    catalogue: pa.Table = field(repr=False)
    as_of: int

    @classmethod
    def from_tables(
        cls, interactions: pa.Table, products: pa.Table, as_of: datetime, product_map: IdMap | None = None
    ) -> "TrainingData":
        """Index canonical tables. Interactions at or after ``as_of`` (aware, UTC) are left out.

        Args:
            product_map: an existing map to index with; by default the catalogue's ids and those in the interactions,
                so that products without a catalogue row are kept.
        """
        cutoff = int(as_of.timestamp())
        seconds = pc.cast(pc.floor_temporal(interactions["timestamp"], unit="second"), pa.timestamp("s", tz="UTC"))
        timestamp = seconds.cast(pa.int64()).to_numpy()
        early = timestamp < cutoff
        if not early.all():
            interactions, timestamp = interactions.filter(pa.array(early)), timestamp[early]
        user_ids, user_codes = _dictionary(interactions["user_id"])
        product_ids, product_codes = _dictionary(interactions["product_id"])
        users = IdMap.from_ids(user_ids)
        if product_map is None:
            product_map = IdMap.from_ids([*products["product_id"].to_pylist(), *product_ids])
        user = users.indices(user_ids)[user_codes] if user_ids else np.empty(0, np.int32)
        product = product_map.indices(product_ids)[product_codes] if product_ids else np.empty(0, np.int32)
        kinds = pc.index_in(interactions["interaction_type"], pa.array(INTERACTION_LABELS))
        kind = kinds.to_numpy().astype(np.int8)
        # By product and kind as well, so that the order of the rows in the tables makes no difference.
        order = np.lexsort((kind, product, timestamp, user))
        order = order[product[order] >= 0]
        return cls(
            users=users,
            products=product_map,
            user=user[order],
            product=product[order],
            kind=kind[order],
            timestamp=timestamp[order],
            rating=interactions["rating"].to_numpy().astype(np.float32)[order],
            catalogue=_align_catalogue(products, product_map),
            as_of=cutoff,
        )

    @property
    def pairs(self) -> NDArray[np.int64]:
        """``user * n_products + product`` of each event, int64 ``[E]``."""
        return self.user.astype(np.int64) * len(self.products) + self.product

    def is_of(self, kinds: Collection[InteractionType]) -> NDArray[np.bool_]:
        """Whether each event is of one of ``kinds``, bool ``[E]``."""
        return np.isin(self.kind, [int(kind) for kind in kinds])

    def event_weights(
        self, type_weights: Mapping[InteractionType, float], half_life_days: float | None = None
    ) -> NDArray[np.float64]:
        """``type_weight * 0.5 ** (age / half_life_days)`` of each event, float64 ``[E]``; 0 for unweighted types.

        ``age`` counts back from ``as_of``. ``half_life_days=None``: no decay.
        """
        weights = type_table(type_weights)[self.kind]
        return weights if half_life_days is None else weights * decay(self.as_of - self.timestamp, half_life_days)

    def matrix(
        self,
        weights: Mapping[InteractionType, float] = DEFAULT_TYPE_WEIGHTS,
        *,
        binary: bool = False,
        half_life_days: float | None = None,
    ) -> sparse.csr_matrix:
        """User x product weights, float32 ``[n_users, n_products]``: `event_weights` summed over a pair's events.

        Args:
            weights: per type; types without a weight (or weight 0) do not count.
            binary: the weight of a pair is the decay of its newest event instead: 1 without ``half_life_days``.
        """
        used = np.flatnonzero(type_table(weights)[self.kind] > 0)
        kept = self if len(used) == len(self.kind) else self.where(used)
        ones = dict.fromkeys(weights, 1.0)
        value = kept.event_weights(ones if binary else weights, half_life_days).astype(np.float32)
        # A weight must not underflow to zero, which would mean "no event".
        value = np.maximum(value, np.finfo(np.float32).tiny)
        if binary:
            # Events are in time order within a user, so the last of equal pairs is the newest.
            _, from_end = np.unique(kept.pairs[::-1], return_index=True)
            newest = len(kept.kind) - 1 - from_end
            kept, value = kept.where(newest), value[newest]
        matrix = sparse.csr_matrix(
            (value, (kept.user, kept.product)), shape=(len(self.users), len(self.products)), dtype=np.float32
        )
        matrix.sum_duplicates()
        return matrix

    def histories(self) -> Histories:
        """All users' events as one batch, row ``u`` being user index ``u``, seen from ``as_of``."""
        return Histories(
            user_ids=tuple(self.users.external(np.arange(len(self.users)))),
            indptr=offsets_of_rows(self.user, len(self.users)),
            products=self.product,
            types=self.kind,
            timestamps=self.timestamp,
            now=self.as_of,
        )

    def where(self, kept: NDArray[np.bool_ | np.integer], *, as_of: int | None = None) -> "TrainingData":
        """The events ``kept`` (bool ``[E]`` or places), seen from ``as_of`` if given; ids and catalogue stay."""
        return replace(
            self,
            user=self.user[kept],
            product=self.product[kept],
            kind=self.kind[kept],
            timestamp=self.timestamp[kept],
            rating=self.rating[kept],
            as_of=self.as_of if as_of is None else as_of,
        )

    def newest_of_each_user(self, most: int) -> "TrainingData":
        """The newest ``most`` events of each user."""
        last = np.searchsorted(self.user, self.user, side="right")
        kept = last - np.arange(len(self.user)) <= most
        return self if kept.all() else self.where(kept)

    def of_most_touched(self, most: int) -> "TrainingData":
        """The events of the ``most`` products with the most events, of equals the lower indices."""
        counts = np.bincount(self.product, minlength=len(self.products))
        chosen = np.zeros(len(self.products), dtype=bool)
        chosen[np.argsort(-counts, kind="stable")[:most]] = True
        kept = chosen[self.product]
        return self if kept.all() else self.where(kept)

    def histories_of(self, users: NDArray[np.integer]) -> Histories:
        """The events of ``users`` (ascending indices) as a batch in that order, seen from ``as_of``."""
        chosen = np.zeros(len(self.users), dtype=bool)
        chosen[users] = True
        kept = chosen[self.user]
        counts = np.bincount(self.user[kept], minlength=len(self.users))[users]
        return Histories(
            user_ids=tuple(self.users.external(users)),
            indptr=offsets(counts),
            products=self.product[kept],
            types=self.kind[kept],
            timestamps=self.timestamp[kept],
            now=self.as_of,
        )


def type_table(type_weights: Mapping[InteractionType, float], *, relative: bool = False) -> NDArray[np.float64]:
    """Weight per type code, float64, 0 for types without one; ``relative`` divides by the largest."""
    table = np.zeros(len(InteractionType))
    for kind, weight in type_weights.items():
        table[kind] = weight
    return table / table.max() if relative else table


def decay(seconds: NDArray[np.int64], half_life_days: float | None) -> NDArray[np.float64]:
    """``0.5 ** (age / half_life_days)`` of ages in ``seconds`` (any shape); 1 where there is no half-life."""
    if half_life_days is None:
        return np.ones(seconds.shape)
    decayed: NDArray[np.float64] = 0.5 ** (seconds / (half_life_days * SECONDS_PER_DAY))
    return decayed


def column(catalogue: pa.Table, name: str) -> list[Any]:
    """Values of a column of ``catalogue``; ``None`` for each product where there is no such column."""
    return catalogue[name].to_pylist() if name in catalogue.column_names else [None] * catalogue.num_rows


def codes_of(values: Sequence[str | None]) -> NDArray[np.int32]:
    """Place of each value among the distinct ones, sorted; -1 where it is empty or ``None``; int32 ``[n]``."""
    place = {value: code for code, value in enumerate(sorted({value for value in values if value}))}
    return np.array([place[value] if value else -1 for value in values], dtype=np.int32)


def prices(catalogue: pa.Table) -> NDArray[np.float64]:
    """Prices above 0 of the products of ``catalogue``, float64 ``[n_products]``; NaN where there is none."""
    price = np.array([np.nan if value is None else float(value) for value in column(catalogue, "price")], np.float64)
    return np.where(price > 0, price, np.nan)


def second_after(interactions: pa.Table) -> datetime:
    """The first full second after the last of canonical ``interactions``, UTC; 1970 where there are none."""
    last = pc.max(pc.floor_temporal(interactions["timestamp"], unit="second")).as_py()
    return datetime.fromtimestamp(0 if last is None else last.timestamp() + 1, UTC)


def _dictionary(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _align_catalogue(products: pa.Table, product_map: IdMap) -> pa.Table:
    ids = pa.array(product_map.external(np.arange(len(product_map))), type=pa.string())
    positions = pc.index_in(ids, products["product_id"].combine_chunks())
    aligned = products.take(positions)
    return aligned.set_column(aligned.column_names.index("product_id"), "product_id", ids)
