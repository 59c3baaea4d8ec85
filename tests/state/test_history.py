"""Histories on every adapter: order, idempotence, packed events; real processes that record the same ids."""

import multiprocessing
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_api.interactions import Event, InteractionType
from lambda_api.state.addressing import MalformedRecord, digest
from lambda_api.state.history import (
    CLOCK_TOLERANCE_S,
    HistoryStore,
    StoredEvent,
    TimestampRefused,
    accepted_timestamp,
)
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Key, Put, Table
from tests.patience import PATIENCE_S
from tests.state.tables import ODD_IDS, Clock, CountingTable, ModelTable

NOW = 1_700_000_000
VIEW, CART, PURCHASE, RATING = InteractionType


def event(identifier: str, timestamp: int = NOW, product: str = "", user: str = "u", kind: InteractionType = VIEW):
    return StoredEvent(identifier, user, product or f"p-{identifier}", kind, timestamp)


def shown(history: tuple[Event, ...]) -> list[str]:
    return [e.product_id.removeprefix("p-") for e in history]


@pytest.fixture
def store(table: Table, clock: Clock) -> HistoryStore:
    return HistoryStore(table, clock=clock)


def test_a_stranger_has_no_history(store: HistoryStore) -> None:
    assert store.recent("nobody") == ()
    assert store.recent("\ud800") == ()  # no valid Unicode: nobody can have it, and asking is no error


def test_events_come_back_oldest_first_with_all_they_are(store: HistoryStore) -> None:
    full = StoredEvent("e2", "u", "p2", RATING, NOW - 5, 4.5, 19.99, 2, "r-1", "champion")
    outcome = store.record([full, event("e1", NOW - 9, kind=PURCHASE)])
    assert (outcome.accepted, outcome.duplicates) == (("e2", "e1"), ())
    assert store.recent("u") == (Event("p-e1", PURCHASE, NOW - 9), Event("p2", RATING, NOW - 5))


def test_late_and_shuffled_events_take_the_place_of_their_time(store: HistoryStore, clock: Clock) -> None:
    times = list(range(NOW - 30, NOW))
    random.Random(5).shuffle(times)
    for start in range(0, 30, 7):
        store.record([event(str(time), time) for time in times[start : start + 7]])
        clock.now += 0.5
    assert shown(store.recent("u")) == [str(time) for time in range(NOW - 30, NOW)]
    assert shown(store.recent("u", limit=4)) == [str(time) for time in range(NOW - 4, NOW)]


def test_events_of_one_second_keep_the_order_in_which_they_came(store: HistoryStore, clock: Clock) -> None:
    store.record([event("view"), event("cart", kind=CART)])
    clock.now += 0.004
    store.record([event("buy", kind=PURCHASE), event("after")])
    for _ in range(3):
        assert shown(store.recent("u")) == ["view", "cart", "buy", "after"]
    assert shown(store.recent("u", limit=3)) == ["cart", "buy", "after"]


def test_one_query_whatever_there_is(table: Table, clock: Clock) -> None:
    counting = CountingTable(table)
    store = HistoryStore(counting, clock=clock)
    store.seed_many({"u": [event(f"s{n}", NOW - 1000 + n) for n in range(30)]})
    store.record([event(f"l{n}", NOW - 500 + n) for n in range(30)])
    counting.calls.clear()
    assert len(store.recent("u", limit=40)) == 40
    assert counting.calls == ["query"]


def test_a_batch_of_fifty_is_one_write_and_its_resend_two(table: Table, clock: Clock) -> None:
    counting = CountingTable(table)
    store = HistoryStore(counting, clock=clock)
    events = [event(str(n), NOW - n) for n in range(50)]
    assert store.record(events).duplicates == ()
    assert counting.calls == ["write"]
    counting.calls.clear()
    assert store.record(events).accepted == ()  # every condition that failed is named at once
    assert counting.calls == ["write"]
    counting.calls.clear()
    outcome = store.record([event("new"), *events[:49]])
    assert outcome.accepted == ("new",)
    assert counting.calls == ["write", "write"]


def test_ids_count_once_across_batches_users_and_times(store: HistoryStore, clock: Clock) -> None:
    store.record([event("a"), event("b")])
    clock.now += 100
    outcome = store.record([event("b", NOW + 100), event("c", user="v"), event("a", user="v"), event("d")])
    assert outcome.accepted == ("c", "d")
    assert outcome.duplicates == ("b", "a")
    assert shown(store.recent("u")) == ["a", "b", "d"]
    assert shown(store.recent("v")) == ["c"]


def test_of_two_equal_ids_in_one_batch_the_first_counts(store: HistoryStore) -> None:
    outcome = store.record([event("a", product="first"), event("b"), event("a", product="second"), event("b")])
    assert outcome.accepted == ("a", "b")
    assert outcome.duplicates == ("a", "b")
    assert [e.product_id for e in store.recent("u")] == ["first", "p-b"]


