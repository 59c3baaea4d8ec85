"""The graph of a very large log in DuckDB against numpy."""

from typing import Any

import numpy as np
import pytest

from lambda_api.recommender.item_weights import SparseWeights
from recsys_assets.models import item_knn
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.item_knn import ItemKnn
from tests.models.hybrid_shop import training_data


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return training_data()


@pytest.mark.parametrize("parameters", [{}, {"binary": False, "event_half_life_days": 20.0, "neighbours": 9}])
def test_the_graph_of_a_large_log_is_that_of_item_knn(
    data: TrainingData, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = ItemKnn(**parameters).fit(data).weights
    monkeypatch.setattr(item_knn, "LARGE_LOG", 0)
    out_of_core = ItemKnn(**parameters).fit(data).weights
    assert isinstance(in_memory, SparseWeights) and isinstance(out_of_core, SparseWeights)
    assert np.array_equal(np.diff(out_of_core.indptr), np.diff(in_memory.indptr))
    rows = np.arange(len(data.products), dtype=np.int32)
    ours, theirs = out_of_core.rows(rows), in_memory.rows(rows)
    # Sums in another order may choose another of two neighbours with nearly equal weights at the border.
    assert np.sort(ours, axis=1) == pytest.approx(np.sort(theirs, axis=1), rel=1e-4, abs=1e-6)
    assert ((ours > 0) == (theirs > 0)).mean() > 0.999
