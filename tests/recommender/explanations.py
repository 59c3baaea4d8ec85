"""The terms of one score, as the tests of all models compare them."""

import numpy as np

from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.histories import Histories


def explained(model: Recommender, history: Histories, product: int) -> dict[int, float]:
    """`Recommender.contributions` to one product that are not zero, by past product; each occurs once."""
    past, parts = model.contributions(history, np.array([product], dtype=np.int32))
    assert len(np.unique(past)) == len(past)
    return {int(one): float(part) for one, part in zip(past, parts[0], strict=True) if part != 0}
