"""The recommender of implicit-feedback matrix factorisation, with shoppers folded in at request time.

Put scoring from item factors here. Keep the alternating least squares that finds them in ``recsys_assets.models``.
Only item factors are kept: a shopper's vector is solved from the history of the moment, so a shopper who came after
training is served like any other and the last click counts at once.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import Contribution, Parameters, Recommendations, Recommender, ScoreArray
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.profiles import EventWeighting, Profiles
from lambda_api.recommender.topk import top_k

SYSTEMS_PER_CHUNK = 256
"""Linear systems held at once: 8 MB at 64 factors."""


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
    ) -> None:
        """``item_factors``: float32 ``[n_products, f]``; ``gramian``: float64 ``[f, f]``, their ``Yt Y``.

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
        self.item_factors = item_factors
        self.gramian = gramian
        self.weighting = weighting
        self.regularisation = float(regularisation)
        self.alpha = float(alpha)
        self._unit: NDArray[np.float32] | None = None

    def score_all(self, histories: Histories) -> ScoreArray:
        """See the class; float32 ``[B, n_products]``."""
        vectors = self.shopper_factors(histories).astype(np.float32)
        scores = np.empty((len(vectors), len(self.products)), dtype=np.float32)
        for row, vector in enumerate(vectors):
            # One product per shopper: a matrix product rounds a row by its place in the batch, and lists would
            # then depend on who else was asked for.
            np.matmul(self.item_factors, vector, out=scores[row])
        return scores

    def shopper_factors(self, histories: Histories) -> NDArray[np.float64]:
        """The vector ``x_b`` of each shopper, float64 ``[B, f]``; zeros for a shopper without a weighted event."""
        profiles = self.weighting.profiles(histories)
        vectors = np.empty((len(profiles), self.item_factors.shape[1]), dtype=np.float64)
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

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """Products by cosine of their factors; a cold product has no direction, is similar to none and none to it."""
        products = np.asarray(products, dtype=np.int32)
        unit = self._unit_factors()
        cold = ~np.any(unit, axis=1)
        chosen = np.full((len(products), k), -1, dtype=np.int32)
        scores = np.full((len(products), k), -np.inf, dtype=np.float32)
        for start in range(0, len(products), SYSTEMS_PER_CHUNK):
            part = products[start : start + SYSTEMS_PER_CHUNK]
            cosine = unit[part] @ unit.T
            cosine[:, cold] = -np.inf
            cosine[cold[part]] = -np.inf
            cosine[np.arange(len(part)), part] = -np.inf
            chosen[start : start + len(part)], scores[start : start + len(part)] = top_k(cosine, k)
        return Recommendations(chosen, scores)

    def explain(self, history: Histories, product: int) -> list[Contribution]:
        """The score as a sum over past products: ``c_i * y_j^T W y_i`` with ``W`` the inverse of the shopper's system.

        Hu, Koren & Volinsky 2008, section 5. The contributions sum to the score.
        """
        profiles = self.weighting.profiles(history)
        if len(profiles.products) == 0:
            return []
        left, _ = self._system(profiles, 0)
        seen = self.item_factors[profiles.products].astype(np.float64)
        towards = np.linalg.solve(left, self.item_factors[product].astype(np.float64))
        terms = (1.0 + self.alpha * profiles.weights) * (seen @ towards)
        order = np.argsort(-terms, kind="stable")
        return [Contribution(int(profiles.products[at]), float(terms[at])) for at in order]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``item_factors`` and ``gramian``."""
        return {"item_factors": self.item_factors, "gramian": self.gramian}

    def parameters(self) -> dict[str, Any]:
        """How events are weighted, ``regularisation`` and ``alpha``."""
        return {
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
        return cls(
            products,
            popularity,
            item_factors=arrays["item_factors"],
            gramian=arrays["gramian"],
            weighting=EventWeighting.from_parameters(parameters["weighting"]),
            regularisation=parameters["regularisation"],
            alpha=parameters["alpha"],
        )

    def _unit_factors(self) -> NDArray[np.float32]:
        if self._unit is None:
            norms = np.linalg.norm(self.item_factors, axis=1)
            self._unit = (self.item_factors / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)
        return self._unit

    def _system(self, profiles: Profiles, row: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        pairs = slice(int(profiles.indptr[row]), int(profiles.indptr[row + 1]))
        seen = self.item_factors[profiles.products[pairs]].astype(np.float64)
        extra = self.alpha * profiles.weights[pairs]
        left = self.gramian + (seen.T * extra) @ seen
        left[np.diag_indices_from(left)] += self.regularisation
        return left, seen.T @ (1.0 + extra)
