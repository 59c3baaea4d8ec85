"""Histories of shoppers: the newest events in order, written where something changed, never doubled."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lambda_api.interactions import Event, InteractionType
from lambda_api.state.history import HistoryStore, StoredEvent
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import TableUnavailable
from recsys_assets.data_gate import GateClosed, mark_waiting
from recsys_assets.publishing.histories import (
    BATCH,
    HISTORY_LENGTH,
    PublishedHistories,
    publish_histories,
    unreadable_histories,
)
from recsys_assets.schema import INTERACTIONS
from tests.publishing.shops import END, BreakingTable, Home, Touch, ago, random_log, write_log


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path)


def publish(home: Home, **options: object) -> PublishedHistories:
    return publish_histories(home.lake, home.histories, home.serving, **options)  # type: ignore[arg-type]


def as_events(touches: Sequence[Touch]) -> list[Event]:
    return [
        Event(product, InteractionType.from_label(kind), int(moment.timestamp()))
        for _, product, kind, moment in touches
    ]


def per_shopper(log: Sequence[Touch]) -> Mapping[str, list[Touch]]:
    """Each shopper's touches, oldest first, by the obvious way."""
    shoppers: dict[str, list[Touch]] = defaultdict(list)
    for touch in sorted(log, key=lambda touch: touch[3]):
        shoppers[touch[0]].append(touch)
    return shoppers


def test_every_shopper_has_their_newest_events_oldest_first(home: Home) -> None:
    log = random_log(7, users=40, products=50, events=3_000)
    write_log(home.lake, log)
    done = publish(home)
    shoppers = per_shopper(log)
    assert any(len(touches) > HISTORY_LENGTH for touches in shoppers.values())
    for user, touches in shoppers.items():
        found = home.histories.recent(user, HISTORY_LENGTH)
        assert [event.timestamp for event in found] == [int(t[3].timestamp()) for t in touches[-HISTORY_LENGTH:]]
        # Within one second the log has no order, so at the far end either of two may be the one left out.
        inner = [event for event in found if event.timestamp > found[0].timestamp]
        expected = [event for event in as_events(touches) if event.timestamp > found[0].timestamp]
        assert Counter(inner) == Counter(expected)
    kept = sum(min(len(touches), HISTORY_LENGTH) for touches in shoppers.values())
    assert (done.shoppers, done.events, done.written_events) == (len(shoppers), kept, kept)


def test_a_second_run_writes_nothing_and_doubles_nothing(home: Home) -> None:
    log = random_log(8, users=30, products=20, events=400)
    write_log(home.lake, log)
    publish(home)
    before = {user: home.histories.recent(user) for user in per_shopper(log)}
    for everything in (False, True):
        again = publish(home, everything=everything)
        assert (again.written_shoppers > 0) is everything
        assert {user: home.histories.recent(user) for user in before} == before


def test_a_new_day_touches_only_who_was_there(home: Home) -> None:
    write_log(home.lake, random_log(9, users=30, products=20, events=400))
    first = publish(home)
    write_log(home.lake, [("u3", "p1", "view", END + timedelta(hours=1)), ("new", "p2", "view", END)])
    second = publish(home)
    assert second.written_shoppers == 2
    assert second.shoppers == first.shoppers + 1
    assert home.histories.recent("u3")[-1].timestamp == int(END.timestamp()) + 3600
    assert home.histories.recent("new") == tuple(as_events([("new", "p2", "view", END)]))


@pytest.mark.parametrize("everything", [False, True])
def test_a_day_delivered_again_replaces_what_it_said_before(home: Home, everything: bool) -> None:
    write_log(home.lake, [("a", "wrong", "view", ago(1)), ("b", "p", "view", ago(1)), ("a", "p", "view", ago(2))])
    publish(home)
    write_log(home.lake, [("a", "right", "view", ago(1))], prefix="again")
    done = publish(home, everything=everything)
    assert [event.product_id for event in home.histories.recent("a")] == ["p", "right"]
    assert home.histories.recent("b") == ()
    assert done.forgotten_shoppers == 1


