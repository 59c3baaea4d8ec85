"""Counts of a very large log in DuckDB (and Spark, where it runs) against numpy."""

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
from recsys_assets.models.popularity import decayed_popularity
from tests.models.hybrid_shop import training_data

WEIGHTS = {InteractionType.VIEW: 1.0, InteractionType.PURCHASE: 4.0}


def events_of(data: TrainingData) -> pa.Table:
    return pa.table({"user": data.user, "product": data.product, "kind": data.kind, "seconds": data.timestamp})


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return training_data()


@pytest.fixture(params=["duckdb", pytest.param("spark", marks=pytest.mark.slow)])
def events(request: pytest.FixtureRequest, data: TrainingData) -> Iterator[tuple[Any, Any]]:
    """The connection and the log as a table of it."""
    if request.param == "duckdb":
        connection = ibis.duckdb.connect()
        yield connection, ibis.memtable(events_of(data))
        return
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
    connection = ibis.pyspark.connect(session)
    connection.create_view("events", ibis.memtable(events_of(data).slice(0, 3_000)), overwrite=True)
    yield connection, connection.table("events")
    session.stop()


@pytest.mark.parametrize("half_life", [None, 7.0])
def test_popularity_equals_numpy(events: tuple[Any, Any], data: TrainingData, half_life: float | None) -> None:
    connection, log = events
    rows = connection.to_pyarrow(log.count()).as_py()
    found = connection.to_pyarrow(log_counts.popularity(log, WEIGHTS, data.as_of, half_life))
    dense = np.zeros(len(data.products))
    dense[found["product"].to_numpy()] = found["popularity"].to_numpy()
    some = data.where(np.arange(rows))
    assert dense == pytest.approx(decayed_popularity(some, WEIGHTS, half_life), rel=1e-5)


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