def test_more_than_one_transaction(store: HistoryStore) -> None:
    store.record([event(str(n), NOW - n) for n in range(0, 120, 3)])
    outcome = store.record([event(str(n), NOW - n) for n in range(120)])
    assert len(outcome.accepted) == 80
    assert len(outcome.duplicates) == 40
    assert len(store.recent("u", limit=500)) == 120


def test_odd_ids_neither_break_keys_nor_meet(store: HistoryStore) -> None:
    events = [StoredEvent(odd, odd, odd, VIEW, NOW) for odd in ODD_IDS]
    assert store.record(events).accepted == tuple(ODD_IDS)
    assert store.record(events).duplicates == tuple(ODD_IDS)
    for odd in ODD_IDS:
        assert store.recent(odd) == (Event(odd, VIEW, NOW),)
    store.seed_many({odd: [StoredEvent(f"s{odd}", odd, odd, CART, NOW - 1)] for odd in ODD_IDS})
    for odd in ODD_IDS:
        assert store.recent(odd) == (Event(odd, CART, NOW - 1), Event(odd, VIEW, NOW))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(event("a"), event_id=""),
        replace(event("a"), user_id=""),
        replace(event("a"), product_id="\ud800"),
        replace(event("a"), timestamp=-1),
        replace(event("a"), timestamp=10**12),
        replace(event("a"), timestamp=1.5),  # type: ignore[arg-type]
    ],
)
def test_one_impossible_event_refuses_the_batch_before_anything_is_written(
    store: HistoryStore, wrong: StoredEvent
) -> None:
    with pytest.raises(ValueError, match=r"must be|not valid"):
        store.record([event("good"), wrong])
    assert store.recent("u") == ()


def test_events_and_markers_expire_together_counted_from_their_arrival(table: Table, clock: Clock) -> None:
    store = HistoryStore(table, ttl_days=2, clock=clock)
    old = event("a", timestamp=1_291_000_000)  # an old shop's log must not be born expired
    store.record([old])
    store.seed_many({"u": [event("s", timestamp=1_290_000_000)]})
    clock.now += 2 * 86_400 - 2
    assert shown(store.recent("u")) == ["s", "a"]
    assert store.record([old]).duplicates == ("a",)
    clock.now += 3
    assert store.recent("u") == ()
    assert store.record([old]).accepted == ("a",)


def test_packed_and_recorded_events_are_merged_and_none_is_doubled(store: HistoryStore, clock: Clock) -> None:
    store.record([event("live-1", NOW - 50), event("both", NOW - 40), event("live-2", NOW - 10)])
    seed = [event("both", NOW - 40), event("seed-2", NOW - 10), event("seed-1", NOW - 60), event("seed-1", NOW - 60)]
    store.seed_many({"u": seed})
    expected = ["seed-1", "live-1", "both", "seed-2", "live-2"]
    assert shown(store.recent("u")) == expected
    store.seed_many({"u": seed})
    assert shown(store.recent("u")) == expected
    assert shown(store.recent("u", limit=2)) == expected[-2:]
    store.record([event("seed-1", NOW - 60)])  # known to the log, but new to the markers: still read once
    assert shown(store.recent("u")) == expected
    store.seed_many({"u": [event("seed-3", NOW - 5)]})
    assert shown(store.recent("u")) == ["seed-1", "live-1", "both", "live-2", "seed-3"]
    assert store.seed_many({"u": [], "stranger": []}) == 0
    assert shown(store.recent("u")) == ["seed-1", "live-1", "both", "live-2"]


def test_seeding_packs_the_newest_and_writes_many_shoppers_at_once(table: Table, clock: Clock) -> None:
    counting = CountingTable(table)
    store = HistoryStore(counting, clock=clock)
    histories = {f"u{n}": [event(f"{n}-{i}", NOW - i, user=f"u{n}") for i in range(5)] for n in range(250)}
    histories["long"] = [event(f"l{i:04d}", NOW - 1000 + i, user="long") for i in range(1000)]
    assert store.seed_many(histories) == 251
    assert counting.calls == ["write"] * 3
    assert shown(store.recent("long", limit=1000)) == [f"l{i:04d}" for i in range(800, 1000)]
    with pytest.raises(ValueError, match="is of user 'v', not of 'u'"):
        store.seed_many({"u": [event("a", user="v")]})


@pytest.mark.parametrize("letter", ["🛒", "\x01"], ids=["four bytes", "six bytes in JSON"])
def test_packed_events_with_giant_ids_fit_into_a_record(store: HistoryStore, letter: str) -> None:
    giants = [StoredEvent(f"e{n}", "u", f"{n:03d}" + letter * 997, VIEW, NOW - 200 + n) for n in range(200)]
    store.seed_many({"u": giants})
    kept = store.recent("u")
    assert 30 < len(kept) < 200
    assert [e.product_id[:3] for e in kept] == [f"{n:03d}" for n in range(200 - len(kept), 200)]
    store.record([replace(e, event_id=f"live{e.event_id}", timestamp=NOW - 500 + n) for n, e in enumerate(giants)])
    assert len(store.recent("u")) == 200


