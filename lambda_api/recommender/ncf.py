"""Neural collaborative filtering at inference: fused GMF and MLP towers over trained user and item embeddings."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import (
    Recommendations,
    Recommender,
    ScoreArray,
    StoredModel,
    cosine_likeness,
    nearest_by_cosine,
)
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.onnx_graph import OnnxGraph

GRAPH_NAME = "scorer"
GRAPH_INPUTS = ("user_gmf", "user_hidden", "item_gmf", "item_hidden")
GRAPH_OUTPUT = "scores"

PAIRS_PER_RUN = 65_536
"""User-item pairs per graph run; activations of so many fit into a core's cache."""


class NcfRecommender(Recommender):
    """NeuMF with trained user embeddings (He et al. 2017, "Neural Collaborative Filtering", section 3.4).

    The score of user ``u`` and item ``i`` is the logit ``h_g . (p_u * q_i) + h_m . mlp(relu(a_u + b_i))``. ``a_u`` and
    ``b_i`` are the user's and the item's share of the first MLP layer, computed once after training, so that only the
    upper layers are computed per pair.

    * Users are known by id. Anybody the model was not trained on gets ``popularity``, with or without a history, and
      new events of a known user change nothing until the next training.
    * Cold products (no training interaction) have no learned embedding. They are ranked last, all equal, and are
      similar to no product.
    * `contributions` are always empty: a score comes from one learned vector per user, not from single events.

    Attributes:
        users: ids of the ``n_users`` users the model knows.
        user_gmf: float32 ``[n_users, gmf_size]``; user_hidden: float32 ``[n_users, hidden]``.
        item_gmf: float32 ``[n_products, gmf_size]``; item_hidden: float32 ``[n_products, hidden]``.
        item_unit: float32 ``[n_products, d]``, the item embeddings of both towers side by side, each row of length
            one; zeros for a cold product.
    """

    kind: ClassVar[str] = "ncf"

    def __init__(
        self,
        products: IdMap,
        popularity: ScoreArray,
        users: IdMap,
        arrays: Mapping[str, NDArray[Any]],
        graph: bytes,
    ) -> None:
        """Assemble from ``arrays`` (`user_gmf`, `user_hidden`, `item_gmf`, `item_hidden`, `item_unit`) and ``graph``.

        Raises:
            ValueError: an array does not have one row per user or per product.
        """
        super().__init__(products, popularity)
        for name, rows in [("user_gmf", users), ("user_hidden", users)] + [
            (name, products) for name in ("item_gmf", "item_hidden", "item_unit")
        ]:
            if len(arrays[name]) != len(rows):
                raise ValueError(f"ncf array {name} has {len(arrays[name])} rows for {len(rows)} ids")
        self.users = users
        self.user_gmf, self.user_hidden = arrays["user_gmf"], arrays["user_hidden"]
        self.item_gmf, self.item_hidden = arrays["item_gmf"], arrays["item_hidden"]
        self.item_unit = arrays["item_unit"]
        self._cold = ~np.any(self.item_unit, axis=1)
        self._graph = OnnxGraph(graph)

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """True for users the model was trained on."""
        known: NDArray[np.bool_] = self.users.indices(histories.user_ids) >= 0
        return known

    def score_all(self, histories: Histories) -> ScoreArray:
        """Logits for known users, float32 ``[B, n_products]``; zeros for the others."""
        user = self.users.indices(histories.user_ids)
        known = np.flatnonzero(user >= 0)
        scores = np.zeros((len(histories), len(self.products)), dtype=np.float32)
        if len(known) and len(self.products):
            scores[known] = self._logits(user[known])
            if self._cold.all():
                scores[known] = 0.0
            elif self._cold.any():
                behind = scores[known][:, ~self._cold].min(axis=1) - 1.0
                scores[np.ix_(known, self._cold)] = behind[:, None]
        return scores

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """Nearest products by cosine of the item embeddings; an empty row for a cold product."""
        return nearest_by_cosine(self.item_unit, self._cold, products, k)

    def likeness(self, products: IndexArray) -> ScoreArray:
        """Cosine of the item embeddings, 0 where negative."""
        return cosine_likeness(self.item_unit[products])

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "user_ids": self.users.ids,
            "user_order": self.users.order,
            "user_gmf": self.user_gmf,
            "user_hidden": self.user_hidden,
            "item_gmf": self.item_gmf,
            "item_hidden": self.item_hidden,
            "item_unit": self.item_unit,
        }

    def parameters(self) -> dict[str, Any]:
        return {}

    def graphs(self) -> dict[str, bytes]:
        return {GRAPH_NAME: self._graph.content}

    @classmethod
    def restore(cls, stored: StoredModel) -> Self:
        users = IdMap(ids=stored.arrays["user_ids"], order=stored.arrays["user_order"])
        return cls(stored.products, stored.popularity, users, stored.arrays, stored.graphs[GRAPH_NAME])

    def _logits(self, user: IndexArray) -> ScoreArray:
        """Logits of every product for user indices ``user`` (``[m]``, none ``-1``); float32 ``[m, n_products]``."""
        n_products = len(self.products)
        logits = np.empty((len(user), n_products), dtype=np.float32)
        users_per_run = max(1, PAIRS_PER_RUN // n_products)
        for start in range(0, len(user), users_per_run):
            rows = user[start : start + users_per_run]
            for first in range(0, n_products, PAIRS_PER_RUN):
                items = slice(first, first + PAIRS_PER_RUN)
                logits[start : start + len(rows), items] = self._run(rows, items)
        return logits

    def _run(self, user: IndexArray, items: slice) -> ScoreArray:
        # For a batch of one ONNX Runtime uses its matrix-vector kernel, which adds in another order than the matrix
        # kernel. With two rows, a user's scores are equal to the last bit alone and in a batch.
        rows = np.repeat(user, 2) if len(user) == 1 else user
        feed = {
            "user_gmf": self.user_gmf[rows],
            "user_hidden": self.user_hidden[rows],
            "item_gmf": np.asarray(self.item_gmf[items]),
            "item_hidden": np.asarray(self.item_hidden[items]),
        }
        scores: ScoreArray = self._graph.run(GRAPH_OUTPUT, feed)
        return scores[: len(user)]
