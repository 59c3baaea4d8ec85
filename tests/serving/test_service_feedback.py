"""No accepted event is lost: whatever fails, an event is stored, known already, or named to be sent again."""

from pathlib import Path
from typing import Any

import pytest

from lambda_api.interactions import InteractionType
from lambda_api.serving.counters import Counters
from lambda_api.serving.feedback import FeedbackService
from lambda_api.state.event_sink import JsonLinesSink
from lambda_api.state.exposures import InferenceLog
from lambda_api.state.history import HistoryStore, StoredEvent
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import TableUnavailable
from tests.json_lines import read_json_lines

NOW = 1_790_000_000


class Desk:
    """A feedback service on real stores that can be broken one by one."""

    def __init__(self, folder: Path) -> None:
        path = folder / "state.sqlite3"
        self.history = HistoryStore(SqliteTable(path, "history"), clock=lambda: NOW)
        self.log = InferenceLog(SqliteTable(path, "exposures"))
        self.sink = JsonLinesSink(folder / "events")
        self.counters = Counters()
        self.feedback = FeedbackService(self.history, self.log, self.sink, self.counters)
        # However busy the machine is, only what a test breaks may fail.
        for guard in (self.feedback.record_guard, self.feedback.sink_guard, self.feedback.join_guard):
            guard.budget_s = 20
        self.events = folder / "events"

    def emitted(self) -> list[str]:
        return [record["event_id"] for record in read_json_lines(self.events, "feedback")]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def click(event_id: str, **changes: Any) -> StoredEvent:
    return StoredEvent(event_id, "u", "p", InteractionType.VIEW, NOW, **changes)


def unavailable(*arguments: object) -> None:
    raise TableUnavailable("the database is locked")


def no_space(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_stored_and_passed_on(desk: Desk) -> None:
    outcome = desk.feedback.take([click("a"), click("b"), click("a")])
    assert (outcome.accepted, outcome.duplicates, outcome.retry) == (2, 1, ())
    assert len(desk.history.recent("u")) == 2
    assert desk.emitted() == ["a", "b"]


def test_a_locked_store_asks_for_another_try(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(desk.history, "record", unavailable)
        outcome = desk.feedback.take([click("a"), click("b"), click("b")])
    assert (outcome.accepted, outcome.duplicates, outcome.retry) == (0, 1, ("a", "b"))
    assert outcome.cause == "feedback: error"
    again = desk.feedback.take([click("a"), click("b")])
    assert (again.accepted, again.retry) == (2, ())


def test_a_full_disk_asks_for_another_try_and_then_passes_duplicates_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(desk.sink, "emit", no_space)
        outcome = desk.feedback.take([click("a")])
    assert (outcome.accepted, outcome.retry, outcome.cause) == (0, ("a",), "event_sink: error")
    again = desk.feedback.take([click("a")])
    assert (again.accepted, again.duplicates, again.retry) == (0, 1, ())
    assert desk.emitted() == ["a"]
    assert desk.counters.snapshot()["counters"]["feedback_to_retry"] == 1


def test_a_click_is_not_lost_for_its_label(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.log, "get", unavailable)
    outcome = desk.feedback.take([click("a", request_id="r1")])
    assert (outcome.accepted, outcome.retry) == (1, ())


def test_an_event_that_can_never_be_stored_is_an_error_and_no_outage(desk: Desk) -> None:
    with pytest.raises(ValueError, match="event"):
        desk.feedback.take([click("")])
    assert desk.feedback.record_guard.state.failures == 0
