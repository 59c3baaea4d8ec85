"""Products by popularity, the same for everyone. How it is computed: ``recsys_assets.models.popularity``."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import Recommendations, Recommender, ScoreArray, StoredModel
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.sparse_lists import complete
from lambda_api.recommender.topk import empty_lists, top_k


class PopularityRecommender(Recommender):
    """Ranks by ``popularity`` for every shopper.

    Lists differ by exclusions only; the products similar to any product are the most popular others; nothing is
    explained. Cold products have popularity 0 and come last.
    """

    kind: ClassVar[str] = "popularity"
    knows_likeness: ClassVar[bool] = False

    def score_all(self, histories: Histories) -> ScoreArray:
        """``popularity`` for every shopper, float32 ``[B, n_products]``."""
        return np.tile(self.popularity, (len(histories), 1)).astype(np.float32, copy=False)

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """False for every shopper."""
        return np.zeros(len(histories), dtype=bool)

    def _lists(
        self,
        histories: Histories,
        k: int,
        exclude: Ragged,
        allowed: NDArray[np.bool_] | None,
        fill_with_popular: bool,
    ) -> Recommendations:
        order = self.popular_order if allowed is None else self.popular_order[allowed[self.popular_order]]
        lists = Recommendations(*empty_lists(len(histories), k))
        complete(lists, np.arange(len(histories)), order, exclude, self.popularity)
        return lists

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """The ``k`` most popular products other than each of ``products``; ``[m, k]``."""
        chosen, scores = top_k(np.asarray(self.popularity, dtype=np.float32)[None, :], k + 1)
        rows = np.repeat(chosen, len(products), axis=0)
        # Where the product itself is among the k + 1 best it is dropped, elsewhere the last one is.
        drop = rows == np.asarray(products)[:, None]
        drop[~drop.any(axis=1), k] = True
        shape = (len(products), k)
        return Recommendations(
            rows[~drop].reshape(shape), np.repeat(scores, len(products), axis=0)[~drop].reshape(shape)
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """None besides ``popularity`` itself."""
        return {}

    def parameters(self) -> dict[str, Any]:
        """None."""
        return {}

    @classmethod
    def restore(cls, stored: StoredModel) -> Self:
        """Inverse of `arrays` and `parameters`."""
        return cls(stored.products, stored.popularity)
