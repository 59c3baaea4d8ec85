"""The recommender of implicit-feedback matrix factorisation; a shopper's vector is computed at request time.

Only item factors are stored, so shoppers who came after training are served like any other, and the last click counts
at once. The alternating least squares that finds the factors are in ``recsys_assets.models.matrix_factorisation``.
"""

from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import (
    Recommendations,
    Recommender,
    ScoreArray,
    StoredModel,
    cosine_likeness,
    unit_rows,
)
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.profiles import EventWeighting, Profiles
from lambda_api.recommender.topk import empty_lists, top_k

SYSTEMS_PER_CHUNK = 256
"""Linear systems held at once: 8 MB at 64 factors."""

PRODUCTS_PER_CHUNK = 8192
"""Products scored at once: 2 MB at 64 factors."""

ROUNDING = 1.0 + 1e-5
"""Relative error that a float32 inner product stays below."""


class LongestFirst(NamedTuple):
    """Factors by descending length; see `longest_first`."""

    rows: NDArray[np.float32]
    order: IndexArray
    lengths: NDArray[np.float32]


def longest_first(item_factors: NDArray[np.float32]) -> LongestFirst:
    """``item_factors`` (``[n, f]``) by descending length (a copy), the product of each row, and the lengths."""
    lengths = np.linalg.norm(item_factors, axis=1).astype(np.float32)
    order = np.argsort(-lengths, kind="stable").astype(np.int32)
    return LongestFirst(item_factors[order], order, lengths[order])


