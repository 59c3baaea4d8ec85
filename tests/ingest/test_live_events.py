"""Events of the API become training data: none lost, none twice, late ones in their own day."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.settings import make_settings
from lambda_api.state.event_sink import JsonLinesSink
from recsys_assets.event_stream import events_root
from recsys_assets.ingest.live_events import (
    COUNTED_ONCE,
    NOT_AN_EVENT,
    SAME_EVENT_S,
    LiveSource,
    StreamStage,
    joined,
    stale_days,
)
from recsys_assets.ingest.registry import source_of
from recsys_assets.ingest.source import DayOfEvents
from recsys_assets.lake import Lake
from recsys_assets.schema import INTERACTIONS, PRODUCTS, SET_ASIDE_SCHEMA, USERS

DAY = date(2026, 3, 2)
NOON = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp())


class Export:
    """A shop's export in memory."""

    name = "export"

    def __init__(self, rows: list[dict[str, object]] | None = None) -> None:
        self.rows = rows or []

    def days(self) -> list[date]:
        return sorted({row["timestamp"].date() for row in self.rows})  # type: ignore[attr-defined]

    def read_day(self, day: date) -> DayOfEvents:
        rows = [row for row in self.rows if row["timestamp"].date() == day]  # type: ignore[attr-defined]
        return DayOfEvents(pa.Table.from_pylist(rows, INTERACTIONS.schema), SET_ASIDE_SCHEMA.empty_table(), len(rows))

    def products(self) -> pa.Table:
        return PRODUCTS.schema.empty_table()

    def users(self) -> pa.Table:
        return USERS.schema.empty_table()


def row(id_: str, user: str, at: int, kind: str = "view", product: str = "p1", **more: object) -> dict[str, object]:
    moment = datetime.fromtimestamp(at, UTC)
    return {
        "interaction_id": id_, "user_id": user, "product_id": product, "interaction_type": kind, "timestamp": moment,
        **more,
    }  # fmt: skip


def event(id_: str, user: str, at: int, kind: str = "view", product: str = "p1", **more: object) -> dict[str, object]:
    return {
        "event_id": id_, "user_id": user, "product_id": product, "interaction_type": kind, "timestamp": at, **more,
    }  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> StreamStage:
    return StreamStage(Lake(str(tmp_path / "lake")), str(tmp_path / "events"))


def arrive(stage: StreamStage, at: int, *events: dict[str, object]) -> None:
    sink = JsonLinesSink(stage.root, clock=lambda: at)
    sink.emit("feedback", list(events))
    sink.close()


def test_an_event_belongs_to_the_day_it_happened_and_a_late_one_makes_that_day_stale(stage: StreamStage) -> None:
    source = LiveSource(Export(), stage, "stream")
    arrive(stage, NOON, event("e-1", "ann", NOON - 60))
    assert source.days() == [DAY]
    delivered = source.read_day(DAY)
    stage.lake.write_day("raw_interactions", DAY, delivered.interactions)
    assert stale_days(source, stage.lake) == []
    arrive(stage, NOON + 3 * 86_400, event("e-2", "bob", NOON - 30), event("e-3", "bob", NOON + 3 * 86_400 - 5))
    assert stale_days(source, stage.lake) == [DAY]
    again = source.read_day(DAY)
    assert again.interactions["interaction_id"].to_pylist() == ["e-1", "e-2"]
    stage.lake.write_day("raw_interactions", DAY, again.interactions)
    assert stale_days(source, stage.lake) == []
    assert source.days() == [DAY, DAY + timedelta(days=3)]


def test_a_repeated_delivery_and_a_repeated_staging_count_once(stage: StreamStage) -> None:
    arrive(stage, NOON, event("e-1", "ann", NOON), event("e-1", "ann", NOON))
    arrive(stage, NOON + 1, event("e-1", "ann", NOON))
    assert stage.refresh() == 2 and stage.refresh() == 0
    (Path(stage.lake.root) / "stream_index.json").unlink()
    assert stage.refresh() == 2
    assert stage.read(DAY)["interaction_id"].to_pylist() == ["e-1"]


