"""The gate by itself: what each state refuses, what it says, and that it outlives the process that shut it."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from recsys_assets import data_gate
from recsys_assets.lake import Lake
from recsys_assets.quality.row_checks import ValidationContext
from recsys_assets.quality.validation import validate_table
from recsys_assets.schema import PRODUCTS
from tests.quality.shop import DAY, NEXT, good_rows, validate_day
from tests.quality.test_validation import CONTEXT, table_of

NOW = datetime(2011, 3, 2, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def refused(lake: Lake, start: date | None = None, end: date | None = None) -> str:
    with pytest.raises(data_gate.GateClosed) as caught:
        data_gate.require_open(lake, start, end)
    return str(caught.value)


def test_a_lake_without_gates_is_open(lake: Lake) -> None:
    data_gate.require_open(lake)


def test_a_good_day_opens_in_three_steps(lake: Lake) -> None:
    data_gate.mark_waiting(lake, DAY)
    assert "not validated yet" in refused(lake)
    verdict = validate_day(DAY, table_of(good_rows()), CONTEXT)
    data_gate.record_verdict(lake, verdict, "sum")
    assert "not in interactions yet" in refused(lake)
    data_gate.open_gate(lake, DAY)
    data_gate.require_open(lake)
    data_gate.open_gate(lake, DAY)


def test_a_bad_day_is_refused_with_rule_rows_example_and_remedy_by_another_process(lake: Lake) -> None:
    rows = [{**row, "price": "-7"} for row in good_rows()]
    data_gate.record_verdict(lake, validate_day(DAY, table_of(rows), CONTEXT), "sum")
    imports = "from recsys_assets.lake import Lake; from recsys_assets.data_gate import require_open"
    program = f"{imports}; require_open(Lake({lake.root!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for part in (
        str(DAY),
        "price_non_negative",
        "40 of 40 rows",
        "price='-7'",
        "Remedy",
        "materialise raw_interactions",
    ):
        assert part in done.stderr


def test_only_the_days_asked_for_count_but_tables_always_do(lake: Lake) -> None:
    data_gate.mark_unreadable(lake, DAY, "broken")
    data_gate.require_open(lake, start=NEXT)
    data_gate.require_open(lake, end=DAY)
    assert "broken" in refused(lake, start=DAY, end=NEXT)
    products = PRODUCTS.conform(pa.table({"product_id": ["a", "a"], "available": [True, True]}))
    data_gate.record_verdict(lake, validate_table("products", products, NOW))
    message = refused(lake, start=NEXT)
    assert "product_id_unique" in message
    assert "2 of 2 rows" in message
    assert "broken" not in message


def test_many_gates_make_a_message_one_can_read(lake: Lake) -> None:
    for number in range(data_gate.MAX_LISTED + 5):
        data_gate.mark_unreadable(lake, DAY + timedelta(days=number), f"broken {number}")
    for number in range(100, 150):
        data_gate.mark_waiting(lake, DAY + timedelta(days=number))
    message = refused(lake)
    assert "65 deliveries" in message
    assert "and 5 more" in message
    assert "50 deliveries from" in message
    assert message.count("\n") < data_gate.MAX_LISTED + 5


def test_the_stored_failures_are_those_of_the_file_that_was_validated(lake: Lake) -> None:
    assert data_gate.stored_failures(lake, DAY) is None
    rows = good_rows()
    rows[2]["user_id"] = "nobody"
    lake.write_day("raw_interactions", DAY, table_of(rows))
    verdict = validate_day(DAY, table_of(rows), CONTEXT)
    checksum = data_gate.delivery_checksum(lake, DAY)
    data_gate.record_verdict(lake, verdict, checksum)
    assert verdict.failures.num_rows == 1
    assert data_gate.stored_failures(lake, DAY) == data_gate.stored_failures(lake, DAY, checksum) == verdict.failures
    lake.write_day("raw_interactions", DAY, table_of(good_rows()))
    assert data_gate.stored_failures(lake, DAY, data_gate.delivery_checksum(lake, DAY)) is None


def test_a_crash_between_verdict_and_gate_leaves_the_gate_shut(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    data_gate.mark_waiting(lake, DAY)
    monkeypatch.setattr(data_gate, "_write_gate", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    surroundings: ValidationContext = CONTEXT
    with pytest.raises(OSError, match="disk full"):
        data_gate.record_verdict(lake, validate_day(DAY, table_of(good_rows()), surroundings), "sum")
    assert "not validated yet" in refused(lake)
