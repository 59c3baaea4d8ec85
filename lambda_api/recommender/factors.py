"""The recommender of implicit-feedback matrix factorisation, with shoppers folded in at request time.

Put scoring from item factors here. Keep the alternating least squares that finds them in ``recsys_assets.models``.
Only item factors are kept: a shopper's vector is solved from the history of the moment, so a shopper who came after
training is served like any other and the last click counts at once.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import (
    Parameters,
    Recommendations,
    Recommender,
    ScoreArray,
    Whitelist,
    cosine_likeness,
    nearest_by_cosine,
)
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.profiles import EventWeighting, Profiles
from lambda_api.recommender.vector_index import VectorIndex

SYSTEMS_PER_CHUNK = 256
"""Linear systems held at once: 8 MB at 64 factors."""


class FactorRecommender(Recommender):
    """``score[b, j] = x_b . y_j`` with ``x_b = (YtY + reg I + Yt (C_b - I) Y)^-1 Yt C_b p_b``.

    ``Y`` are the item factors, ``C_b`` the shopper's confidences ``1 + alpha * profile[b, i]`` (1 where the profile has
    nothing) and ``p_b`` 1 on the profile, 0 elsewhere: Hu, Koren & Volinsky, "Collaborative filtering for implicit
    feedback datasets", ICDM 2008, equation 4. A shopper without a weighted event gets popular products. A cold product
    has a zero factor and scores 0.

    With an index the best are looked for among a share of the products (`VectorIndex`), so that a catalogue of a
    million answers in milliseconds; lists may then miss a product that looking at all of them would have found.
    """

    kind: ClassVar[str] = "factors"

    def __init__(
        self,
        products: IdMap,
        popularity: ScoreArray,
        item_factors: NDArray[np.float32] | VectorIndex,
        gramian: NDArray[np.float64],
        weighting: EventWeighting,
        regularisation: float,
        alpha: float,
    ) -> None:
        """``item_factors``: float32 ``[n_products, f]``, or an index of them; ``gramian``: float64 ``[f, f]``, their
        ``Yt Y``.

        Raises:
            ValueError: shapes disagree, or ``regularisation`` or ``alpha`` is not positive.
        """
        super().__init__(products, popularity)
        index = item_factors if isinstance(item_factors, VectorIndex) else None
        vectors = item_factors.vectors if isinstance(item_factors, VectorIndex) else item_factors
        if vectors.ndim != 2 or len(vectors) != len(products):
            raise ValueError(f"item_factors must have shape ({len(products)}, f), not {vectors.shape}")
        width = vectors.shape[1]
        if gramian.shape != (width, width):
            raise ValueError(f"gramian must have shape ({width}, {width}), not {gramian.shape}")
        if not (regularisation > 0 and alpha > 0):
            raise ValueError(f"regularisation and alpha must be positive, not {regularisation} and {alpha}")
        self.index = index
        # Slices of a plain view are cut several times faster than those of a memmap, and read the same file.
        self._vectors = np.asarray(vectors)
        self.gramian = gramian
        self.weighting = weighting
        self.regularisation = float(regularisation)
        self.alpha = float(alpha)

    @property
    def item_factors(self) -> NDArray[np.float32]:
        """``Y``, float32 ``[n_products, f]`` in product order; a copy where an index holds them in its own order."""
        return self._vectors if self.index is None else self._vectors[self.index.places]

    def score_all(self, histories: Histories) -> ScoreArray:
        """See the class; float32 ``[B, n_products]``."""
        vectors = self.shopper_factors(histories).astype(np.float32)
        scores = np.empty((len(vectors), len(self.products)), dtype=np.float32)
        for row, vector in enumerate(vectors):
            if self.index is not None:
                scores[row] = self.index.scores(vector)
                continue
            # One product per shopper: a matrix product rounds a row by its place in the batch, and lists would
            # then depend on who else was asked for.
            np.matmul(self._vectors, vector, out=scores[row])
        return scores

    def shopper_factors(self, histories: Histories) -> NDArray[np.float64]:
        """The vector ``x_b`` of each shopper, float64 ``[B, f]``; zeros for a shopper without a weighted event."""
        return self.folded_in(self.weighting.profiles(histories))

    def folded_in(self, profiles: Profiles) -> NDArray[np.float64]:
        """`shopper_factors` of shoppers with these ``profiles``, made by ``weighting``."""
        vectors = np.empty((len(profiles), self._vectors.shape[1]), dtype=np.float64)
        for start in range(0, len(profiles), SYSTEMS_PER_CHUNK):
            stop = min(start + SYSTEMS_PER_CHUNK, len(profiles))
            systems = [self._system(profiles, row) for row in range(start, stop)]
            left = np.stack([system for system, _ in systems])
            right = np.stack([target for _, target in systems])
            vectors[start:stop] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        return vectors

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Shoppers with an event whose type has a weight."""
        return self.weighting.knows(histories)

    def score(self, histories: Histories, products: IndexArray) -> ScoreArray:
        """See `Recommender.score`; only ``products`` are looked at."""
        columns = np.broadcast_to(np.atleast_2d(products), (len(histories), np.atleast_2d(products).shape[1]))
        known = self.knows(histories)
        scores = np.array(self.popularity[columns], dtype=np.float32)
        vectors = self.shopper_factors(histories).astype(np.float32)
        for row in np.flatnonzero(known):
            scores[row] = self.rows_of(columns[row]) @ vectors[row]
        return scores

    def recommend(
        self,
        histories: Histories,
        k: int,
        *,
        exclude: Ragged | None = None,
        candidates: Whitelist | None = None,
        fill_with_popular: bool = True,
    ) -> Recommendations:
        """See `Recommender.recommend` and the class on what an index changes."""
        if self.index is None:
            return super().recommend(
                histories, k, exclude=exclude, candidates=candidates, fill_with_popular=fill_with_popular
            )
        self._require_answerable(histories, k, exclude)
        products = np.full((len(histories), k), -1, dtype=np.int32)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        known, vectors = self.knows(histories), self.shopper_factors(histories).astype(np.float32)
        for row in range(len(histories)):
            banned = np.empty(0, dtype=np.int32) if exclude is None else exclude.row(row)
            if known[row]:
                found, values = self.index.search(vectors[row], k, exclude=banned, allowed=candidates)
            else:
                found = self._most_popular(k, banned, candidates)
                values = np.asarray(self.popularity[found], dtype=np.float32)
            products[row, : len(found)], scores[row, : len(found)] = found, values
        return Recommendations(products, scores)

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """Products by cosine of their factors; a cold product has no direction, is similar to none and none to it."""
        if self.index is None:
            return nearest_by_cosine(*self._unit_factors, products, k)
        products = np.asarray(products, dtype=np.int32)
        chosen = np.full((len(products), k), -1, dtype=np.int32)
        scores = np.full((len(products), k), -np.inf, dtype=np.float32)
        for row, product in enumerate(products):
            own = self.rows_of(products[row : row + 1])[0]
            length = float(np.linalg.norm(own))
            if length > 0:
                found, values = self.index.search(own / np.float32(length), k, exclude=product[None], cosine=True)
                chosen[row, : len(found)], scores[row, : len(found)] = found, values
        return Recommendations(chosen, scores)

    def contributions(
        self, history: Histories, products: IndexArray, scores: ScoreArray | None = None
    ) -> tuple[IndexArray, NDArray[np.float64]]:
        """The scores as sums over past products: ``c_i * y_j^T W y_i`` with ``W`` the inverse of the shopper's system.

        Hu, Koren & Volinsky 2008, section 5.
        """
        profiles = self.weighting.profiles(history)
        if len(profiles.products) == 0:
            return super().contributions(history, products)
        left, _ = self._system(profiles, 0)
        seen = self.rows_of(profiles.products).astype(np.float64)
        towards = np.linalg.solve(left, self.rows_of(products).astype(np.float64).T)
        return profiles.products, (seen @ towards).T * (1.0 + self.alpha * profiles.weights)

    def likeness(self, products: IndexArray) -> ScoreArray:
        """Cosine of the factors, 0 where negative."""
        rows = self.rows_of(products)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return cosine_likeness((rows / np.where(norms > 0, norms, 1.0)).astype(np.float32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``item_factors`` (in the order of the index, where there is one), ``gramian`` and what the index adds."""
        arrays: dict[str, NDArray[Any]] = {"item_factors": self._vectors, "gramian": self.gramian}
        return arrays if self.index is None else {**arrays, **self.index.arrays()}

    def parameters(self) -> dict[str, Any]:
        """How events are weighted, ``regularisation``, ``alpha``, and the ``index_share`` of an index."""
        return {
            **({} if self.index is None else {"index_share": self.index.share}),
            "weighting": self.weighting.parameters(),
            "regularisation": self.regularisation,
            "alpha": self.alpha,
        }

    @classmethod
    def restore(
        cls,
        products: IdMap,
        popularity: ScoreArray,
        arrays: Mapping[str, NDArray[Any]],
        parameters: Parameters,
        graphs: Mapping[str, bytes],
    ) -> Self:
        """Inverse of `arrays` and `parameters`."""
        vectors, share = arrays["item_factors"], parameters.get("index_share")
        return cls(
            products,
            popularity,
            item_factors=vectors if share is None else VectorIndex.restore(vectors, arrays, share),
            gramian=arrays["gramian"],
            weighting=EventWeighting.from_parameters(parameters["weighting"]),
            regularisation=parameters["regularisation"],
            alpha=parameters["alpha"],
        )

    def rows_of(self, products: IndexArray) -> NDArray[np.float32]:
        """Factors of ``products`` (``[m]``), float32 ``[m, f]``, a copy."""
        return self._vectors[products] if self.index is None else self.index.rows(products)

    def _most_popular(self, k: int, banned: IndexArray, candidates: Whitelist | None) -> IndexArray:
        """The ``k`` most popular products that are allowed, ``[<= k]``; looks no further down than it must."""
        order = self.popular_order
        if candidates is not None and candidates.dtype != np.bool_:
            order = np.unique(candidates).astype(np.int32)
            order = order[np.argsort(-np.asarray(self.popularity[order]), kind="stable")]
        size = k + len(banned)
        while True:
            free = order[:size]
            if candidates is not None and candidates.dtype == np.bool_:
                free = free[candidates[free]]
            free = free[~np.isin(free, banned)]
            if len(free) >= k or size >= len(order):
                return free[:k]
            size *= 4

    @cached_property
    def _unit_factors(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Factors scaled to length 1, and which products have none."""
        norms = np.linalg.norm(self._vectors, axis=1)
        unit = (self._vectors / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)
        return unit, norms == 0

    def _system(self, profiles: Profiles, row: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        pairs = slice(int(profiles.indptr[row]), int(profiles.indptr[row + 1]))
        seen = self.rows_of(profiles.products[pairs]).astype(np.float64)
        extra = self.alpha * profiles.weights[pairs]
        left = self.gramian + (seen.T * extra) @ seen
        left[np.diag_indices_from(left)] += self.regularisation
        return left, seen.T @ (1.0 + extra)
