"""Fitted arrays against other people's code on a small made-up shop: no real data are needed to notice a slip."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from lambda_api.interactions import InteractionType
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ease import Ease
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.matrix_factorisation import MatrixFactorisation
from recsys_assets.schema import INTERACTIONS, PRODUCTS
from tests.models.peers import numpy_ease

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
USERS, CATALOGUE, EVENTS = 150, 60, 3000
WEIGHTS = {"view": 1.0, "add_to_cart": 2.0, "purchase": 4.0}


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """Skewed towards some products and shoppers; ten products of the catalogue are never touched."""
    generator = np.random.default_rng(5)
    user = (USERS * generator.random(EVENTS) ** 2).astype(int)
    product = ((CATALOGUE - 10) * generator.random(EVENTS) ** 2).astype(int)
    seconds = generator.integers(1, 90 * 86_400, size=EVENTS)
    interactions = pa.table(
        {
            "interaction_id": [str(row) for row in range(EVENTS)],
            "user_id": [f"u{index}" for index in user],
            "product_id": [f"p{index}" for index in product],
            "interaction_type": generator.choice(list(WEIGHTS), size=EVENTS, p=[0.7, 0.2, 0.1]).tolist(),
            "timestamp": pa.array(
                [AS_OF - timedelta(seconds=int(second)) for second in seconds], pa.timestamp("us", tz="UTC")
            ),
        }
    )
    products = pa.table({"product_id": [f"p{index}" for index in range(CATALOGUE)]})
    return TrainingData.from_tables(INTERACTIONS.conform(interactions), PRODUCTS.conform(products), as_of=AS_OF)


def everything(data: TrainingData) -> np.ndarray:
    return np.arange(len(data.products), dtype=np.int32)


def test_ease_is_the_paper_in_numpy(data: TrainingData) -> None:
    expected = numpy_ease(data.matrix(binary=True), 20.0)
    found = Ease(l2=20.0).fit(data).weights.rows(everything(data))
    assert np.abs(found - expected).max() < 1e-6
    assert (np.diag(found) == 0).all()
    pruned = Ease(l2=20.0, top_neighbours=7).fit(data).weights.rows(everything(data))
    for row, line in enumerate(found):
        best = [column for column in np.argsort(-line, kind="stable")[:7] if line[column] > 0]
        assert np.flatnonzero(pruned[row]).tolist() == sorted(best)
        assert (pruned[row, best] == line[best]).all()


@pytest.mark.parametrize("scheme", ["bm25", "tfidf", "cosine"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("neighbours", [11, CATALOGUE])
def test_item_knn_is_that_of_implicit(data: TrainingData, scheme: str, binary: bool, neighbours: int) -> None:
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    peers = {
        "bm25": BM25Recommender(K=neighbours, K1=1.7, B=0.4),
        "tfidf": TFIDFRecommender(K=neighbours),
        "cosine": CosineRecommender(K=neighbours),
    }
    by_type = {InteractionType.from_label(label): weight for label, weight in WEIGHTS.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        peers[scheme].fit(data.matrix(by_type, binary=binary), show_progress=False)
    expected = np.nan_to_num(peers[scheme].similarity.toarray())
    trainer = ItemKnn(scheme=scheme, neighbours=neighbours, k1=1.7, b=0.4, binary=binary, type_weights=WEIGHTS)  # type: ignore[arg-type]
    weights = trainer.fit(data).weights
    found = weights.rows(everything(data))
    assert (np.count_nonzero(found, axis=1) <= neighbours).all()
    # Sorted rows, so that neighbours tied at the border may be any of them.
    assert np.sort(found, axis=1) == pytest.approx(np.sort(expected, axis=1), rel=1e-5, abs=1e-6)
    border = np.where(found > 0, found, np.inf).min(axis=1)
    surely = found > border[:, None] * (1 + 1e-5)
    assert found[surely] == pytest.approx(expected[surely], rel=1e-5)


def test_matrix_factorisation_is_that_of_implicit(data: TrainingData) -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    trainer = MatrixFactorisation(
        factors=6, regularisation=2.0, alpha=3.0, iterations=4, half_life_days=None, event_half_life_days=None,
        combine="sum", seed=3,
    )  # fmt: skip
    model = trainer.fit(data)
    # Hu, Koren & Volinsky: c = 1 + alpha r, r relative to the weight of a purchase.
    counts = data.matrix({InteractionType.from_label(label): weight / 4 for label, weight in WEIGHTS.items()})
    confidences = sparse.csr_matrix((1 + 3.0 * counts.data, counts.indices, counts.indptr), shape=counts.shape)
    with threadpool_limits(limits=1, user_api="blas"):
        peer = AlternatingLeastSquares(factors=6, regularization=2.0, alpha=1.0, iterations=4, random_state=3)
        peer.fit(confidences.astype(np.float32), show_progress=False)
        folded_in = peer.recalculate_user(np.arange(len(data.users)), confidences.astype(np.float32))
    assert np.abs(model.item_factors - peer.item_factors).max() < 1e-4
    assert np.abs(model.shopper_factors(data.histories()) - folded_in).max() < 1e-3
    assert model.gramian == pytest.approx(peer.item_factors.T @ peer.item_factors, abs=1e-3)