class FactorRecommender(Recommender):
    """``score[b, j] = x_b . y_j`` with ``x_b = (YtY + reg I + Yt (C_b - I) Y)^-1 Yt C_b p_b``.

    ``Y`` are the item factors, ``C_b`` the shopper's confidences ``1 + alpha * profile[b, i]`` (1 where the profile has
    nothing) and ``p_b`` 1 on the profile, 0 elsewhere: Hu, Koren & Volinsky, "Collaborative filtering for implicit
    feedback datasets", ICDM 2008, equation 4. A shopper without a weighted event gets popular products. A cold product
    has a zero factor and scores 0.
    """

    kind: ClassVar[str] = "factors"

    def __init__(
        self,
        products: IdMap,
        popularity: ScoreArray,
        item_factors: NDArray[np.float32],
        gramian: NDArray[np.float64],
        weighting: EventWeighting,
        regularisation: float,
        alpha: float,
        order: IndexArray | None = None,
        lengths: NDArray[np.float32] | None = None,
    ) -> None:
        """Assemble, with ``item_factors`` in product order or, if ``order`` and ``lengths`` are given, longest first.

        Args:
            item_factors: float32 ``[n_products, f]``.
            gramian: float64 ``[f, f]``, their ``Yt Y``.
            order, lengths: see `longest_first`.

        Raises:
            ValueError: shapes disagree, or ``regularisation`` or ``alpha`` is not positive.
        """
        super().__init__(products, popularity)
        if item_factors.ndim != 2 or len(item_factors) != len(products):
            raise ValueError(f"item_factors must have shape ({len(products)}, f), not {item_factors.shape}")
        width = item_factors.shape[1]
        if gramian.shape != (width, width):
            raise ValueError(f"gramian must have shape ({width}, {width}), not {gramian.shape}")
        if not (regularisation > 0 and alpha > 0):
            raise ValueError(f"regularisation and alpha must be positive, not {regularisation} and {alpha}")
        # Slicing a plain view of a mapped file is several times faster than slicing a memmap.
        self._rows = np.asarray(item_factors)
        self._place: IndexArray | None = None
        if order is not None and lengths is not None:
            if not len(order) == len(lengths) == len(products):
                raise ValueError(f"order and lengths must have {len(products)} values")
            self._longest_first = LongestFirst(self._rows, np.asarray(order), np.asarray(lengths))
            self._place = np.empty(len(order), dtype=np.int32)
            self._place[order] = np.arange(len(order), dtype=np.int32)
        self.gramian = gramian
        self.weighting = weighting
        self.regularisation = float(regularisation)
        self.alpha = float(alpha)

    @property
    def item_factors(self) -> NDArray[np.float32]:
        """``Y``, float32 ``[n_products, f]``, in product order."""
        return self._rows if self._place is None else self._rows[self._place]

    def score_all(self, histories: Histories) -> ScoreArray:
        """See the class; float32 ``[B, n_products]``."""
        scores = np.empty((len(histories), len(self.products)), dtype=np.float32)
        for row, vector in enumerate(self.shopper_factors(histories).astype(np.float32)):
            scores[row] = self._inner_products(vector)
        return scores

    def shopper_factors(self, histories: Histories) -> NDArray[np.float64]:
        """The vector ``x_b`` of each shopper, float64 ``[B, f]``; zeros for a shopper without a weighted event."""
        return self.folded_in(self.weighting.profiles(histories))

    def folded_in(self, profiles: Profiles) -> NDArray[np.float64]:
        """`shopper_factors` of shoppers with these ``profiles``, made by ``weighting``."""
        vectors = np.empty((len(profiles), self._rows.shape[1]), dtype=np.float64)
        for start in range(0, len(profiles), SYSTEMS_PER_CHUNK):
            stop = min(start + SYSTEMS_PER_CHUNK, len(profiles))
            systems = [self._system(profiles, row) for row in range(start, stop)]
            left = np.stack([system for system, _ in systems])
            right = np.stack([target for _, target in systems])
            vectors[start:stop] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        return vectors

    def approximately_folded_in(self, profiles: Profiles) -> NDArray[np.float64]:
        """``(YtY + reg I)^-1 Yt C_b p_b``: `folded_in` with one system for all shoppers; no system is solved.

        Differs by the confidences on the left side, which shorten the vectors of shoppers with long histories.
        """
        terms = self.rows_of(profiles.products) * (1.0 + self.alpha * profiles.weights)[:, None]
        sums = np.zeros((len(profiles), terms.shape[1]))
        filled = np.flatnonzero(profiles.indptr[1:] > profiles.indptr[:-1])
        if len(filled):
            sums[filled] = np.add.reduceat(terms, profiles.indptr[filled], axis=0)
        # Unlike matmul, vecdot computes a vector in the same way in every batch.
        vectors: NDArray[np.float64] = np.vecdot(self._inverse, sums[:, None, :])
        return vectors

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        system = self.gramian + self.regularisation * np.eye(len(self.gramian))
        return np.asarray(np.linalg.inv(system), dtype=np.float64)

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Shoppers with an event whose type has a weight."""
        return self.weighting.knows(histories)

    def score(self, histories: Histories, products: IndexArray) -> ScoreArray:
        """See `Recommender.score`; reads the factors of ``products`` only."""
        columns = np.broadcast_to(np.atleast_2d(products), (len(histories), np.atleast_2d(products).shape[1]))
        known = self.knows(histories)
        scores = np.array(self.popularity[columns], dtype=np.float32)
        vectors = self.shopper_factors(histories).astype(np.float32)
        for row in np.flatnonzero(known):
            scores[row] = np.vecdot(self.rows_of(columns[row]), vectors[row])
        return scores

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """Products by cosine of their factors; a cold product has no direction and is similar to none."""
        products = np.asarray(products, dtype=np.int32)
        chosen, scores = empty_lists(len(products), k)
        lengths = np.empty(len(self.products), dtype=np.float32)
        lengths[self._longest_first.order] = self._longest_first.lengths
        for row in np.flatnonzero(lengths[products] > 0):
            product = products[row]
            cosine = self._inner_products(self.rows_of(products[row : row + 1])[0] / lengths[product])
            cosine = np.where(lengths > 0, cosine / np.where(lengths > 0, lengths, 1.0), -np.inf).astype(np.float32)
            cosine[product] = -np.inf
            chosen[row : row + 1], scores[row : row + 1] = top_k(cosine[None], k)
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
        return cosine_likeness(unit_rows(self.rows_of(products)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``item_factors`` and ``gramian``; ``order`` and ``lengths`` where the factors are stored longest first."""
        arrays: dict[str, NDArray[Any]] = {"item_factors": self._rows, "gramian": self.gramian}
        if self._place is not None:
            arrays |= {"order": self._longest_first.order, "lengths": self._longest_first.lengths}
        return arrays

    def parameters(self) -> dict[str, Any]:
        """How events are weighted, ``regularisation`` and ``alpha``."""
        return {
            "weighting": self.weighting.parameters(),
            "regularisation": self.regularisation,
            "alpha": self.alpha,
        }

    @classmethod
    def restore(cls, stored: StoredModel) -> Self:
        """Inverse of `arrays` and `parameters`."""
        arrays, parameters = stored.arrays, stored.parameters
        return cls(
            stored.products,
            stored.popularity,
            item_factors=arrays["item_factors"],
            gramian=arrays["gramian"],
            weighting=EventWeighting.from_parameters(parameters["weighting"]),
            regularisation=parameters["regularisation"],
            alpha=parameters["alpha"],
            order=arrays.get("order"),
            lengths=arrays.get("lengths"),
        )

    def rows_of(self, products: IndexArray) -> NDArray[np.float32]:
        """Factors of ``products`` (``[m]``), float32 ``[m, f]``, a copy."""
        return self._rows[products if self._place is None else self._place[products]]

    def _inner_products(self, vector: NDArray[np.float32]) -> ScoreArray:
        """Of ``vector`` (``[f]``) with the factors of every product; float32 ``[n_products]``."""
        # Unlike matmul, vecdot computes a score in the same way for any number and order of products.
        found = np.vecdot(self._rows, vector)
        return found if self._place is None else found[self._place]

    def _ranked_lists(
        self, histories: Histories, allowed: NDArray[np.bool_], k: int, fill_with_popular: bool
    ) -> tuple[IndexArray, ScoreArray]:
        products, scores = empty_lists(len(histories), k)
        known, vectors = self.knows(histories), self.shopper_factors(histories).astype(np.float32)
        for row in range(len(histories)):
            if known[row]:
                found, values = self._best(vectors[row], allowed[row], k)
            else:
                lists, ranked = top_k(np.where(allowed[row], self.popularity, -np.inf)[None].astype(np.float32), k)
                found, values = lists[0], ranked[0]
            products[row, : len(found)], scores[row, : len(found)] = found, values
        return products, scores

    def _best(self, vector: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> tuple[IndexArray, ScoreArray]:
        """The ``k`` ``allowed`` products with the largest scores, best first, equal scores by ascending product; exact.

        A product with factors of length ``l`` scores at most ``|vector| l``. Products are scored longest first, until
        that bound is below the ``k``-th best score: on a million products a few per cent of them.
        """
        rows, order, lengths = self._longest_first
        reach = float(np.linalg.norm(vector)) * ROUNDING
        products, scores = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
        for start in range(0, len(order), PRODUCTS_PER_CHUNK):
            least = scores[-1] if len(products) == k else -np.inf
            if reach * lengths[start] < least:
                break
            part = slice(start, start + PRODUCTS_PER_CHUNK)
            found = np.vecdot(rows[part], vector)
            better = np.flatnonzero(allowed[order[part]] & (found >= least))
            products = np.concatenate([products, order[part][better]])
            scores = np.concatenate([scores, found[better]])
            best = np.lexsort((products, -scores))[:k]
            products, scores = products[best], scores[best]
        return products, scores

    @cached_property
    def _longest_first(self) -> LongestFirst:
        return longest_first(self._rows)

    def _system(self, profiles: Profiles, row: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        pairs = slice(int(profiles.indptr[row]), int(profiles.indptr[row + 1]))
        seen = self.rows_of(profiles.products[pairs]).astype(np.float64)
        extra = self.alpha * profiles.weights[pairs]
        left = self.gramian + (seen.T * extra) @ seen
        left[np.diag_indices_from(left)] += self.regularisation
        return left, seen.T @ (1.0 + extra)
