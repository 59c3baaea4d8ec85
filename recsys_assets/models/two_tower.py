"""The two-tower model: embedding retrieval of products that a shopper will touch next and has not touched yet.

Training is in ``two_tower_fit``, samples are in ``two_tower_samples``, the network is in ``two_tower_network``.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from lambda_api.recommender.two_tower import TwoTowerRecommender
from recsys_assets.models.attributes import attribute_vectors
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import STRICT
from recsys_assets.models.trainer import Report
from recsys_assets.models.two_tower_parameters import TwoTowerParameters


@dataclass(frozen=True, config=STRICT)
class TwoTower(TwoTowerParameters):
    """A shopper tower and product vectors, trained by cross entropy over all products (`TwoTowerRecommender`).

    Samples are random moments of the past: from a shopper's events before the moment, the network predicts the products
    that the shopper touched for the first time within a horizon after it. The softmax runs over all products, in large
    catalogues over sampled ones with the log-Q correction. A product's vector is a linear function of its description
    (category, brand, words of the name, reduced by a singular value decomposition) plus a vector of its own.
    """

    def fit(self, data: TrainingData, report: Report | None = None) -> TwoTowerRecommender:
        """Choose the number of epochs, train on everything, export and check the export.

        Reports ``validation_recall`` while choosing, and ``loss`` and ``epoch`` throughout.

        Raises:
            NothingToLearn: no interaction has a weight, or no shopper touched a product after another.
            Diverged: the loss did not stay finite.
            ExportError: ONNX Runtime does not reproduce torch's vectors.
        """
        from recsys_assets.models.two_tower_fit import trained_towers

        data = self.learnable(data)
        content = described(data.catalogue, self.described_by, self.seed)
        return trained_towers(self, data, content, report or (lambda name, value: None))[0]


def described(catalogue: pa.Table, size: int, seed: int) -> NDArray[np.float32]:
    """Descriptions reduced to at most ``size`` dimensions, float32 ``[n_products, <= size]``, rows of length 1 or 0."""
    vectors = attribute_vectors(catalogue)
    size = min(size, min(vectors.shape) - 1)
    if size < 1 or vectors.nnz == 0:
        return np.zeros((vectors.shape[0], 0), dtype=np.float32)
    from sklearn.utils.extmath import randomized_svd

    left, strength, _ = randomized_svd(vectors, size, random_state=seed)
    reduced = left * strength
    lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, reduced / np.maximum(lengths, 1e-6), 0.0).astype(np.float32)
