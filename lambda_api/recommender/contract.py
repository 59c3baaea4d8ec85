"""The contract of all recommenders, and what they share: exclusions, whitelists, padding, tie-breaks, empty histories.

Scoring formulas are in the modules beside this one, fitting is in ``recsys_assets.models``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.topk import empty_lists, top_k

ScoreArray = NDArray[np.float32]
Whitelist = IndexArray | NDArray[np.bool_]
"""Products that may be recommended: int32 ``[m]`` of them, or a bool ``[n_products]`` mask, cheaper to reuse."""
Parameters = Mapping[str, Any]
"""JSON-able values that a recommender needs at inference besides its arrays."""

SCORES_PER_CHUNK = 4_000_000
"""Scores held at once while recommending to a batch (16 MB of float32); bounds memory for any batch size."""


@dataclass(frozen=True, slots=True)
class Recommendations:
    """The best ``k`` products for each of ``B`` rows, best first.

    Attributes:
        products: int32 ``[B, k]`` internal indices, ``-1`` where fewer than ``k`` products qualified.
        scores: float32 ``[B, k]``, ``-inf`` beside padding. Comparable within a row only.
    """

    products: IndexArray
    scores: ScoreArray


@dataclass(frozen=True, slots=True)
class StoredModel:
    """What a bundle holds of a recommender; arrays may be memory-mapped and read-only."""

    products: IdMap
    popularity: ScoreArray
    arrays: Mapping[str, NDArray[Any]]
    parameters: Parameters
    graphs: Mapping[str, bytes]


class Recommender(ABC):
    """A fitted recommender: arrays in, ranked products out. Implementations use numpy and ONNX Runtime only.

    Products are internal indices of ``self.products``. Everything is deterministic: equal scores are ranked by
    ascending index, which is SHA-256 order of the product id (see `IdMap`).
    """

    kind: ClassVar[str]
    """Name of the implementation in bundle manifests."""

    products: IdMap
    popularity: ScoreArray
    """float32 ``[n_products]``, >= 0: what a shopper without usable history is ranked by, and the padding order."""

    def __init__(self, products: IdMap, popularity: ScoreArray) -> None:
        if popularity.shape != (len(products),):
            raise ValueError(f"popularity must have shape ({len(products)},), not {popularity.shape}")
        self.products = products
        self.popularity = popularity

    @abstractmethod
    def score_all(self, histories: Histories) -> ScoreArray:
        """Scores of every product for every shopper, float32 ``[B, n_products]``, finite, higher is better.

        Rows of shoppers that the model does not know (see `knows`) may hold anything; callers replace them.
        """

    @abstractmethod
    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """bool ``[B]``: shoppers for whom this model has personal scores. The others get ``popularity``."""

    @abstractmethod
    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """The ``k`` products most similar to each of ``products`` (``[m]``), never the product itself; ``[m, k]``."""

    def contributions(
        self, history: Histories, products: IndexArray, scores: ScoreArray | None = None
    ) -> tuple[IndexArray, NDArray[np.float64]]:
        """The share of each past product of one shopper (a batch of one) in the scores of ``products`` (``[m]``).

        Args:
            scores: of these products (``[m]``), where the caller has them; saves computing them again.

        Returns:
            Past products int32 ``[p]`` and their parts float64 ``[m, p]``, which add up to each score. ``p`` is 0 where
            scores are not sums over past products (popularity, trained user vectors) or the shopper is unknown.
        """
        return np.empty(0, dtype=np.int32), np.empty((len(products), 0))

    def likeness(self, products: IndexArray) -> ScoreArray:
        """Similarity of ``products`` (``[m]``) by shoppers' behaviour, float32 ``[m, m]`` in [0, 1].

        Symmetric, 1 on the diagonal; 0 elsewhere for models that know no similarity.
        """
        return np.eye(len(products), dtype=np.float32)

    def sold_this_week(self, now: int) -> ScoreArray | None:
        """Events of each product in the seven days before fitting, float32 ``[n_products]``.

        ``None`` where the model does not know, or ``now`` (seconds since 1970 UTC) is more than a week later.
        """
        return None

    knows_likeness: ClassVar[bool] = True
    """Whether `similar_items` depends on more than popularity."""

    def to_check(self, history: Histories) -> IndexArray | None:
        """Past products whose worth to one shopper's list is to be checked, chosen before the list is made.

        To be called before `recommend` with the same ``history``: a model may work out both together. ``None``:
        they are chosen by `contributions` to what is listed.
        """
        return None

    variants_per_answer: ClassVar[int] = 16
    """Most changed histories that one answer may rescore to explain its scores; a bound on the cost of reasons."""

    def without_ranker(self) -> "Recommender":
        """The recommender to use when the learned ranker is switched off: itself for models of one stage."""
        return self

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array needed to restore this recommender, by name; ``products`` and ``popularity`` excluded."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """JSON-able values needed to restore this recommender."""

    @classmethod
    @abstractmethod
    def restore(cls, stored: StoredModel) -> Self:
        """Inverse of `arrays`, `parameters` and `graphs`."""

    def graphs(self) -> dict[str, bytes]:
        """Serialised ONNX graphs by name; none unless an implementation says otherwise."""
        return {}

    def score(self, histories: Histories, products: IndexArray) -> ScoreArray:
        """Scores of ``products`` (int32 ``[m]``, or ``[B, m]`` for a list each); float32 ``[B, m]``.

        Shoppers the model does not know are scored by ``popularity``.
        """
        columns = np.broadcast_to(np.atleast_2d(products), (len(histories), np.atleast_2d(products).shape[1]))
        scores = np.empty(columns.shape, dtype=np.float32)
        for start, stop in self._chunks(len(histories)):
            chunk = self._scores_or_popularity(histories.rows(start, stop))
            scores[start:stop] = np.take_along_axis(chunk, columns[start:stop], axis=1)
        return scores

    def score_without(
        self, history: Histories, without: IndexArray, products: IndexArray
    ) -> tuple[ScoreArray, NDArray[np.bool_]]:
        """`score` of ``products`` (``[m]``) for one shopper, had they never touched each of ``without`` (``[d]``).

        Returns:
            Scores float32 ``[d, m]``, and `knows` of each changed history, bool ``[d]``.
        """
        variants = history.without_each(without)
        return self.score(variants, products), self.knows(variants)

    def recommend(
        self,
        histories: Histories,
        k: int,
        *,
        exclude: Ragged | None = None,
        candidates: Whitelist | None = None,
        fill_with_popular: bool = True,
    ) -> Recommendations:
        """Rank products for a batch of shoppers.

        Args:
            histories: ``B`` shoppers.
            k: length of each list, at least 1.
            exclude: products each shopper must not get, row-aligned with ``histories``.
            candidates: nothing else is recommended. ``None`` allows every product.
            fill_with_popular: products the model scores at or below zero are ranked after the others by
                ``popularity``, so that lists are full; ``False`` leaves those places empty for models whose
                zero means "no evidence" (`zero_means_no_evidence`).

        Returns:
            ``[B, k]`` lists. A list is shorter (``-1``) only when fewer than ``k`` products qualify.

        Raises:
            ValueError: ``k`` < 1, or ``exclude`` has another number of rows than ``histories``.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if exclude is not None and len(exclude) != len(histories):
            raise ValueError(f"exclude has {len(exclude)} rows for {len(histories)} shoppers")
        allowed = None
        if candidates is not None:
            allowed = np.zeros(len(self.products), dtype=bool)
            allowed[candidates] = True
        exclude = Ragged.empty(len(histories)) if exclude is None else exclude
        return self._lists(histories, k, exclude, allowed, fill_with_popular)

    zero_means_no_evidence: ClassVar[bool] = False
    """Whether a score of zero means "no evidence for this product and shopper" (neighbour models)."""

    @cached_property
    def popular_order(self) -> IndexArray:
        """Every product, most popular first, equals by ascending index; int32 ``[n_products]``, sorted once."""
        return np.argsort(-np.asarray(self.popularity), kind="stable").astype(np.int32)

    @cached_property
    def popular_padding(self) -> ScoreArray:
        """Scores in [-1, 0) in order of popularity, equal where popularity is; float32 ``[n_products]``.

        Ranks rather than scaled values: popularity spans more orders of magnitude than float32 keeps apart near -1.
        """
        distinct, place = np.unique(self.popularity, return_inverse=True)
        return ((place - len(distinct)) / max(1, len(distinct))).astype(np.float32)

    def _lists(
        self,
        histories: Histories,
        k: int,
        exclude: Ragged,
        allowed: NDArray[np.bool_] | None,
        fill_with_popular: bool,
    ) -> Recommendations:
        """`recommend`, its arguments checked, from the scores of all products. ``allowed``: bool ``[n_products]``."""
        products, scores = empty_lists(len(histories), k)
        for start, stop in self._chunks(len(histories)):
            may = self._allowed(exclude.rows(start, stop), allowed)
            products[start:stop], scores[start:stop] = self._ranked_lists(
                histories.rows(start, stop), may, k, fill_with_popular
            )
        return Recommendations(products, scores)

    def _chunks(self, rows: int) -> list[tuple[int, int]]:
        size = max(1, SCORES_PER_CHUNK // max(1, len(self.products)))
        return [(start, min(start + size, rows)) for start in range(0, rows, size)]

    def _scores_or_popularity(self, histories: Histories) -> ScoreArray:
        known = self.knows(histories)
        if not known.any():
            return np.tile(self.popularity, (len(histories), 1)).astype(np.float32)
        scores = np.array(self.score_all(histories), dtype=np.float32)
        scores[~known] = self.popularity
        return scores

    def _allowed(self, exclude: Ragged, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Which products each shopper may get, bool ``[B, n_products]``."""
        may = np.ones((len(exclude), len(self.products)), dtype=bool)
        if allowed is not None:
            may[:] = allowed
        may[exclude.row_of_value, exclude.values] = False
        return may

    def _ranked_lists(
        self, histories: Histories, allowed: NDArray[np.bool_], k: int, fill_with_popular: bool
    ) -> tuple[IndexArray, ScoreArray]:
        """`recommend` for shoppers whose ``allowed`` products (bool ``[B, n_products]``) are known."""
        scores = self._scores_or_popularity(histories)
        if self.zero_means_no_evidence:
            evidence = scores > 0
            if fill_with_popular:
                # Popular products follow the evidenced ones: below every positive score, in order of popularity.
                scores = np.where(evidence, scores, self.popular_padding[None, :])
            else:
                allowed = allowed & evidence
        return top_k(np.where(allowed, scores, -np.inf).astype(np.float32), k)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``vectors`` (``[n, f]``) scaled to length 1; rows of zeros stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def cosine_likeness(unit: ScoreArray) -> ScoreArray:
    """`Recommender.likeness` of ``m`` products from their vectors of length 1 (or 0): cosine, 0 where negative."""
    alike = np.clip(unit @ unit.T, 0.0, 1.0).astype(np.float32)
    np.fill_diagonal(alike, 1.0)
    return alike


def most_similar(
    products: IndexArray, k: int, similarity: Callable[[IndexArray], ScoreArray], at_once: int
) -> Recommendations:
    """`Recommender.similar_items` by ``similarity``, for ``at_once`` products at a time.

    Args:
        similarity: float32 ``[m, n_products]`` of ``m`` products to all; -inf: not similar. The result is overwritten.
    """
    products = np.asarray(products, dtype=np.int32)
    chosen, scores = empty_lists(len(products), k)
    for start in range(0, len(products), at_once):
        part = products[start : start + at_once]
        found = similarity(part)
        found[np.arange(len(part)), part] = -np.inf
        chosen[start : start + at_once], scores[start : start + at_once] = top_k(found, k)
    return Recommendations(chosen, scores)


def nearest_by_cosine(unit: ScoreArray, cold: NDArray[np.bool_], products: IndexArray, k: int) -> Recommendations:
    """`Recommender.similar_items` from vectors of length 1, float32 ``[n_products, f]``.

    Products without a vector (``cold``, bool ``[n_products]``) are similar to no product.
    """

    def cosine(part: IndexArray) -> ScoreArray:
        found = (unit[part] @ unit.T).astype(np.float32)
        found[:, cold] = -np.inf
        found[cold[part]] = -np.inf
        return found

    return most_similar(products, k, cosine, max(1, SCORES_PER_CHUNK // max(1, len(unit))))
