"""The graph from source to validated interactions: replacement, reconciliation, ranges, deliveries that go wrong."""

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlparse

import dagster as dg
import pytest

from recsys_assets.quality.checks import raw_interactions_checks
from recsys_assets.quality.suites import RULES
from tests.quality.shop import (
    COLUMNS,
    DAY,
    NEXT,
    ROWS,
    Shop,
    as_csv,
    failure_text,
    good_rows,
    materialised,
    truncated_gzip,
)

LATER = NEXT + timedelta(days=1)


def test_a_run_again_replaces_and_never_doubles(shop: Shop) -> None:
    shop.deliver(DAY, as_csv(good_rows()))
    for _ in range(2):
        assert shop.run(DAY).success
        assert (shop.count("raw_interactions"), shop.count("interactions")) == (ROWS, ROWS)
    shop.deliver(DAY, as_csv(good_rows(count=ROWS // 2)))
    assert shop.run(DAY).success
    assert (shop.count("raw_interactions"), shop.count("interactions")) == (ROWS // 2, ROWS // 2)


def test_counts_reconcile_from_file_to_lake(shop: Shop) -> None:
    rows = good_rows(count=100)
    rows[10]["price"] = "-1"
    rows[20]["user_id"] = "nobody"
    malformed = b"one,field,too,few\n"
    shop.deliver(DAY, as_csv([*rows, rows[0]]) + malformed)
    result = shop.run(DAY)
    assert result.success, failure_text(result)
    assert (shop.count("raw_interactions"), shop.count("set_aside_interactions")) == (101, 1)
    assert (shop.count("interactions"), shop.count("quarantined_interactions")) == (98, 3)
    quarantined = shop.lake.read("quarantined_interactions")
    assert quarantined["source_row"].to_pylist() == [10, 20, 100]
    assert quarantined["reason"].to_pylist() == ["price_non_negative", "user_id_known", "interaction_id_unique"]
    assert json.loads(quarantined["raw"][1].as_py())["user_id"] == "nobody"
    metadata = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    raw, kept = metadata["raw_interactions"], metadata["interactions"]
    assert raw["rows_read"].value == raw["rows_delivered"].value + raw["rows_set_aside"].value == 102
    assert kept["rows_in"].value == kept["rows_accepted"].value + kept["rows_quarantined"].value == 101
    beside = [metadata[name] for name in ("set_aside_interactions", "quarantined_interactions")]
    assert [one["dagster/row_count"].value for one in beside] == [1, 3]
    assert [one["rows_of_this_run"].value for one in beside] == [1, 3]
    # The rows are put right and delivered again: nothing of the earlier quarantine stays behind.
    shop.deliver(DAY, as_csv(good_rows(count=100)))
    assert shop.run(DAY).success
    assert (shop.count("interactions"), shop.count("quarantined_interactions")) == (100, 0)
    assert shop.count("set_aside_interactions") == 0


def test_an_unreadable_new_delivery_leaves_the_stored_day_alone_but_shuts_it(shop: Shop) -> None:
    shop.deliver(DAY, as_csv(good_rows()))
    assert shop.run(DAY).success
    shop.deliver(DAY, truncated_gzip(good_rows()))
    assert not shop.run(DAY).success
    assert (shop.count("raw_interactions"), shop.count("interactions")) == (ROWS, ROWS)
    assert not shop.run(only=["downstream"]).success
    assert not shop.run(DAY, only=["interactions"]).success


def test_a_bad_drop_that_is_withdrawn_no_longer_stands_in_the_way(shop: Shop) -> None:
    shop.deliver(DAY, as_csv(good_rows()))
    shop.deliver(NEXT, b"")
    assert not shop.run(DAY, NEXT).success
    shop.withdraw(NEXT)
    result = shop.run(DAY, NEXT)
    assert result.success, failure_text(result)
    assert shop.lake.days("interactions") == [DAY]


def test_one_bad_day_of_a_range_is_named_and_the_rest_need_not_be_read_again(shop: Shop) -> None:
    for day in (DAY, NEXT, LATER):
        shop.deliver(day, as_csv(good_rows(day)))
    shop.deliver(NEXT, as_csv([{**row, "price": "-1"} for row in good_rows(NEXT)]))
    failed = shop.run(DAY, NEXT, LATER)
    assert not failed.success
    (price,) = [check for check in failed.get_asset_check_evaluations() if not check.passed]
    assert price.check_name == "price_non_negative"
    assert price.metadata["failing"].value == str(NEXT)
    assert price.metadata["failed_rows"].value == ROWS
    assert price.metadata["rows"].value == 3 * ROWS
    shop.deliver(NEXT, as_csv(good_rows(NEXT)))
    assert shop.run(NEXT).success is False  # downstream: the other two days are not in interactions yet
    assert shop.run(DAY, LATER, only=["interactions"]).success
    assert shop.run(only=["downstream"]).success
    assert shop.lake.days("interactions") == [DAY, NEXT, LATER]


def test_an_id_may_not_come_back_on_another_day(shop: Shop) -> None:
    again = [{**row, "interaction_id": f"{DAY}-{i}"} for i, row in enumerate(good_rows(NEXT))]
    shop.deliver(DAY, as_csv(good_rows()))
    shop.deliver(NEXT, as_csv(again))
    together = shop.run(DAY, NEXT)
    assert "interaction_id_new" in failure_text(together)
    assert str(NEXT) in failure_text(together)
    shop.deliver(NEXT, as_csv(again[:1] + good_rows(NEXT)[1:]))
    result = shop.run(DAY, NEXT)
    assert result.success, failure_text(result)
    assert (shop.count("interactions", DAY), shop.count("interactions", NEXT)) == (ROWS, ROWS - 1)
    # The same verdict when the other day is already validated and not part of the run.
    assert shop.run(NEXT).success
    assert shop.count("interactions", NEXT) == ROWS - 1
    assert shop.run(DAY).success
    assert shop.count("interactions", DAY) == ROWS


def test_a_raw_day_that_was_never_judged_is_judged_before_it_is_used(shop: Shop) -> None:
    shop.deliver(DAY, as_csv(good_rows()))
    assert shop.run(DAY).success
    shop.deliver(DAY, as_csv([{**row, "user_id": "nobody"} for row in good_rows()]))
    assert shop.run(DAY, only=["raw_interactions"]).success
    assert "not validated yet" in failure_text(shop.run(only=["downstream"]))
    alone = shop.run(DAY, only=["interactions"])
    assert not alone.success
    assert "user_id_known" in failure_text(alone)
    assert "user_id_known" in failure_text(shop.run(only=["downstream"]))


@pytest.mark.parametrize(
    ("name", "columns", "rows", "named"),
    [
        ("products", ["product_id", "price"], [["p1", "dear"]], "products.price"),
        ("users", ["user_id", "age"], [["u1", 20], ["u1", 30]], "user_id_unique"),
    ],
)
def test_a_bad_catalogue_or_user_file_stops_everything(
    shop: Shop, name: str, columns: list[str], rows: list[list[object]], named: str
) -> None:
    shop.deliver(DAY, as_csv(good_rows()))
    good = (shop.root / "data" / f"{name}.csv").read_bytes()
    assert shop.run(DAY).success
    shop.write_table(name, columns, rows)
    failed = shop.run(DAY)
    assert named in failure_text(failed)
    assert materialised(failed).isdisjoint({"interactions", "downstream"})
    assert named in failure_text(shop.run(only=["downstream"]))
    assert named in failure_text(shop.run(DAY, only=["interactions"]))
    (shop.root / "data" / f"{name}.csv").write_bytes(good)
    assert shop.run(DAY).success


def test_events_of_a_product_that_left_the_catalogue_are_kept(shop: Shop) -> None:
    shop.deliver(DAY, as_csv(good_rows()))
    assert shop.run(DAY).success
    shop.write_table("products", ["product_id", "name"], [[f"p{i}", f"thing {i}"] for i in range(6)])
    shop.deliver(NEXT, as_csv(good_rows(NEXT)))
    result = shop.run(DAY, NEXT)
    assert result.success, failure_text(result)
    assert shop.count("interactions", NEXT) == ROWS
    available = dict(zip(*shop.lake.read("products", ["product_id", "available"]).to_pydict().values(), strict=True))
    assert available == {f"p{i}": i < 6 for i in range(11)}


def test_events_on_days_to_come_are_not_lost_from_sight(shop: Shop) -> None:
    shop.deliver(DAY, as_csv(good_rows()))
    ahead = shop.deliver(date(2199, 1, 1), as_csv(good_rows(date(2199, 1, 1))))
    failed = shop.run(DAY)
    assert not failed.success
    assert "2199-01-01" in failure_text(failed)
    assert "2199-01-01" in failure_text(shop.run(only=["downstream"]))
    ahead.unlink()
    assert shop.run(DAY).success


def test_check_results_mirror_the_rules(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.deliver(DAY, as_csv(good_rows()))
    shop.write_table("users", ["user_id", "age"], [[f"u{i}", 200 if i == 0 else 20] for i in range(7)])
    result = shop.run(DAY)
    assert result.success  # an odd age is a warning
    found = {(c.asset_key.to_user_string(), c.check_name): c for c in result.get_asset_check_evaluations()}
    asset = {"interactions": "raw_interactions"}
    assert set(found) == {(asset.get(table, table), rule.check) for table, rules in RULES.items() for rule in rules}
    assert [key for key, check in found.items() if not check.passed] == [("users", "age_in_range")]
    assert found["users", "age_in_range"].severity == dg.AssetCheckSeverity.WARN
    blocking = {spec.name: spec.blocking for spec in raw_interactions_checks.check_specs}
    assert blocking == {rule.check: rule.severity == "critical" for rule in RULES["interactions"]}
    for check in found.values():
        page = Path(urlparse(str(check.metadata["data_docs"].value)).path)
        assert "Great Expectations" in page.read_text()


def test_importing_the_stage_does_not_load_great_expectations() -> None:
    program = (
        "import sys; import recsys_assets.ingest.assets, recsys_assets.quality.assets, recsys_assets.quality.checks; "
        "print(*{'great_expectations', 'torch', 'sklearn', 'implicit', 'sagemaker'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_columns_in_another_order_change_nothing(shop: Shop) -> None:
    shop.deliver(DAY, as_csv(good_rows(), list(reversed(COLUMNS))))
    assert shop.run(DAY).success
    assert shop.count("interactions") == ROWS
