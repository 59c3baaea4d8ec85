"""How good the models are on a real shop, beside other people's: ``python -m benchmarks.model_quality --data FOLDER``.

FOLDER holds the daily drops of the Online Retail shop (UCI Machine Learning Repository, DOI 10.24432/C5BW33). Global
split in time at 2011-11-20, full ranking, products new to the shopper, NDCG@10 over shoppers with history and at least
one relevant product.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.measure import Row, print_rows
from recsys_assets.models.content import Content
from recsys_assets.models.ease import Ease
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.matrix_factorisation import MatrixFactorisation
from recsys_assets.models.popularity import Popularity
from recsys_assets.models.trainer import Trainer
from tests.models.online_retail import TEST_START, ShopSplit, ndcg, purchases, split
from tests.models.peers import dense_lists, implicit_lists, numpy_ease, pandas_popularity

THREE_DECIMALS = 5e-4
PLAIN: dict[str, Any] = {"half_life_days": None, "trend_power": 0.0}
NAME = "NDCG@10 on Online Retail"


def run(data: Path | None) -> list[Row]:
    """Rows of the table; without ``data`` one row that says what is missing."""
    if data is None:
        return [{"what": NAME, "bar": "", "measured": "skipped: give --data with the daily drops", "met": None}]
    shop = split(data)
    popularity = Popularity(half_life_days=None, type_weights={"purchase": 1.0})
    text_bm25 = ItemKnn(k1=1.2, b=0.75, **PLAIN)
    factorisation = MatrixFactorisation(half_life_days=None, event_half_life_days=None)
    rows = [
        _beside("popularity, all time", popularity, "pandas", _counted(shop, data), shop, 0.0),
        _beside("item-kNN BM25, K=500", text_bm25, "implicit", _implicit_bm25(shop), shop, THREE_DECIMALS),
        _beside("EASE", Ease(**PLAIN), "20-line numpy", _numpy_ease(shop), shop, THREE_DECIMALS),
        _beside("iALS", factorisation, "implicit", _implicit_als(shop, factorisation), shop, THREE_DECIMALS),
    ]
    floors: list[tuple[str, Trainer, float]] = [
        ("popularity, recent", Popularity(), 0.069),
        ("iALS", factorisation, 0.085),
        ("item-kNN BM25, plain", text_bm25, 0.074),
        ("names only, plain", Content(**PLAIN), 0.054),
        ("EASE, plain", Ease(**PLAIN), 0.090),
        ("iALS with recency", MatrixFactorisation(), 0.092),
        ("item-kNN with recency and trend", ItemKnn(), 0.104),
        ("names with recency and trend", Content(), 0.093),
        ("EASE with recency and trend", Ease(), 0.105),
    ]
    return rows + [_at_least(name, trainer, floor, shop) for name, trainer, floor in floors]


def _ours(trainer: Trainer, shop: ShopSplit) -> float:
    recommended = trainer.fit(shop.data).recommend(shop.histories, 10, exclude=shop.seen, fill_with_popular=False)
    return float(ndcg(recommended.products, shop).mean())


def _beside(what: str, trainer: Trainer, peer: str, theirs: np.ndarray, shop: ShopSplit, tolerance: float) -> Row:
    our_score, their_score = _ours(trainer, shop), float(ndcg(theirs, shop).mean())
    return {
        "what": f"{NAME}: {what}",
        "bar": f"equal to {peer}" + ("" if tolerance == 0 else " to 3 decimals"),
        "measured": f"{our_score:.4f} beside {their_score:.4f}",
        "met": abs(our_score - their_score) <= tolerance,
    }


def _at_least(what: str, trainer: Trainer, floor: float, shop: ShopSplit) -> Row:
    score = _ours(trainer, shop)
    return {
        "what": f"{NAME}: {what}",
        "bar": f">= {floor:.3f}",
        "measured": f"{score:.4f}",
        "met": round(score, 3) >= floor,
    }


def _counted(shop: ShopSplit, data: Path) -> np.ndarray:
    frame = purchases(data)
    counts = pandas_popularity(frame[frame["timestamp"] < TEST_START], None, pd.Timestamp(TEST_START))
    scores = counts.reindex(shop.data.products.external(np.arange(len(shop.data.products)))).to_numpy()
    return dense_lists(np.tile(scores, (len(shop.histories), 1)), shop)


def _implicit_bm25(shop: ShopSplit) -> np.ndarray:
    from implicit.nearest_neighbours import BM25Recommender

    matrix = shop.data.matrix(binary=True)
    peer = BM25Recommender(K=500, K1=1.2, B=0.75)
    peer.fit(matrix, show_progress=False)
    return implicit_lists(peer, shop, matrix)


def _numpy_ease(shop: ShopSplit) -> np.ndarray:
    matrix = shop.data.matrix(binary=True)
    return dense_lists(matrix[shop.users].toarray() @ numpy_ease(matrix, Ease().l2), shop)


def _implicit_als(shop: ShopSplit, trainer: MatrixFactorisation) -> np.ndarray:
    from implicit.cpu.als import AlternatingLeastSquares

    confidences = trainer.confidences(shop.data)
    with threadpool_limits(limits=1, user_api="blas"):
        peer = AlternatingLeastSquares(
            factors=trainer.factors,
            regularization=trainer.regularisation,
            alpha=1.0,
            iterations=trainer.iterations,
            random_state=trainer.seed,
        )
        peer.fit(confidences, show_progress=False)
        vectors = peer.recalculate_user(shop.users, confidences[shop.users])
    return dense_lists(vectors @ peer.item_factors.T, shop)


def main(arguments: list[str] | None = None, show: Callable[..., None] = print_rows) -> None:
    """Parse ``--data`` and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.model_quality", description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the shop's daily CSV drops")
    show("model quality on a real shop", run(parser.parse_args(arguments).data))


if __name__ == "__main__":
    main()
