"""The lake that benchmarks are run on has the size asked for."""

from pathlib import Path

import pytest

from benchmarks.synthetic_lake import write_synthetic_lake
from recsys_assets.schema import INTERACTIONS
from tests.ingest.synthetic_shops import digest


@pytest.mark.parametrize(("n_events", "n_users"), [(30_000, 500), (30_000, 10_000)])
def test_the_lake_has_the_size_asked_for(tmp_path: Path, n_events: int, n_users: int) -> None:
    lake = write_synthetic_lake(str(tmp_path / "lake"), n_events, n_users=n_users, n_products=200, days=20)
    interactions = lake.read("interactions")
    assert interactions.schema == INTERACTIONS.schema
    assert abs(interactions.num_rows - n_events) < 0.07 * n_events
    assert len(lake.days("interactions")) == 20
    assert set(interactions["user_id"].to_pylist()) <= set(lake.read("users")["user_id"].to_pylist())
    assert set(interactions["product_id"].to_pylist()) <= set(lake.read("products")["product_id"].to_pylist())
    again = write_synthetic_lake(str(tmp_path / "lake"), n_events, n_users=n_users, n_products=200, days=20)
    assert digest(again.read("interactions")) == digest(interactions)