def test_who_left_long_ago_is_forgotten(home: Home) -> None:
    write_log(
        home.lake, [("gone", "p", "view", ago(20)), ("here", "p", "view", ago(20)), ("here", "p", "view", ago(1))]
    )
    publish(home, days=30)
    assert home.histories.recent("gone")
    write_log(home.lake, [("here", "p", "view", END + timedelta(days=14))])
    publish(home, days=30)
    assert home.histories.recent("gone") == ()
    assert len(home.histories.recent("here")) == 2


def test_an_old_log_is_as_good_as_a_new_one(home: Home) -> None:
    moment = datetime(2011, 11, 30, 9, tzinfo=UTC)
    write_log(home.lake, [("a", "p", "view", moment)])
    publish(home)
    assert [event.timestamp for event in home.histories.recent("a")] == [int(moment.timestamp())]


def test_an_emptied_store_is_filled_again(home: Home) -> None:
    write_log(home.lake, [("a", "p", "view", ago(1))])
    publish(home)
    for file in home.settings.home.glob("state.sqlite3*"):
        file.unlink()
    assert publish(home).written_shoppers == 1
    assert home.histories.recent("a")


def test_stopped_half_way_the_next_run_completes_it(home: Home, tmp_path: Path) -> None:
    users = BATCH + 200
    log: list[Touch] = [(f"u{number}", "p", "view", ago(1)) for number in range(users)]
    write_log(home.lake, log)
    table = BreakingTable(SqliteTable(home.settings.home / "state.sqlite3", "history"), after=3)
    with pytest.raises(TableUnavailable):
        publish_histories(home.lake, HistoryStore(table), home.serving)
    known = sum(bool(home.histories.recent(f"u{number}")) for number in range(users))
    assert 0 < known < users
    assert publish(home).written_shoppers == users
    assert all(len(home.histories.recent(f"u{number}")) == 1 for number in range(users))


def test_what_the_live_shop_recorded_stays_and_counts_once(home: Home) -> None:
    write_log(home.lake, [("a", "p1", "view", ago(1))])
    publish(home)
    live = StoredEvent("live-1", "a", "p2", InteractionType.PURCHASE, int(END.timestamp()) + 60)
    home.histories.record([live])
    assert [event.product_id for event in home.histories.recent("a")] == ["p1", "p2"]
    # The event comes back by way of the lake, under its own id, next to another of that day.
    moment = END + timedelta(seconds=60)
    write_log(home.lake, [("a", "p2", "purchase", moment)], prefix="live")
    day = home.lake.read("interactions", start=moment.date())
    home.lake.write_day("interactions", moment.date(), day.set_column(0, "interaction_id", [["live-1"]]))
    publish(home)
    assert [event.product_id for event in home.histories.recent("a")] == ["p1", "p2"]
    assert not home.histories.record([live]).accepted


def test_a_poisoned_day_stops_it(home: Home) -> None:
    write_log(home.lake, [("a", "p1", "view", ago(1))])
    mark_waiting(home.lake, ago(1).date())
    with pytest.raises(GateClosed):
        publish(home)


def test_the_check_notices_shoppers_the_store_does_not_know(home: Home) -> None:
    log: list[Touch] = [(f"u{number}", "p", "view", ago(0)) for number in range(50)]
    write_log(home.lake, log)
    publish(home)
    assert unreadable_histories(home.lake, home.histories, 20) == ([], 25)
    empty = HistoryStore(SqliteTable(home.settings.home / "other.sqlite3", "history"))
    failed, asked = unreadable_histories(home.lake, empty, 20)
    assert len(failed) == asked == 25


def test_a_day_of_which_nothing_was_accepted_is_no_obstacle(home: Home) -> None:
    write_log(home.lake, [("a", "p", "view", ago(0))])
    home.lake.write_day("interactions", END.date(), INTERACTIONS.schema.empty_table())
    assert publish(home).shoppers == 1
    assert unreadable_histories(home.lake, home.histories, 20) == ([], 0)
