"""Our models against other people's on a real shop: same split, same parameters, same lists."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.item_weights import SparseWeights
from recsys_assets.models.content import Content
from recsys_assets.models.ease import Ease
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.matrix_factorisation import MatrixFactorisation
from recsys_assets.models.popularity import Popularity
from tests.models.online_retail import TEST_START, ShopSplit, ndcg, purchases, split
from tests.models.peers import dense_lists, implicit_lists, numpy_ease, pandas_popularity

pytestmark = pytest.mark.slow

PLAIN = {"half_life_days": None, "trend_power": 0.0}
"""No recency, no trend: the models as their papers have them."""


@pytest.fixture(scope="session")
def shop(shared_data: Path) -> ShopSplit:
    return split(shared_data / "online_retail")


@pytest.fixture(scope="session")
def matrix(shop: ShopSplit) -> sparse.csr_matrix:
    return shop.data.matrix(binary=True)


@pytest.fixture(scope="session")
def ease(shop: ShopSplit) -> Recommender:
    return Ease(l2=300.0, **PLAIN).fit(shop.data)


def lists(model: Recommender, shop: ShopSplit, *, padded: bool = True) -> np.ndarray:
    return model.recommend(shop.histories, 10, exclude=shop.seen, fill_with_popular=padded).products


def same_up_to_ties(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of shoppers with the same set of products; sets, because peers order ties as they please."""
    return float(np.mean([set(a) == set(b) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]))


def test_the_split_is_the_one_the_published_figures_used(shop: ShopSplit, shared_data: Path) -> None:
    assert len(shop.histories) == 962
    assert shop.relevant_count.mean() == pytest.approx(17.9, abs=0.05)
    assert len(split(shared_data / "online_retail", repeats=True).histories) == 1064


@pytest.mark.parametrize("half_life", [None, 7.0])
def test_popularity_is_what_pandas_counts(shop: ShopSplit, shared_data: Path, half_life: float | None) -> None:
    model = Popularity(half_life_days=half_life, type_weights={"purchase": 1.0}).fit(shop.data)
    frame = purchases(shared_data / "online_retail")
    frame = frame[frame["timestamp"] < TEST_START]
    counted = pandas_popularity(frame, half_life, pd.Timestamp(TEST_START))
    names = shop.data.products.external(np.arange(len(shop.data.products)))
    expected = counted.reindex(names).to_numpy().astype(np.float32)
    # Sums of decayed weights may be added up in another order; counts may not differ at all.
    assert model.popularity == pytest.approx(expected, rel=0 if half_life is None else 1e-6, abs=0)
    ours = ndcg(lists(model, shop), shop).mean()
    assert ours == ndcg(dense_lists(np.tile(expected, (len(shop.histories), 1)), shop), shop).mean()
    if half_life is None:
        assert ours == pytest.approx(0.025, abs=5e-4)


@pytest.mark.slow
def test_ease_is_the_paper_in_numpy(shop: ShopSplit, matrix: sparse.csr_matrix, ease: Recommender) -> None:
    expected = numpy_ease(matrix, 300.0)
    assert np.abs(ease.arrays()["weights"] - expected).max() < 1e-6
    theirs = dense_lists(matrix[shop.users].toarray() @ expected, shop)
    ours = lists(ease, shop)
    assert same_up_to_ties(ours, theirs) == 1.0
    assert ndcg(ours, shop).mean() == pytest.approx(ndcg(theirs, shop).mean(), abs=5e-5)


def test_ease_is_that_of_irspack(matrix: sparse.csr_matrix, ease: Recommender) -> None:
    from irspack.recommenders import DenseSLIMRecommender

    peer = DenseSLIMRecommender(matrix, reg=300.0).learn()
    assert np.abs(ease.arrays()["weights"] - np.asarray(peer.W)).max() < 1e-5


def test_pruned_ease_keeps_the_largest_weights(shop: ShopSplit, ease: Recommender) -> None:
    pruned = Ease(l2=300.0, top_neighbours=50, **PLAIN).fit(shop.data)
    assert isinstance(pruned.weights, SparseWeights)
    dense = ease.arrays()["weights"]
    rows = pruned.weights.rows(np.arange(len(dense), dtype=np.int32))
    kept = rows > 0
    assert (rows[kept] == dense[kept]).all()
    assert kept.sum(axis=1).max() <= 50
    least_kept = np.where(kept, dense, np.inf).min(axis=1)
    most_dropped = np.where(kept, -np.inf, dense).max(axis=1)
    full = kept.sum(axis=1) == 50
    assert (least_kept[full] >= most_dropped[full]).all()
    assert ndcg(lists(pruned, shop), shop).mean() == pytest.approx(ndcg(lists(ease, shop), shop).mean(), abs=0.006)