def test_what_cannot_be_read_is_set_aside_with_file_and_line(stage: StreamStage) -> None:
    arrive(stage, NOON, event("e-1", "ann", NOON))
    file = next(Path(stage.root).rglob("*.jsonl"))
    with file.open("ab") as stream:
        stream.write(b"{not json}\n" + json.dumps({"user_id": "ann"}).encode() + b'\n{"half written')
    found = LiveSource(Export(), stage, "stream")
    assert found.days() == [DAY]
    delivered = found.read_day(DAY)
    assert (delivered.interactions.num_rows, delivered.rows_read) == (1, 3)
    aside = delivered.set_aside.to_pylist()
    assert [(one["source_row"], one["reason"]) for one in aside] == [(2, NOT_AN_EVENT), (3, NOT_AN_EVENT)]
    assert aside[0]["source_file"].endswith(file.name) and aside[0]["raw"] == "{not json}"


def test_both_logs_joined_count_an_event_once_and_keep_what_the_stream_knows(stage: StreamStage) -> None:
    export = Export([
        row("x-1", "ann", NOON, "purchase", price=4.0), row("x-2", "ann", NOON + 10, "purchase"),
        row("e-9", "bob", NOON), row("x-3", "cat", NOON),
    ])  # fmt: skip
    arrive(
        stage, NOON + 60,
        event("e-1", "ann", NOON + 2, "purchase", request_id="r-1", variant="challenger"),
        event("e-9", "bob", NOON + 7_000),
        event("e-3", "cat", NOON + SAME_EVENT_S + 1),
        event("e-4", "cat", NOON, "purchase"),
        event("e-5", "ann", NOON + 12, "purchase"),
        event("e-6", "ann", NOON + 13, "purchase"),
    )  # fmt: skip
    source = LiveSource(export, stage, "both")
    assert DAY in source.days()
    delivered = source.read_day(DAY)
    rows = {one["interaction_id"]: one for one in delivered.interactions.to_pylist()}
    assert sorted(rows) == ["e-3", "e-4", "e-6", "e-9", "x-1", "x-2", "x-3"]
    assert (rows["x-1"]["request_id"], rows["x-1"]["variant"], rows["x-1"]["price"]) == ("r-1", "challenger", 4.0)
    assert Counter(delivered.set_aside["reason"].to_pylist()) == {COUNTED_ONCE: 3}
    assert delivered.rows_read == 10


def test_a_twin_on_the_other_side_of_midnight_is_found(stage: StreamStage) -> None:
    midnight = NOON + 12 * 3_600
    export = Export([row("x-1", "ann", midnight + 2), row("x-2", "ann", NOON)])
    arrive(stage, midnight, event("e-1", "ann", midnight - 1))
    source = LiveSource(export, stage, "both")
    assert DAY in source.days()
    delivered = source.read_day(DAY)
    assert delivered.interactions["interaction_id"].to_pylist() == ["x-2"]
    assert delivered.set_aside["reason"].to_pylist() == [COUNTED_ONCE]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from(("view", "purchase")), st.integers(0, 2_000), st.sampled_from("es12345")
    ),
    max_size=25,
)


@given(exported=EVENTS, live=EVENTS)
@settings(max_examples=150, deadline=None)
def test_no_event_is_lost_or_invented_and_no_row_stands_for_two(
    exported: list[tuple[str, str, int, str]], live: list[tuple[str, str, int, str]]
) -> None:
    rows = [row(f"x-{n}", user, NOON + at, kind) for n, (user, kind, at, _) in enumerate(exported)]
    events = [row(f"e-{n}", user, NOON + at, kind) for n, (user, kind, at, _) in enumerate(live)]
    left, right = (pa.Table.from_pylist(one, INTERACTIONS.schema) for one in (rows, events))
    both, twice = joined(left, right)
    ids = both["interaction_id"].to_pylist()
    kept = [one["interaction_id"] for place, one in enumerate(events) if place not in set(twice)]
    assert ids == [one["interaction_id"] for one in rows] + kept
    assert len(twice) <= len(rows)
    for place in twice:
        at = events[place]
        assert any(
            one["user_id"] == at["user_id"]
            and one["interaction_type"] == at["interaction_type"]
            and abs((one["timestamp"] - at["timestamp"]).total_seconds()) <= SAME_EVENT_S  # type: ignore[operator]
            for one in rows
        )


def test_the_setting_chooses_the_log(tmp_path: Path) -> None:
    shop = {"home": tmp_path, "first_day": "2026-03-01"}
    assert not isinstance(source_of(make_settings(shop)), LiveSource)
    both = source_of(make_settings({**shop, "events": "both"}))
    assert isinstance(both, LiveSource) and both.mode == "both"
    assert both.stage.root == events_root(make_settings(shop))