def test_a_record_of_other_making_is_named(table: Table, clock: Clock) -> None:
    store = HistoryStore(table, clock=clock)
    store.record([event("a")])
    (found,) = table.query(f"user#{digest('u')}")
    table.write([Put(found.key, {"product_id": "p"})])
    with pytest.raises(MalformedRecord, match=r"user#.* cannot be read: KeyError: 'interaction_type'"):
        store.recent("u")
    table.write([Put(Key(found.key.partition, "~seed"), {"events": [[1, 9, "p", "d"]]})])
    with pytest.raises(MalformedRecord, match="~seed cannot be read"):
        store.recent("u")


def test_the_rule_of_times_ahead_of_ours() -> None:
    assert accepted_timestamp(None, NOW) == NOW
    assert accepted_timestamp(0, NOW) == 0
    assert accepted_timestamp(NOW - 10**9, NOW) == NOW - 10**9
    assert accepted_timestamp(NOW + CLOCK_TOLERANCE_S, NOW) == NOW
    for wrong in (NOW + CLOCK_TOLERANCE_S + 1, NOW * 1000, -1):
        with pytest.raises(TimestampRefused, match="seconds"):
            accepted_timestamp(wrong, NOW)


some_events = st.builds(
    event,
    st.sampled_from("abcdefgh"),
    timestamp=st.integers(NOW - 4, NOW),
    product=st.just(""),
    user=st.sampled_from("uv"),
    kind=st.sampled_from(InteractionType),
)
steps = st.lists(
    st.tuples(st.just("record"), st.lists(some_events, max_size=5))
    | st.tuples(st.just("seed"), st.lists(some_events, max_size=5)),
    max_size=8,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, limit=st.integers(1, 6))
def test_history_is_what_a_list_would_say(steps: list[tuple[str, list[StoredEvent]]], limit: int) -> None:
    """Against lists: of each id the first recorded event, the last seed beside it, stable by time, the newest N."""
    clock = Clock(float(NOW))
    store = HistoryStore(ModelTable(clock), clock=clock)
    recorded: dict[str, StoredEvent] = {}
    seeds: dict[str, list[StoredEvent]] = {"u": [], "v": []}
    for what, events in steps:
        clock.now += 0.01
        if what == "record":
            outcome = store.record(events)
            assert sorted(outcome.accepted + outcome.duplicates) == sorted(e.event_id for e in events)
            for e in events:
                recorded.setdefault(e.event_id, e)
        else:
            seeds = {user: [e for e in events if e.user_id == user] for user in "uv"}
            store.seed_many(seeds)
    for user in "uv":
        live = [e for e in recorded.values() if e.user_id == user]
        first: dict[str, StoredEvent] = {}
        for e in seeds[user]:
            first.setdefault(e.event_id, e)
        mine = {e.event_id for e in live}
        packed = sorted((e for e in first.values() if e.event_id not in mine), key=lambda e: e.timestamp)
        merged = sorted([*packed, *live], key=lambda e: e.timestamp)
        expected = [Event(e.product_id, e.interaction_type, e.timestamp) for e in merged]
        assert list(store.recent(user, limit=100)) == expected
        if len(mine | set(first)) == len(mine) + len(first):  # an id seeded and recorded with two times may be cut
            assert list(store.recent(user, limit=limit)) == expected[-limit:]


WRITERS, IDS = 4, 60


def _record_into(path: Path, writer: int, start: object, results: object) -> None:
    store = HistoryStore(SqliteTable(path, "history"))
    order = list(range(IDS))
    random.Random(writer).shuffle(order)
    start.wait(60)  # type: ignore[attr-defined]
    accepted: list[str] = []
    for at in range(0, IDS, 7):
        batch = [StoredEvent(f"e{n}", f"u{n % 3}", f"p{n}", VIEW, NOW + n) for n in order[at : at + 7]]
        accepted += store.record(batch + batch[:2]).accepted
    results.put((writer, accepted))  # type: ignore[attr-defined]


def test_processes_that_record_the_same_ids_at_once_record_each_once(tmp_path: Path) -> None:
    # On a busy machine one process may be done before the others begin; then it was no race, and is run again.
    raced = [_race(tmp_path / "state-0.sqlite3")]
    while raced[-1] < 2 and len(raced) < 10:
        raced.append(_race(tmp_path / f"state-{len(raced)}.sqlite3"))
    assert raced[-1] > 1


def _race(path: Path) -> int:
    """Let several processes record the same ids; how many of them recorded some."""
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(WRITERS), context.Queue()
    processes = [context.Process(target=_record_into, args=(path, n, start, results)) for n in range(WRITERS)]
    for process in processes:
        process.start()
    accepted = dict(results.get(timeout=PATIENCE_S) for _ in processes)
    for process in processes:
        process.join(30)
    assert Counter(e for ids in accepted.values() for e in ids) == Counter(f"e{n}" for n in range(IDS))
    store = HistoryStore(SqliteTable(path, "history"))
    for user in range(3):
        assert [e.product_id for e in store.recent(f"u{user}")] == [f"p{n}" for n in range(user, IDS, 3)]
    return sum(bool(ids) for ids in accepted.values())
