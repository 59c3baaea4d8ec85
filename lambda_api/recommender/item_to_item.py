"""The recommender of all item-to-item models: item-kNN, EASE, temporal linear, content similarity."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import (
    Recommendations,
    Recommender,
    ScoreArray,
    StoredModel,
    most_similar,
)
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.item_weights import DenseWeights, ItemWeights, SparseWeights, mean_likeness
from lambda_api.recommender.profiles import EventWeighting
from lambda_api.recommender.sparse_lists import best_of, complete
from lambda_api.recommender.topk import empty_lists

SIMILAR_ROWS_PER_CHUNK = 256


class ItemToItemRecommender(Recommender):
    """``score[b, j] = prior[j] * sum over i of profile[b, i] * weights[i, j]``.

    A shopper without a weighted event gets popular products. Scores at or below 0 mean "no evidence"; such products
    are ranked after the others by popularity.
    """

    kind: ClassVar[str] = "item_to_item"
    zero_means_no_evidence: ClassVar[bool] = True

    def __init__(
        self,
        products: IdMap,
        popularity: ScoreArray,
        weights: ItemWeights,
        weighting: EventWeighting,
        prior: ScoreArray | None = None,
    ) -> None:
        """``prior``: float32 ``[n_products]``, > 0, multiplied into the scores of each product (a trend); default 1.

        Raises:
            ValueError: ``weights`` or ``prior`` is of another size than ``products``.
        """
        super().__init__(products, popularity)
        if len(weights) != len(products):
            raise ValueError(f"weights of {len(weights)} products for a map of {len(products)}")
        if prior is not None and prior.shape != (len(products),):
            raise ValueError(f"prior must have shape ({len(products)},), not {prior.shape}")
        self.weights = weights
        self.weighting = weighting
        self.prior = prior

    def score_all(self, histories: Histories) -> ScoreArray:
        """See the class; float32 ``[B, n_products]``."""
        scores = self.weights.scores(self.weighting.profiles(histories))
        if self.prior is not None:
            scores *= self.prior
        return scores

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Shoppers with an event whose type has a weight."""
        return self.weighting.knows(histories)

    def _lists(
        self,
        histories: Histories,
        k: int,
        exclude: Ragged,
        allowed: NDArray[np.bool_] | None,
        fill_with_popular: bool,
    ) -> Recommendations:
        """With sparse weights only products with a score are masked and sorted."""
        if not isinstance(self.weights, SparseWeights):
            return super()._lists(histories, k, exclude, allowed, fill_with_popular)
        order = self.popular_order if allowed is None else self.popular_order[allowed[self.popular_order]]
        popular = order if fill_with_popular else order[self.popularity[order] > 0]
        popularity = np.where(self.popularity > 0, self.popularity, self.popular_padding)
        lists = Recommendations(*empty_lists(len(histories), k))
        for start, stop in self._chunks(len(histories)):
            part, forbidden = histories.rows(start, stop), exclude.rows(start, stop)
            own = Recommendations(*best_of(self.score_all(part), k, forbidden, allowed))
            known = self.knows(part)
            if fill_with_popular:
                complete(own, np.flatnonzero(known), order, forbidden, self.popular_padding)
            complete(own, np.flatnonzero(~known), popular, forbidden, popularity)
            lists.products[start:stop], lists.scores[start:stop] = own.products, own.scores
        return lists

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """Products by their weight from each of ``products``, positive weights only, without the prior."""

        def positive(part: IndexArray) -> ScoreArray:
            rows = self.weights.rows(part)
            rows[rows <= 0] = -np.inf
            return rows

        return most_similar(products, k, positive, SIMILAR_ROWS_PER_CHUNK)

    def score(self, histories: Histories, products: IndexArray) -> ScoreArray:
        """See `Recommender.score`; only the weights towards ``products`` are read."""
        wanted, place = np.unique(products, return_inverse=True)
        scores = self.weights.scores_of(self.weighting.profiles(histories), wanted)
        if self.prior is not None:
            scores *= self.prior[wanted]
        known = self.knows(histories)
        scores[~known] = self.popularity[wanted]
        columns = np.broadcast_to(place.reshape(np.atleast_2d(products).shape), (len(histories), products.shape[-1]))
        return np.take_along_axis(scores, columns, axis=1)

    def contributions(
        self, history: Histories, products: IndexArray, scores: ScoreArray | None = None
    ) -> tuple[IndexArray, NDArray[np.float64]]:
        """The terms of the scores: ``prior[j] * profile[i] * weights[i, j]``."""
        profile = self.weighting.profiles(history)
        wanted, place = np.unique(products, return_inverse=True)
        terms = profile.weights * self.weights.block(profile.products, wanted).T
        if self.prior is not None:
            terms *= self.prior[wanted].astype(np.float64)[:, None]
        return profile.products, terms[place]

    def likeness(self, products: IndexArray) -> ScoreArray:
        """Weights between ``products``, relative to the largest."""
        return mean_likeness([self.weights.block(products, products)])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights' own arrays, and ``prior`` where there is one."""
        return {**self.weights.arrays(), **({} if self.prior is None else {"prior": self.prior})}

    def parameters(self) -> dict[str, Any]:
        """How events are weighted."""
        return {"weighting": self.weighting.parameters()}

    @classmethod
    def restore(cls, stored: StoredModel) -> Self:
        """Inverse of `arrays` and `parameters`."""
        arrays = stored.arrays
        weights: ItemWeights
        if "weights" in arrays:
            weights = DenseWeights(arrays["weights"])
        else:
            weights = SparseWeights(arrays["indptr"], arrays["indices"], arrays["data"])
        weighting = EventWeighting.from_parameters(stored.parameters["weighting"])
        return cls(stored.products, stored.popularity, weights, weighting, arrays.get("prior"))
