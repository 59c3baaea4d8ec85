"""Ragged arrays and the histories of a batch of shoppers: the input of every recommender."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.csr import offsets, offsets_of_rows
from lambda_api.recommender.ids import IdMap, IndexArray


@dataclass(frozen=True, slots=True)
class Ragged:
    """``B`` rows of int32 of unequal length in CSR form: row ``b`` is ``values[indptr[b]:indptr[b + 1]]``."""

    indptr: NDArray[np.int64]
    values: IndexArray

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int] | IndexArray]) -> "Ragged":
        """Pack ``rows`` in order."""
        arrays = [np.asarray(row, dtype=np.int32) for row in rows]
        values = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32)
        return cls(offsets([len(row) for row in arrays]), values)

    @classmethod
    def empty(cls, rows: int) -> "Ragged":
        """``rows`` rows without a value."""
        return cls(np.zeros(rows + 1, dtype=np.int64), np.empty(0, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, index: int) -> IndexArray:
        """Values of one row, shape ``[length]``."""
        return self.values[self.indptr[index] : self.indptr[index + 1]]

    def rows(self, start: int, stop: int) -> "Ragged":
        """Rows ``start:stop`` as a ragged array of their own (views, no copies)."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return Ragged(indptr=self.indptr[start : stop + 1] - first, values=self.values[first:last])

    @property
    def row_of_value(self) -> NDArray[np.int64]:
        """The row each value belongs to, shape ``[len(values)]``."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.indptr[1:] - self.indptr[:-1])

    def keys(self, width: int) -> NDArray[np.int64]:
        """``row * width + value`` of every value, ascending; values are below ``width``."""
        return np.sort(self.row_of_value * width + self.values)


@dataclass(frozen=True, slots=True)
class Histories:
    """What ``B`` shoppers did before ``now``, ``E`` events in all, oldest first within a shopper.

    Attributes:
        user_ids: external ids, length ``B``; an empty string is a visitor without an id.
        indptr: int64 ``[B + 1]``; shopper ``b`` owns events ``indptr[b]:indptr[b + 1]``.
        products: int32 ``[E]``, internal product indices, never ``-1``.
        types: int8 ``[E]``, `InteractionType` codes.
        timestamps: int64 ``[E]``, seconds since 1970 UTC, ascending within a shopper.
        now: seconds since 1970 UTC; recency is measured from here, and no event is later.
    """

    user_ids: tuple[str, ...]
    indptr: NDArray[np.int64]
    products: IndexArray
    types: NDArray[np.int8]
    timestamps: NDArray[np.int64]
    now: int

    def __post_init__(self) -> None:
        if len(self.indptr) != len(self.user_ids) + 1:
            raise ValueError("indptr must have one entry more than user_ids")
        if not len(self.products) == len(self.types) == len(self.timestamps) == self.indptr[-1]:
            raise ValueError("products, types and timestamps must each hold indptr[-1] events")

    @classmethod
    def from_events(
        cls, events: Sequence[Sequence[Event]], now: int, products: IdMap, user_ids: Sequence[str] | None = None
    ) -> "Histories":
        """Pack the events of ``B`` shoppers (any order) for recommenders that index products with ``products``.

        Events of products the map does not know and events later than ``now`` are left out.
        """
        rows = [sorted((e for e in row if e.timestamp <= now), key=lambda e: e.timestamp) for row in events]
        flat = [event for row in rows for event in row]
        row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        indices = products.indices([event.product_id for event in flat])
        known = indices >= 0
        return cls(
            user_ids=tuple(user_ids) if user_ids is not None else ("",) * len(rows),
            indptr=offsets_of_rows(row_of[known], len(rows)),
            products=indices[known],
            types=np.array([event.interaction_type for event in flat], dtype=np.int8)[known],
            timestamps=np.array([event.timestamp for event in flat], dtype=np.int64)[known],
            now=now,
        )

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def shopper_of_event(self) -> NDArray[np.int64]:
        """The row each event belongs to, shape ``[E]``."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.indptr[1:] - self.indptr[:-1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events per shopper, shape ``[B]``."""
        return self.indptr[1:] - self.indptr[:-1]

    def have_event_of(self, counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """bool ``[B]``: shoppers with an event of a ``counted`` type (bool per `InteractionType`)."""
        have = np.zeros(len(self), dtype=bool)
        have[self.shopper_of_event[counted[self.types]]] = True
        return have

    def rows(self, start: int, stop: int) -> "Histories":
        """The shoppers ``start:stop`` as a batch of their own; views, no copies."""
        if start == 0 and stop == len(self):
            return self
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return Histories(
            user_ids=self.user_ids[start:stop],
            indptr=self.indptr[start : stop + 1] - first,
            products=self.products[first:last],
            types=self.types[first:last],
            timestamps=self.timestamps[first:last],
            now=self.now,
        )

    def without_each(self, products: IndexArray) -> "Histories":
        """``d`` copies of one shopper's history, each without the events of one of ``products`` (``[d]``).

        Raises:
            ValueError: these are histories of several shoppers.
        """
        return self._copies(self.products != np.asarray(products)[:, None])

    def and_without_each(self, products: IndexArray) -> "Histories":
        """One shopper's history, followed by `without_each`: ``1 + d`` histories. Raises as that does."""
        return self._copies(self.products != np.append(np.int32(-1), products)[:, None])

    def _copies(self, keep: NDArray[np.bool_]) -> "Histories":
        """One copy of one shopper's history for each row of ``keep`` (``[copies, E]``): the events it keeps."""
        if len(self) != 1:
            raise ValueError(f"without_each needs the history of one shopper, not of {len(self)}")
        event = np.broadcast_to(np.arange(len(self.products)), keep.shape)[keep]
        return Histories(
            user_ids=self.user_ids * len(keep),
            indptr=offsets(keep.sum(axis=1)),
            products=self.products[event],
            types=self.types[event],
            timestamps=self.timestamps[event],
            now=self.now,
        )

    def distinct_products(self, types: Collection[InteractionType] = tuple(InteractionType)) -> Ragged:
        """Each shopper's distinct products with an event of one of ``types``, ascending; row-aligned with self."""
        wanted = np.isin(self.types, [int(kind) for kind in types])
        products = self.products[wanted].astype(np.int64)
        width = int(products.max(initial=0)) + 1
        pairs = np.unique(self.shopper_of_event[wanted] * width + products)
        return Ragged(offsets_of_rows(pairs // width, len(self)), (pairs % width).astype(np.int32))
