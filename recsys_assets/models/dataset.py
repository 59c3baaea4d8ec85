"""What a trainer learns from: the interaction log up to a moment, indexed, with the catalogue beside it.

Put the one conversion from lake tables to training arrays here. Keep weighting and sampling choices in the models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.interactions import INTERACTION_LABELS, InteractionType
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray

DEFAULT_TYPE_WEIGHTS: Mapping[InteractionType, float] = {
    InteractionType.VIEW: 1.0,
    InteractionType.ADD_TO_CART: 2.0,
    InteractionType.PURCHASE: 4.0,
    InteractionType.RATING: 4.0,
}
"""How strongly each kind of interaction speaks for a product, unless a model's parameters say otherwise."""


@dataclass(frozen=True)
class TrainingData:
    """``E`` interactions strictly before ``as_of``, ordered by (user, time), and the catalogue known then.

    Attributes:
        users, products: id maps. ``products`` holds the whole catalogue given, so cold products have an index.
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
            product_map: an existing map to index with; by default the catalogue's ids together with those in the
                interactions, so nothing that was sold is lost for want of a catalogue row.
        """
        cutoff = int(as_of.timestamp())
        seconds_all = pc.cast(pc.floor_temporal(interactions["timestamp"], unit="second"), pa.timestamp("s", tz="UTC"))
        early = pc.less(seconds_all.cast(pa.int64()), cutoff)
        interactions = interactions.append_column("_seconds", seconds_all.cast(pa.int64())).filter(early)
        user_ids, user_codes = _dictionary(interactions["user_id"])
        product_ids, product_codes = _dictionary(interactions["product_id"])
        users = IdMap.from_ids(user_ids)
        if product_map is None:
            product_map = IdMap.from_ids([*products["product_id"].to_pylist(), *product_ids])
        user = users.indices(user_ids)[user_codes] if user_ids else np.empty(0, np.int32)
        product = product_map.indices(product_ids)[product_codes] if product_ids else np.empty(0, np.int32)
        kinds = pc.index_in(interactions["interaction_type"], pa.array(INTERACTION_LABELS))
        timestamp = interactions["_seconds"].to_numpy()
        kind = kinds.to_numpy().astype(np.int8)
        # By kind as well: equal logs are equal data in whatever order their rows came.
        order = np.lexsort((kind, product, timestamp, user))
        order = order[product[order] >= 0]
        return cls(
            users=users,
            products=product_map,
            user=user[order],
            product=product[order],
            kind=kind[order],
            timestamp=timestamp.astype(np.int64)[order],
            rating=interactions["rating"].to_numpy().astype(np.float32)[order],
            catalogue=_align_catalogue(products, product_map),
            as_of=cutoff,
        )

    def matrix(
        self, weights: Mapping[InteractionType, float] = DEFAULT_TYPE_WEIGHTS, *, binary: bool = False
    ) -> sparse.csr_matrix:
        """User x product weights summed over events, float32 ``[n_users, n_products]``; ones if ``binary``.

        Types without a weight (or weight 0) do not count.
        """
        table = np.zeros(len(InteractionType), dtype=np.float32)
        for kind, weight in weights.items():
            table[kind] = weight
        value = table[self.kind]
        used = value > 0
        matrix = sparse.csr_matrix(
            (value[used], (self.user[used], self.product[used])),
            shape=(len(self.users), len(self.products)),
            dtype=np.float32,
        )
        matrix.sum_duplicates()
        if binary:
            matrix.data[:] = 1.0
        return matrix

    def histories(self) -> Histories:
        """Every user's events as one batch, row ``u`` being user index ``u``, seen from ``as_of``."""
        counts = np.bincount(self.user, minlength=len(self.users))
        return Histories(
            user_ids=tuple(self.users.external(np.arange(len(self.users)))),
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            products=self.product,
            types=self.kind,
            timestamps=self.timestamp,
            now=self.as_of,
        )

    def where(self, kept: NDArray[np.bool_], *, as_of: int | None = None) -> "TrainingData":
        """The events ``kept`` (bool ``[E]``), seen from ``as_of`` if given; ids and catalogue keep their indices."""
        return replace(
            self,
            user=self.user[kept],
            product=self.product[kept],
            kind=self.kind[kept],
            timestamp=self.timestamp[kept],
            rating=self.rating[kept],
            as_of=self.as_of if as_of is None else as_of,
        )

    def of_most_touched(self, most: int) -> "TrainingData":
        """The events of the ``most`` products with the most events, ties to the lower index."""
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
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            products=self.product[kept],
            types=self.kind[kept],
            timestamps=self.timestamp[kept],
            now=self.as_of,
        )


def _dictionary(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _align_catalogue(products: pa.Table, product_map: IdMap) -> pa.Table:
    ids = pa.array(product_map.external(np.arange(len(product_map))), type=pa.string())
    positions = pc.index_in(ids, products["product_id"].combine_chunks())
    aligned = products.take(positions)
    return aligned.set_column(aligned.column_names.index("product_id"), "product_id", ids)
