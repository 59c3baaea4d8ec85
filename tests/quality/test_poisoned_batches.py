"""Poisoned deliveries, as files: each closes the gate with a message that helps; three go through the real graph."""

from collections.abc import Callable

import pytest

from recsys_assets import data_gate
from recsys_assets.ingest.registry import open_source
from recsys_assets.ingest.source import SourceError
from tests.quality.shop import (
    COLUMNS,
    DAY,
    NEXT,
    ROWS,
    Row,
    Shop,
    as_csv,
    changed,
    failure_text,
    good_rows,
    materialised,
    truncated_gzip,
    validate_day,
)
from tests.quality.test_validation import CONTEXT


def put(column: str, value: object) -> Callable[[int, Row], None]:
    return lambda _, row: row.update({column: value})


def without(column: str) -> bytes:
    return as_csv(good_rows(), [name for name in COLUMNS if name != column])


HALF = ROWS // 2
TWO_FIFTHS = ROWS * 2 // 5

# name -> (file content, what the message must name: rule or fault, rows, example)
POISONED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "missing column user_id": (without("user_id"), ("user_id_exists", f"{ROWS} rows", "columns delivered")),
    "missing column timestamp": (without("timestamp"), ("timestamp_exists", f"{ROWS} rows")),
    "prices are words": (
        as_csv(changed(put("price", "cheap"))),
        ("price_readable", f"{ROWS} of {ROWS} rows", "price='cheap'"),
    ),
    "timestamps are words": (
        as_csv(changed(put("timestamp", "yesterday"), every=2)),
        ("timestamp_readable", f"{HALF} of {ROWS} rows", "timestamp='yesterday'"),
    ),
    "timestamps in the future": (
        as_csv(changed(put("timestamp", "2199-03-01T10:00:00Z"), every=4)),
        ("timestamp_not_in_future", f"{ROWS // 4} of {ROWS} rows", "2199-03-01"),
    ),
    "timestamps of another day": (
        as_csv(changed(put("timestamp", f"{NEXT}T10:00:00Z"), every=4)),
        ("timestamp_on_day", f"{ROWS // 4} of {ROWS} rows", str(NEXT)),
    ),
    "unknown event type": (
        as_csv(changed(put("interaction_type", "wishlisted"), every=4)),
        ("interaction_type_known", f"{ROWS // 4} of {ROWS} rows", "interaction_type='wishlisted'"),
    ),
    "negative price": (
        as_csv(changed(put("price", "-2.5"), every=4)),
        ("price_non_negative", f"{ROWS // 4} of {ROWS} rows", "price=-2.5"),
    ),
    "negative quantity": (
        as_csv(changed(put("quantity", "-3"), every=4)),
        ("quantity_non_negative", f"{ROWS // 4} of {ROWS} rows", "quantity=-3"),
    ),
    "duplicate ids on different rows": (
        as_csv(changed(put("interaction_id", "same"), every=2)),
        ("interaction_id_unique", f"{HALF} of {ROWS} rows", "interaction_id='same'"),
    ),
    "the file's rows twice": (
        as_csv(good_rows() * 2),
        ("interaction_id_unique", f"{ROWS} of {2 * ROWS} rows", f"interaction_id='{DAY}-0'"),
    ),
    **{
        f"40 % nulls in {column}": (
            as_csv([{**row, column: ""} if i % 5 < 2 else row for i, row in enumerate(good_rows())]),
            (rule, f"{TWO_FIFTHS} of {ROWS} rows", f"{column}=None"),
        )
        for column, rule in [
            ("interaction_id", "interaction_id_not_null"),
            ("user_id", "user_id_not_null"),
            ("product_id", "product_id_not_null"),
            ("interaction_type", "interaction_type_not_null"),
            ("timestamp", "timestamp_given"),
        ]
    },
    "40 % nulls in price": (
        as_csv([{**row, "price": ""} if i % 5 < 2 else row for i, row in enumerate(good_rows())]),
        ("price_null_share", "4 of 10 rows", "price=None"),
    ),
    "empty file": (b"", (f"{DAY}.csv", "zero bytes")),
    "header only": (as_csv([]), (f"{DAY}.csv", "no rows")),
    "truncated gzip": (truncated_gzip(good_rows()), (f"{DAY}.csv.gz",)),
    "wrong encoding": (as_csv(changed(put("user_id", "ä"))).decode().encode("latin-1"), (f"{DAY}.csv", "UTF-8")),
    "unknown users": (
        as_csv(changed(lambda i, row: row.update(user_id=f"stranger{i}"), every=4)),
        ("user_id_known", f"{ROWS // 4} of {ROWS} rows", "user_id='stranger0'"),
    ),
    "unknown products": (
        as_csv(changed(lambda i, row: row.update(product_id=f"novelty{i}"), every=4)),
        ("product_id_known", f"{ROWS // 4} of {ROWS} rows", "product_id='novelty0'"),
    ),
}


@pytest.mark.parametrize("name", POISONED)
def test_a_poisoned_day_closes_its_gate_and_the_message_names_the_fault(shop: Shop, name: str) -> None:
    content, named = POISONED[name]
    shop.deliver(DAY, content)
    try:
        delivered = open_source("canonical", str(shop.root / "data")).read_day(DAY).interactions
    except SourceError as error:
        data_gate.mark_unreadable(shop.lake, DAY, str(error))
    else:
        data_gate.record_verdict(shop.lake, validate_day(DAY, delivered, CONTEXT), "checksum")
    with pytest.raises(data_gate.GateClosed) as refused:
        data_gate.require_open(shop.lake)
    for part in (*named, str(DAY)):
        assert part in str(refused.value), refused.value


@pytest.mark.parametrize("name", ["prices are words", "missing column user_id", "truncated gzip"])
def test_a_poisoned_day_stops_every_run_until_it_is_repaired(shop: Shop, name: str) -> None:
    content, named = POISONED[name]
    shop.deliver(DAY, content)

    poisoned = shop.run(DAY)
    assert not poisoned.success
    assert materialised(poisoned).isdisjoint({"interactions", "downstream"})
    for part in named:
        assert part in failure_text(poisoned), failure_text(poisoned)

    later = shop.run(only=["downstream"])
    assert not later.success
    for part in (*named, str(DAY)):
        assert part in failure_text(later), failure_text(later)
    assert not materialised(shop.run(DAY, only=["interactions"]))

    shop.deliver(DAY, as_csv(good_rows()))
    repaired = shop.run(DAY)
    assert repaired.success, failure_text(repaired)
    assert shop.count("interactions") == ROWS
    assert shop.run(only=["downstream"]).success
