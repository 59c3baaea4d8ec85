"""An inverted file over item vectors: the best of a million products by looking at a few per cent of them.

Put the search of a built index here. Keep building it (``recsys_assets.models.vector_index``) and what the vectors
mean (the recommenders) out.

The vectors are clustered, and those of one cluster (a list) lie side by side in one array, so that a search reads a few
contiguous stretches of a memory-mapped file. Lists are looked at in the order of the best inner product they can be
expected to hold, until a stated share of the products has been seen. Jegou, Douze & Schmid, "Product quantization for
nearest neighbor search", PAMI 2011, section IV (the coarse quantiser; vectors themselves stay uncompressed).
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.ids import IndexArray

FloatArray = NDArray[np.float32]
PlaceArray = NDArray[np.int64]

EXACT_BELOW = 20_000
"""A whitelist of at most so many products is scored product by product: cheaper than looking for it in the lists."""

SPREADS = 2.0
"""The best of a list is expected this many standard deviations above its centroid (measured: 1 to 3 are equally good,
0 and 4 lose recall)."""

COSINE_SHARE = 0.15
"""Least share looked at by cosine: lists gather vectors of like length, which by cosine says nothing (measured on a
million products: recall of the best 100 is 0.84 at 0.04, 0.99 at 0.10)."""

PREFIX = "index_"


class VectorIndex:
    """``n`` vectors of ``f`` dimensions in ``L`` lists; nothing changes after construction.

    Attributes:
        vectors: float32 ``[n, f]``, list after list; the only copy of the vectors.
        members: int32 ``[n]``, the product at each place; ascending within a list.
        starts: int64 ``[L + 1]``; list ``l`` owns places ``starts[l]:starts[l + 1]``.
        centroids: float32 ``[L, f]``, mean of each list.
        spread: float32 ``[L]``, standard deviation of a list around its centroid, per dimension.
        norms: float32 ``[n]``, length of the vector at each place.
        share: of the (allowed) products a search looks at, in (0, 1]; 1 makes it exact.
        places: int64 ``[n]``, where each product lies: the inverse of ``members``.
    """

    def __init__(
        self,
        vectors: FloatArray,
        members: IndexArray,
        starts: PlaceArray,
        centroids: FloatArray,
        spread: FloatArray,
        norms: FloatArray,
        share: float,
    ) -> None:
        """Raises ``ValueError`` where the arrays do not belong together."""
        count = len(vectors)
        if not len(members) == len(norms) == count:
            raise ValueError(f"the index holds {count} vectors, {len(members)} members and {len(norms)} norms")
        if not len(starts) == len(centroids) + 1 == len(spread) + 1 or centroids.shape[1] != vectors.shape[1]:
            raise ValueError("starts, centroids and spread of the index are not of the same lists")
        if starts[0] != 0 or starts[-1] != count or (np.diff(starts) < 0).any():
            raise ValueError(f"the lists of the index must cover its {count} places in order")
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], not {share}")
        # Slices of a plain view are cut several times faster than those of a memmap, and read the same file.
        self.vectors, self.members, self.norms = np.asarray(vectors), np.asarray(members), np.asarray(norms)
        self.starts, self.centroids, self.spread = np.asarray(starts), np.asarray(centroids), np.asarray(spread)
        self.share = float(share)
        self.places = np.full(count, -1, dtype=np.int64)
        self.places[members] = np.arange(count)
        if count and self.places.min() < 0:
            raise ValueError("members of the index must name every product once")

    def __len__(self) -> int:
        return len(self.vectors)

    def rows(self, products: IndexArray) -> FloatArray:
        """Vectors of ``products`` (``[m]``), float32 ``[m, f]``, a copy."""
        return np.array(self.vectors[self.places[products]], dtype=np.float32)

    def scores(self, query: FloatArray) -> FloatArray:
        """Inner product of ``query`` (``[f]``) with every vector, by product; float32 ``[n]``."""
        return self._scan(query, np.arange(len(self.spread)))[self.places]

    def search(
        self,
        query: FloatArray,
        k: int,
        *,
        exclude: IndexArray | None = None,
        allowed: IndexArray | NDArray[np.bool_] | None = None,
        share: float | None = None,
        cosine: bool = False,
    ) -> tuple[IndexArray, FloatArray]:
        """The ``k`` products with the largest inner product with ``query`` (float32 ``[f]``) among those looked at.

        Args:
            query: what to look for.
            k: at least 1.
            exclude: products that must not be found.
            allowed: int32 ``[m]`` whitelist or bool ``[n]`` mask; ``None`` allows all. Its share is what is looked at.
            share: instead of the index's own; 1 looks at everything.
            cosine: divide by the length of each vector; vectors of zeros are not found then.

        Returns:
            Products, best first, equal scores by ascending product, and their scores. Fewer than ``k`` only where
            fewer than ``k`` qualify: the search widens until it has them.
        """
        banned = np.unique(exclude) if exclude is not None else np.empty(0, dtype=np.int32)
        mask, listed, count = self._whitelist(allowed)
        if listed is not None:
            free = listed[~np.isin(listed, banned)] if len(banned) else listed
            scores = self._finish(self.rows(free) @ query, self.places[free], cosine)
            return _best(free, scores, k)
        if share is None:
            share = max(self.share, COSINE_SHARE) if cosine else self.share
        wanted = share * count
        order = self._order(query, cosine)
        ends = np.cumsum(np.diff(self.starts)[order])
        budget = wanted * (len(self) / max(1, count))
        while True:
            lists = order[: int(np.searchsorted(ends, min(budget, len(self)))) + 1]
            scores = self._scan(query, lists)
            if mask is not None and not cosine and 2 * count > len(self):
                found = self._mostly_allowed(scores, lists, banned, mask, k)
                if found is not None:
                    return found
            places = self._places_of(lists) if mask is not None or cosine else None
            if cosine and places is not None:
                scores = self._finish(scores, places, cosine)
            seen = len(scores)
            if mask is not None and places is not None:
                fitting = mask[self.members[places]]
                scores = np.where(fitting, scores, np.float32(-np.inf))
                seen = int(np.count_nonzero(fitting))
            self._ban(scores, lists, banned)
            if len(lists) == len(order) or (seen >= wanted and np.count_nonzero(scores > -np.inf) >= k):
                return self._named(lists, scores, k)
            budget = 2 * max(budget, 1.0)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array but the vectors, by the name it has in a bundle."""
        return {
            PREFIX + "members": self.members,
            PREFIX + "starts": self.starts,
            PREFIX + "centroids": self.centroids,
            PREFIX + "spread": self.spread,
            PREFIX + "norms": self.norms,
        }

    @classmethod
    def restore(cls, vectors: FloatArray, arrays: Mapping[str, NDArray[Any]], share: float) -> Self:
        """Inverse of `arrays`; ``vectors`` in the order of the lists."""
        return cls(
            vectors,
            arrays[PREFIX + "members"],
            arrays[PREFIX + "starts"],
            arrays[PREFIX + "centroids"],
            arrays[PREFIX + "spread"],
            arrays[PREFIX + "norms"],
            share,
        )

    def _whitelist(
        self, allowed: IndexArray | NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.bool_] | None, IndexArray | None, int]:
        """The mask to look with, or the few products to score one by one; and how many are allowed."""
        if allowed is None:
            return None, None, len(self)
        if allowed.dtype == np.bool_:
            count = int(np.count_nonzero(allowed))
            if count == len(self):
                return None, None, count
            if count > EXACT_BELOW:
                return allowed.astype(bool, copy=False), None, count
            return None, np.flatnonzero(allowed).astype(np.int32), count
        listed = np.unique(allowed).astype(np.int32)
        if len(listed) <= EXACT_BELOW:
            return None, listed, len(listed)
        mask = np.zeros(len(self), dtype=bool)
        mask[listed] = True
        return mask, None, len(listed)

    def _order(self, query: FloatArray, cosine: bool) -> NDArray[np.int64]:
        """Lists, the most promising first."""
        length = float(np.linalg.norm(query))
        promise = self.centroids @ query + SPREADS * length * self.spread
        if cosine:
            mean_square = (self.centroids**2).sum(axis=1) + self.centroids.shape[1] * self.spread**2
            promise = promise / np.sqrt(np.maximum(mean_square, np.finfo(np.float32).tiny))
        return np.argsort(-promise, kind="stable")

    def _scan(self, query: FloatArray, lists: NDArray[np.int64]) -> FloatArray:
        """Inner products with the members of ``lists``, one list after the other.

        List by list, always: a longer matrix product rounds a row by its place in it, and a score would then depend on
        which lists were looked at.
        """
        starts, stops = self.starts[lists].tolist(), self.starts[lists + 1].tolist()
        scores = np.empty(sum(stops) - sum(starts), dtype=np.float32)
        at, vectors, matmul = 0, self.vectors, np.matmul
        for start, stop in zip(starts, stops, strict=True):
            after = at + stop - start
            matmul(vectors[start:stop], query, out=scores[at:after])
            at = after
        return scores

    def _places_of(self, lists: NDArray[np.int64]) -> PlaceArray:
        sizes = self.starts[lists + 1] - self.starts[lists]
        offset = np.cumsum(sizes) - sizes
        return np.repeat(self.starts[lists] - offset, sizes) + np.arange(int(sizes.sum()), dtype=np.int64)

    def _finish(self, scores: FloatArray, places: PlaceArray, cosine: bool) -> FloatArray:
        if not cosine:
            return scores
        norms = self.norms[places]
        return np.where(norms > 0, scores / np.where(norms > 0, norms, 1), -np.inf).astype(np.float32)

    def _ban(self, scores: FloatArray, lists: NDArray[np.int64], banned: IndexArray) -> None:
        """Set the scores (in place) of banned products within ``lists`` to ``-inf``."""
        if len(banned) == 0:
            return
        sizes = self.starts[lists + 1] - self.starts[lists]
        offset = np.full(len(self.spread), -1, dtype=np.int64)
        offset[lists] = np.cumsum(sizes) - sizes
        places = self.places[banned]
        own = np.searchsorted(self.starts, places, side="right") - 1
        inside = offset[own] >= 0
        scores[(offset[own] + places - self.starts[own])[inside]] = -np.inf

    def _mostly_allowed(
        self,
        scores: FloatArray,
        lists: NDArray[np.int64],
        banned: IndexArray,
        mask: NDArray[np.bool_],
        k: int,
    ) -> tuple[IndexArray, FloatArray] | None:
        """The answer, if there are ``k`` allowed ones among a few more than ``k`` of the best; saves asking for all."""
        self._ban(scores, lists, banned)
        products, values = self._named(lists, scores, 2 * k + 20)
        fitting = mask[products]
        if np.count_nonzero(fitting) < k:
            return None
        return products[fitting][:k], values[fitting][:k]

    def _named(self, lists: NDArray[np.int64], scores: FloatArray, k: int) -> tuple[IndexArray, FloatArray]:
        at = _contenders(scores, k)
        ends = np.cumsum(self.starts[lists + 1] - self.starts[lists])
        within = np.searchsorted(ends, at, side="right")
        places = self.starts[lists + 1][within] - (ends[within] - at)
        return _best(self.members[places], scores[at], k)


def _contenders(scores: FloatArray, k: int) -> NDArray[np.int64]:
    """Positions of the ``k`` largest scores and of those that tie with the last of them, without ``-inf``."""
    if len(scores) > k:
        border = np.partition(scores, len(scores) - k)[len(scores) - k]
        if border > -np.inf:
            return np.flatnonzero(scores >= border)
    return np.flatnonzero(scores > -np.inf)


def _best(products: IndexArray, scores: FloatArray, k: int) -> tuple[IndexArray, FloatArray]:
    """The ``k`` largest, best first, ties by ascending product."""
    at = _contenders(scores, k)
    at = at[np.lexsort((products[at], -scores[at]))[:k]]
    return products[at].astype(np.int32), scores[at]
