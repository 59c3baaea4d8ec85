"""Maps between the shop's own ids and the dense indices that arrays use."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.csr import find_sorted

IndexArray = NDArray[np.int32]
"""Internal indices; ``-1`` means "no such id" or padding."""


def id_digest(external_id: str) -> bytes:
    """SHA-256 of an id. Ids are indexed in its order, which is independent of the shop's own numbering."""
    return hashlib.sha256(external_id.encode()).digest()


@dataclass(frozen=True)
class IdMap:
    """A frozen bijection between ``n`` external ids and ``0..n-1``.

    Attributes:
        ids: UTF-8 bytes, shape ``[n]``, dtype ``S``; position is the internal index.
        order: int32 ``[n]``; ``ids[order]`` is sorted. Look-up is a binary search, so opening a memory-mapped map
            reads nothing.
    """

    ids: NDArray[np.bytes_]
    order: IndexArray

    @classmethod
    def from_ids(cls, external_ids: Iterable[str]) -> "IdMap":
        """Build a map over the distinct ids, indexed in the order of their SHA-256.

        Equal scores are ranked by index everywhere. Public data sets number products by popularity or date; the order
        of hashes keeps that information out of the ranking.

        Raises:
            ValueError: an id is empty or holds a NUL character (fixed-width byte strings drop trailing NULs).
        """
        distinct = sorted(set(external_ids), key=id_digest)
        for external_id in distinct:
            if not external_id or "\0" in external_id:
                raise ValueError(f"id {external_id!r} cannot be indexed: ids must be non-empty and hold no NUL")
        ids = np.array([external_id.encode() for external_id in distinct], dtype=np.bytes_)
        if ids.size == 0:
            ids = np.empty(0, dtype="S1")
        return cls(ids=ids, order=np.argsort(ids, kind="stable").astype(np.int32))

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, external_id: str) -> bool:
        return int(self.indices([external_id])[0]) >= 0

    def indices(self, external_ids: Sequence[str] | NDArray[Any]) -> IndexArray:
        """Internal indices of ``external_ids`` (shape ``[m]``), ``-1`` where an id is unknown."""
        width = self.ids.dtype.itemsize
        keys = [_lookup_key(str(external_id)) for external_id in external_ids]
        # A longer key would make numpy widen, and so copy, all ids of the map.
        wanted = np.array([key if len(key) <= width else b"" for key in keys], dtype=self.ids.dtype)
        if len(self) == 0 or wanted.size == 0:
            return np.full(len(wanted), -1, dtype=np.int32)
        position = np.searchsorted(self.ids, wanted, sorter=self._sorter)
        found = self.order[np.minimum(position, len(self) - 1)]
        return np.where(self.ids[found] == wanted, found, -1).astype(np.int32)

    @cached_property
    def _sorter(self) -> NDArray[np.intp]:
        """`order` in the type that ``searchsorted`` needs; otherwise each search would convert all of it."""
        return self.order.astype(np.intp)

    def translate(self, other: "IdMap") -> IndexArray:
        """Internal indices here of every id of ``other`` (``[len(other)]``), ``-1`` where unknown; no Python loop."""
        if self.ids.dtype == other.ids.dtype and np.array_equal(self.ids, other.ids):
            return np.arange(len(other), dtype=np.int32)
        # Both sides are sorted, so that consecutive binary searches read neighbouring memory.
        places, there = find_sorted(self.ids[self.order], other.ids[other.order])
        translated = np.full(len(other), -1, dtype=np.int32)
        translated[other.order[there]] = self.order[places[there]]
        return translated

    def external(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> list[str]:
        """External ids of ``indices`` (shape ``[m]``). Raises ``IndexError`` on an index outside the map."""
        index_array = np.asarray(indices, dtype=np.int64)
        if index_array.size and (index_array.min() < 0 or index_array.max() >= len(self)):
            raise IndexError(f"internal index outside 0..{len(self) - 1}")
        return [external_id.decode() for external_id in self.ids[index_array].tolist()]


def _lookup_key(external_id: str) -> bytes:
    """The bytes to search for; empty, which matches nothing, for an id that no map can hold."""
    # numpy drops trailing NULs, so "a\0" would find "a"; a lone surrogate (allowed in JSON) has no UTF-8 form.
    return b"" if "\0" in external_id else external_id.encode(errors="surrogatepass")
