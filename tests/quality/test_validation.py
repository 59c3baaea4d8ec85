"""Judging without Dagster: against a row-by-row oracle in plain Python, and case by case where shares decide."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import INTERACTION_LABELS
from recsys_assets.quality.row_checks import ValidationContext, read_interactions
from recsys_assets.quality.suites import RULES
from recsys_assets.quality.validation import validate_days, validate_table
from recsys_assets.schema import INTERACTIONS, PRODUCTS, SET_ASIDE_SCHEMA, USERS
from recsys_assets.verdict import Verdict, accepted_rows, quarantined_rows, refuses_delivery
from tests.quality.shop import COLUMNS, DAY, NEXT, good_rows, validate_day

NOW = datetime(2011, 3, 2, 12, tzinfo=UTC)
CONTEXT = ValidationContext(
    users=frozenset(f"u{i}" for i in range(7)),
    products=frozenset(f"p{i}" for i in range(11)),
    ids_elsewhere=frozenset({"taken"}),
    now=NOW,
)


def table_of(rows: Sequence[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> pa.Table:
    """Rows as a source delivers CSV that it cannot cast: text columns."""
    cells = {name: [None if row.get(name) is None else str(row[name]) for row in rows] for name in columns}
    return pa.table({name: pa.array(values, pa.string()) for name, values in cells.items()})


def parts_of(table: pa.Table, verdict: Verdict) -> tuple[pa.Table, pa.Table]:
    """Accepted and quarantined rows, as the asset ``interactions`` makes them."""
    accepted = accepted_rows(read_interactions(table).canonical, verdict.failures)
    return accepted, quarantined_rows(DAY, table, verdict.failures)


def validate(rows: Sequence[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> Verdict:
    return validate_day(DAY, table_of(rows, columns), CONTEXT)


def reasons_of(verdict: Verdict) -> dict[int, set[str]]:
    rows, reasons = verdict.failures["row"].to_pylist(), verdict.failures["reason"].to_pylist()
    return {row: set(reason.split("; ")) for row, reason in zip(rows, reasons, strict=True)}


def outcome_of(verdict: Verdict, check: str) -> Any:
    return next(outcome for outcome in verdict.outcomes if outcome.check == check)


# One odd value each; None is a missing value.
CELLS: dict[str, list[str | None]] = {
    "interaction_id": ["a", "b", "c", "d", "taken", "", None],
    "user_id": ["u1", "u2", "nobody", None],
    "product_id": ["p1", "p2", "nothing", "p1\0x", None],
    "interaction_type": [*INTERACTION_LABELS, "wishlisted", None],
    "timestamp": [
        "2011-03-01T00:00:00Z", "2011-03-01 23:59:59.999999", "2011-03-02T00:30:00+01:00", "2011-03-02T00:00:00Z",
        "2011-02-28T23:59:59Z", "2199-01-01", "soon", " ", None,
    ],
    "rating": ["0", "10", "10.5", "-1", "good", None],
    "price": ["0", "12.5", "-0.01", "1e400", "cheap", "", None],
    "quantity": ["1", "-2", "many", None],
}  # fmt: skip


def oracle(rows: Sequence[dict[str, str | None]]) -> dict[int, set[str]]:
    """The row rules once more, one row and one value at a time."""
    value = [{name: cell if cell and cell.strip() else None for name, cell in row.items()} for row in rows]
    copies = Counter(row["interaction_id"] for row in value if row["interaction_id"])
    distinct = {
        row["interaction_id"]: {json.dumps(r) for r in rows if r["interaction_id"] == row["interaction_id"]}
        for row in value
    }
    found: dict[int, set[str]] = {}
    seen: set[str] = set()
    for i, row in enumerate(value):
        bad = {f"{name}_not_null" for name in INTERACTIONS.required[:4] if row[name] is None}
        identity = row["interaction_id"]
        if identity is not None:
            if copies[identity] > 1 and (len(distinct[identity]) > 1 or identity in seen):
                bad.add("interaction_id_unique")
            seen.add(identity)
            if identity == "taken":
                bad.add("interaction_id_new")
        if row["user_id"] == "nobody":
            bad.add("user_id_known")
        if row["product_id"] in ("nothing", "p1\0x"):
            bad.add("product_id_known")
        if row["product_id"] == "p1\0x":
            bad.add("product_id_valid")
        if row["interaction_type"] == "wishlisted":
            bad.add("interaction_type_known")
        if row["interaction_type"] == "rating" and row["rating"] is None:
            bad.add("rating_given")
        if row["timestamp"] is None:
            bad.add("timestamp_given")
        elif row["timestamp"] == "soon":
            bad.add("timestamp_readable")
        else:
            moment = datetime.fromisoformat(row["timestamp"].replace("Z", "+00:00"))
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
            if moment.astimezone(UTC).date() != DAY:
                bad.add("timestamp_on_day")
            if moment > NOW + timedelta(minutes=5):
                bad.add("timestamp_not_in_future")
        for name in ("rating", "price", "quantity"):
            if row[name] is None:
                continue
            try:
                number = float(row[name])
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                bad.add(f"{name}_readable")
            elif name == "rating" and not 0 <= number <= 10:
                bad.add("rating_in_range")
            elif name != "rating" and number < 0:
                bad.add(f"{name}_non_negative")
        if bad:
            found[i] = bad
    return found


days_of_rows = st.lists(
    st.lists(st.fixed_dictionaries({name: st.sampled_from(cells) for name, cells in CELLS.items()}), max_size=12),
    min_size=1,
    max_size=4,
)


@settings(max_examples=15, deadline=None)
@given(days_of_rows)
def test_every_row_is_either_accepted_or_quarantined_for_the_reasons_an_oracle_gives(
    days: list[list[dict[str, str | None]]],
) -> None:
    # The same rows delivered under one day several times: what one run judges together must not mix.
    deliveries = [(DAY, table_of(rows, list(CELLS)), CONTEXT) for rows in days]
    verdicts = list(validate_days(deliveries))
    assert len(verdicts) == len(days)
    # Empty days are validated in a run of their own; the verdicts of a run are in the order of its deliveries.
    empty = [not rows for rows in days]
    in_order = [days.index(rows) for alike in dict.fromkeys(empty) for rows in days if (not rows) is alike]
    for table, verdict in zip([deliveries[i][1] for i in in_order], verdicts, strict=True):
        rows = table.to_pylist()
        accepted, quarantined = parts_of(table, verdict)
        assert accepted.num_rows + quarantined.num_rows == len(rows)
        assert accepted.schema == INTERACTIONS.schema
        assert quarantined.schema == SET_ASIDE_SCHEMA
        assert [json.loads(text) for text in quarantined["raw"].to_pylist()] == [
            rows[i] for i in quarantined["source_row"].to_pylist()
        ]
        of_batch = {outcome.check for outcome in verdict.blocking} & {
            rule.check for rule in RULES["interactions"] if rule.scope == "batch"
        }
        expected = oracle(rows)
        if of_batch:
            expected = {i: expected.get(i, set()) | of_batch for i in range(len(rows))}
        assert reasons_of(verdict) == expected


@given(failed=st.integers(0, 50), checked=st.integers(0, 50), total=st.integers(0, 100))
def test_a_day_is_poisoned_by_share_and_number(failed: int, checked: int, total: int) -> None:
    failed, total = min(failed, checked), max(total, checked)
    expected = failed * 20 > checked and (failed >= 3 or failed == total) and failed > 0
    assert refuses_delivery(failed, checked, total, tolerance=1 / 20) is expected


def test_single_bad_rows_are_quarantined_and_do_not_block() -> None:
    rows = good_rows()
    rows[3]["price"] = "-1"
    rows[5]["user_id"] = "nobody"
    verdict = validate(rows)
    assert not verdict.blocking
    assert reasons_of(verdict) == {3: {"price_non_negative"}, 5: {"user_id_known"}}
    price = outcome_of(verdict, "price_non_negative")
    assert (price.passed, price.failed_rows, price.rows) == (True, 1, 40)
    assert "quarantined" in price.message
    assert f"interaction_id='{DAY}-3', price='-1'" in price.example


def test_one_bad_row_of_ten_does_not_block_but_a_single_bad_row_alone_does() -> None:
    rows = good_rows(count=10)
    rows[0]["price"] = "-1"
    assert not validate(rows).blocking
    assert [outcome.check for outcome in validate(rows[:1]).blocking] == ["price_non_negative"]


def test_share_is_taken_over_rows_the_rule_applies_to() -> None:
    """All of four rated rows among a hundred views are wrong: 4 % of the rows, but all of the ratings."""
    rows = [{**row, "interaction_type": "view"} for row in good_rows(count=100)]
    for row in rows[:4]:
        row |= {"interaction_type": "rating", "rating": "99"}
    outcome = outcome_of(validate(rows, [*COLUMNS, "rating"]), "rating_in_range")
    assert (outcome.passed, outcome.failed_rows, outcome.rows) == (False, 4, 4)


def test_exact_copies_keep_the_first_row() -> None:
    rows = good_rows(count=60)
    assert reasons_of(validate([*rows, rows[0], rows[0]])) == {
        60: {"interaction_id_unique"},
        61: {"interaction_id_unique"},
    }


def test_rules_about_an_absent_column_do_not_pass() -> None:
    table = table_of(good_rows(), [name for name in COLUMNS if name != "timestamp"])
    verdict = validate_day(DAY, table, CONTEXT)
    checked = {outcome.check: outcome.passed for outcome in verdict.outcomes if outcome.check.startswith("timestamp_")}
    assert len(checked) == 5
    assert not any(checked.values())
    assert [part.num_rows for part in parts_of(table, verdict)] == [0, len(good_rows())]


def test_an_empty_delivery_is_refused() -> None:
    assert [outcome.check for outcome in validate([]).blocking] == ["rows_present"]


def test_days_of_different_shape_are_judged_apart_in_one_go() -> None:
    good, thin, empty = table_of(good_rows()), table_of(good_rows(), COLUMNS[:4]), table_of([])
    deliveries = [(DAY, good, CONTEXT), (NEXT, thin, CONTEXT), (NEXT + timedelta(1), empty, CONTEXT)]
    blocking = {v.subject: {outcome.check for outcome in v.blocking} for v in validate_days(deliveries)}
    assert not blocking[DAY]
    assert "timestamp_exists" in blocking[NEXT]
    assert blocking[NEXT + timedelta(1)] == {"rows_present"}


def test_typed_columns_are_read_like_text() -> None:
    moments = [datetime(2011, 3, 1, 8, i) for i in range(3)]  # noqa: DTZ001 (naive on purpose)
    table = pa.table(
        {
            "interaction_id": pa.array([1, 2, 3]),
            "user_id": pa.array(["u1", "u2", "u1"]).dictionary_encode(),
            "product_id": pa.array(["p1", "p2", "p3"], pa.large_string()),
            "interaction_type": ["view"] * 3,
            "timestamp": pa.array(moments, pa.timestamp("ns")),
            "price": pa.array([1.5, math.nan, math.inf]),
            "unknown_column": [{"a": 1}] * 3,
        }
    )
    reading = read_interactions(table)
    canonical = reading.canonical
    assert canonical.schema == INTERACTIONS.schema
    assert canonical["interaction_id"].to_pylist() == ["1", "2", "3"]
    assert canonical["timestamp"].to_pylist() == [moment.replace(tzinfo=UTC) for moment in moments]
    assert canonical["price"].to_pylist() == [1.5, None, None]
    assert reading.given["price"].tolist() == [True, False, True]
    verdict = validate_day(DAY, table, CONTEXT)
    assert reasons_of(verdict) == {2: {"price_readable"}}
    _, quarantined = parts_of(table, verdict)
    assert json.loads(quarantined["raw"][0].as_py())["unknown_column"] == {"a": 1}


@pytest.mark.parametrize(
    ("column", "values", "check", "blocks"),
    [
        ("product_id", ["p", "p", "q"], "product_id_unique", True),
        ("product_id", ["p", None, "q"], "product_id_not_null", True),
        ("price", [1.0, -0.5, None], "price_non_negative", True),
        ("available", [True, None, False], "available_not_null", True),
    ],
)
def test_products(column: str, values: list[Any], check: str, blocks: bool) -> None:
    good = {"product_id": ["a", "b", "c"], "available": [True, True, False], column: values}
    verdict = validate_table("products", PRODUCTS.conform(pa.table(good)), NOW)
    assert [outcome.check for outcome in verdict.outcomes if not outcome.passed] == [check]
    assert bool(verdict.blocking) is blocks


@pytest.mark.parametrize(
    ("column", "values", "check", "blocks"),
    [
        ("user_id", ["u", "u", "v"], "user_id_unique", True),
        ("user_id", [None, "u", "v"], "user_id_not_null", True),
        ("age", [30, 200, None], "age_in_range", False),
        ("join_date", [date(2011, 1, 1), date(2031, 1, 1), None], "join_date_not_in_future", False),
    ],
)
def test_users(column: str, values: list[Any], check: str, blocks: bool) -> None:
    verdict = validate_table("users", USERS.conform(pa.table({"user_id": ["a", "b", "c"], column: values})), NOW)
    assert [outcome.check for outcome in verdict.outcomes if not outcome.passed] == [check]
    assert bool(verdict.blocking) is blocks
    assert verdict.outcomes[[rule.check for rule in RULES["users"]].index(check)].failed_rows in (1, 2)


@pytest.mark.parametrize("name", ["products", "users"])
def test_an_empty_table_is_refused(name: str) -> None:
    contract = {"products": PRODUCTS, "users": USERS}[name]
    verdict = validate_table(name, contract.schema.empty_table(), NOW)
    assert [outcome.check for outcome in verdict.blocking] == [f"{name}_present"]
