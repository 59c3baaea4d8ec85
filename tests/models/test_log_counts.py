"""The graph of a very large log in DuckDB against numpy, and on Spark against DuckDB."""

import shutil
from collections.abc import Iterator
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest

from lambda_api.interactions import InteractionType
from lambda_api.recommender.item_weights import SparseWeights
from recsys_assets.models import item_knn, log_counts
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


@pytest.fixture
def on_spark() -> Iterator[Any]:
    pyspark = pytest.importorskip("pyspark.sql", reason="install the extra `spark` to compare engines")
    if shutil.which("java") is None:
        pytest.skip("PySpark needs Java 17 on the PATH")
    session = (
        pyspark.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    yield ibis.pyspark.connect(session)
    session.stop()


@pytest.mark.slow
def test_spark_counts_the_graph_that_duckdb_counts(on_spark: Any, data: TrainingData) -> None:
    columns = {"user": data.user, "product": data.product, "kind": data.kind, "seconds": data.timestamp}
    log = pa.table(columns).slice(0, 2_000)
    weights = {InteractionType.VIEW: 1.0, InteractionType.PURCHASE: 4.0}

    def graph(connection: Any) -> pa.Table:
        connection.create_view("events", ibis.memtable(log), overwrite=True)
        pairs = log_counts.user_pairs(connection.table("events"), weights, data.as_of, 7.0, binary=False)
        products = len(data.products)
        # All neighbours: of nearly equal weights at a border the engines may choose another.
        found = log_counts.nearest(log_counts.bm25(pairs, products, k1=1.2, b=0.75), neighbours=products)
        return connection.to_pyarrow(found).sort_by([("product", "ascending"), ("other", "ascending")])

    ours, theirs = graph(on_spark), graph(ibis.duckdb.connect())
    assert ours.num_rows > 1_000
    for name in ("product", "other"):
        assert ours[name].to_pylist() == theirs[name].to_pylist()
    assert ours["weight"].to_numpy() == pytest.approx(theirs["weight"].to_numpy(), rel=1e-9)
