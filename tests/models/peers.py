"""The same models by other people's code, on the split of ``online_retail``."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from tests.models.online_retail import ShopSplit


def numpy_ease(matrix: sparse.csr_matrix, l2: float) -> np.ndarray:
    """EASE as in the paper's listing (Steck 2019, algorithm 1), float64."""
    x = matrix.toarray().astype(np.float64)
    gramian = x.T @ x
    gramian[np.diag_indices(gramian.shape[0])] += l2
    inverse = np.linalg.inv(gramian)
    weights = inverse / (-np.diag(inverse))
    weights[np.diag_indices(gramian.shape[0])] = 0
    return weights


def dense_lists(scores: np.ndarray, shop: ShopSplit, k: int = 10) -> np.ndarray:
    """The best ``k`` of dense scores ``[U, n]``, bought products left out, ties by index."""
    scores = scores.astype(np.float64)
    scores[shop.seen.row_of_value, shop.seen.values] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def implicit_lists(model: Any, shop: ShopSplit, matrix: sparse.csr_matrix, k: int = 10) -> np.ndarray:
    """Lists of a fitted implicit model for the judged shoppers, bought products left out."""
    with threadpool_limits(limits=1, user_api="blas"):
        products, scores = model.recommend(shop.users, matrix[shop.users], N=k, filter_already_liked_items=True)
    # implicit pads lists that are too short with the lowest float.
    return np.where(scores <= np.finfo(np.float32).min, -1, products)


def pandas_popularity(frame: pd.DataFrame, half_life_days: float | None, as_of: pd.Timestamp) -> pd.Series:
    """Decayed purchase counts by product id."""
    if half_life_days is None:
        return frame.groupby("product_id").size().astype(float)
    age_days = (as_of - frame["timestamp"]) / pd.Timedelta(days=1)
    return frame.assign(weight=0.5 ** (age_days / half_life_days)).groupby("product_id")["weight"].sum()