@pytest.mark.parametrize("scheme", ["bm25", "tfidf", "cosine"])
@pytest.mark.parametrize("binary", [True, False])
def test_item_knn_is_that_of_implicit(shop: ShopSplit, matrix: sparse.csr_matrix, scheme: str, binary: bool) -> None:
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    peer_types = {
        "bm25": lambda: BM25Recommender(K=500, K1=1.2, B=0.75),
        "tfidf": lambda: TFIDFRecommender(K=500),
        "cosine": lambda: CosineRecommender(K=500),
    }
    weights = {"purchase": 1.0}
    counts = matrix if binary else shop.data.matrix({2: 1.0})  # type: ignore[dict-item]
    peer = peer_types[scheme]()
    peer.fit(counts, show_progress=False)
    model = ItemKnn(scheme=scheme, neighbours=500, k1=1.2, b=0.75, binary=binary, type_weights=weights, **PLAIN).fit(
        shop.data
    )  # type: ignore[arg-type]
    theirs = implicit_lists(peer, shop, counts)
    ours = lists(model, shop, padded=False)
    # The weights agree but for neighbours tied at the border of the 500, of which each side keeps some.
    ours_only = sparse.csr_matrix((model.weights.data, model.weights.indices, model.weights.indptr)) - peer.similarity
    differing = ours_only.tocoo()
    border = np.minimum.reduceat(model.weights.data, model.weights.indptr[:-1])[differing.row]
    assert (np.minimum(abs(differing.data), abs(abs(differing.data) - border)) < 1e-4 * border).all()
    assert same_up_to_ties(ours, theirs) > 0.98
    assert ndcg(ours, shop).mean() == pytest.approx(ndcg(theirs, shop).mean(), abs=5e-4)


def test_unpruned_cosine_is_that_of_irspack(shop: ShopSplit, matrix: sparse.csr_matrix) -> None:
    from irspack.recommenders import CosineKNNRecommender

    products = len(shop.data.products)
    peer = CosineKNNRecommender(matrix, shrinkage=0.0, normalize=True, top_k=products).learn()
    model = ItemKnn(scheme="cosine", neighbours=products, **PLAIN).fit(shop.data)
    ours = model.weights.rows(np.arange(products, dtype=np.int32))
    np.fill_diagonal(ours, 0.0)
    assert np.abs(ours - peer.W.toarray()).max() < 1e-6


def test_matrix_factorisation_is_that_of_implicit(shop: ShopSplit) -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    trainer = MatrixFactorisation(
        factors=32, regularisation=3.0, alpha=1.0, iterations=8, half_life_days=60.0, event_half_life_days=None,
        seed=7,
    )  # fmt: skip
    model = trainer.fit(shop.data)
    confidences = trainer.confidences(shop.data)
    with threadpool_limits(limits=1, user_api="blas"):
        peer = AlternatingLeastSquares(
            factors=32, regularization=3.0, alpha=1.0, iterations=8, random_state=7, calculate_training_loss=False
        )
        peer.fit(confidences, show_progress=False)
        folded_in = peer.recalculate_user(shop.users, confidences[shop.users])
    assert np.abs(peer.item_factors - model.item_factors).max() < 1e-5
    assert np.abs(model.shopper_factors(shop.histories) - folded_in).max() < 1e-3
    theirs = dense_lists(folded_in @ peer.item_factors.T, shop)
    ours = lists(model, shop)
    assert same_up_to_ties(ours, theirs) > 0.98
    assert ndcg(ours, shop).mean() == pytest.approx(ndcg(theirs, shop).mean(), abs=5e-4)


def test_confidences_are_hu_koren_volinsky_on_counts(shop: ShopSplit, matrix: sparse.csr_matrix) -> None:
    trainer = MatrixFactorisation(
        alpha=2.5, combine="sum", half_life_days=None, event_half_life_days=None, type_weights={"purchase": 3.0}
    )
    counts = shop.data.matrix({2: 1.0})  # type: ignore[dict-item]
    expected = counts.copy()
    expected.data = 1 + 2.5 * counts.data
    assert np.abs(trainer.confidences(shop.data) - expected).max() < 1e-5


QUALITY_BARS = {
    "popularity, all time": (Popularity(half_life_days=None), 0.025),
    "popularity, recent": (Popularity(), 0.069),
    "item-kNN, plain": (ItemKnn(k1=1.2, b=0.75, **PLAIN), 0.074),
    "item-kNN": (ItemKnn(), 0.104),
    "EASE, plain": (Ease(**PLAIN), 0.089),
    "EASE": (Ease(), 0.105),
    "matrix factorisation, plain": (MatrixFactorisation(event_half_life_days=None), 0.085),
    "matrix factorisation": (MatrixFactorisation(), 0.092),
    "content, plain": (Content(**PLAIN), 0.054),
    "content": (Content(), 0.093),
}
"""Floors of NDCG@10 on new products: what other code of the same methods is known to reach on this split."""


@pytest.mark.parametrize("name", QUALITY_BARS)
def test_defaults_reach_what_is_known_to_be_reachable(shop: ShopSplit, name: str) -> None:
    trainer, floor = QUALITY_BARS[name]
    assert ndcg(lists(trainer.fit(shop.data), shop), shop).mean() >= floor
