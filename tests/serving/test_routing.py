"""Assignment is uniform, independent and sticky; the record is swapped, not overwritten; its cache never gives way."""

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mypy_boto3_dynamodb import DynamoDBClient
from scipy import stats

from lambda_api.serving.guard import DaemonPool, Guard
from lambda_api.serving.routing import HOLDOUT_SALT, RoutingCache, assign, bucket
from lambda_api.state.addressing import MalformedRecord
from lambda_api.state.routing_record import (
    HOLDOUT,
    MAX_HOLDOUT,
    ROUTING_KEY,
    WHOLE,
    RouteTarget,
    RoutingConflict,
    RoutingRecord,
    Variant,
    read_routing,
    write_routing,
)
from lambda_api.state.table import Delete, Put, Table, TableUnavailable
from tests.patience import PATIENCE_S
from tests.state.tables import ADAPTERS, ODD_IDS, Clock, CountingTable, ModelTable, fake_dynamodb, open_adapter

TARGET = RouteTarget("v1.0.0", "file:///models/v1.0.0", "c" * 64)


def routing(*weights: int, salt: str = "spring", revision: int = 1, shadow: RouteTarget | None = None) -> RoutingRecord:
    names = ("champion", "first", "second")
    variants = tuple(
        Variant(name, replace(TARGET, version=name), weight) for name, weight in zip(names, weights, strict=False)
    )
    return RoutingRecord("spring sale", salt, variants, shadow, revision, 1_700_000_000)


def test_the_bucket_is_the_stated_hash() -> None:
    expected = int.from_bytes(hashlib.sha256("spring\x1fZoë".encode()).digest()[:8], "big") % 10_000
    assert bucket("spring", "Zoë") == expected
    assert bucket("a", "b\x1fc") != bucket("a\x1e", "b\x1fc")
    assert all(0 <= bucket("spring", odd) < WHOLE for odd in [*ODD_IDS, "\ud800", ""])
    for salt in ("", "a\x1fb"):  # else ("a", "b\x1fc") and ("a\x1fb", "c") would hash the same bytes
        with pytest.raises(ValueError, match="salt"):
            bucket(salt, "c")


@pytest.fixture(scope="module")
def million() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Buckets of a million shoppers under two salts."""
    ids = [f"user_{n}" for n in range(1_000_000)]
    return tuple(np.fromiter((bucket(salt, i) for i in ids), np.int64, len(ids)) for salt in ("spring", "autumn"))  # type: ignore[return-value]


def test_a_million_shoppers_fall_evenly_into_buckets(million: tuple[Any, Any]) -> None:
    for buckets in million:
        counts = np.bincount(buckets, minlength=WHOLE)
        assert len(counts) == WHOLE
        assert stats.chisquare(counts).pvalue > 1e-3
        at_ten_percent = int((buckets < 1_000).sum())
        assert stats.binomtest(at_ten_percent, len(buckets), 0.1).pvalue > 1e-3


def test_two_experiments_are_independent(million: tuple[Any, Any]) -> None:
    spring, autumn = (buckets // 500 for buckets in million)
    table = np.bincount(spring * 20 + autumn, minlength=400).reshape(20, 20)
    assert stats.chi2_contingency(table).pvalue > 1e-3
    # The test can fail: a salt that does not matter would be caught.
    same = np.bincount(spring * 20 + spring, minlength=400).reshape(20, 20)
    assert stats.chi2_contingency(same + 1).pvalue < 1e-12


def test_every_bucket_has_the_owner_its_weights_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_api.serving.routing.bucket", lambda salt, user_id: int(user_id))
    for weights in [(10_000,), (0, 10_000), (9_000, 1_000), (1, 4_999, 5_000), (0, 5_000, 5_000), (10_000, 0, 0)]:
        record = routing(*weights)
        owners = [assign(record, str(at)).name for at in range(WHOLE)]
        assert [owners.count(variant.name) for variant in record.variants] == list(weights)


two_weights = st.integers(0, WHOLE).flatmap(lambda a: st.tuples(st.just(a), st.integers(0, WHOLE - a)))


@given(before=two_weights, growth=st.integers(0, WHOLE), grows=st.integers(0, 1), user=st.text(min_size=1))
def test_growing_a_challenger_moves_shoppers_only_from_the_champion_to_it(
    before: tuple[int, int], growth: int, grows: int, user: str
) -> None:
    growth = min(growth, WHOLE - sum(before))
    after = [weight + growth * (index == grows) for index, weight in enumerate(before)]
    was = assign(routing(WHOLE - sum(before), *before), user).name
    now = assign(routing(WHOLE - sum(after), *after), user).name
    assert now == was or (was, now) == ("champion", ("first", "second")[grows])


def test_who_met_the_challenger_at_ten_percent_meets_it_at_fifty() -> None:
    ids = [f"user_{n}" for n in range(2_000)]
    at_10 = {i for i in ids if assign(routing(9_000, 1_000), i).name == "first"}
    at_50 = {i for i in ids if assign(routing(5_000, 5_000), i).name == "first"}
    assert 100 < len(at_10) < 300 < 800 < len(at_50)
    assert at_10 < at_50


def test_without_any_id_the_champion_answers() -> None:
    assert assign(routing(0, 10_000), "").name == "champion"
    assert assign(routing(0, 10_000), "visitor-7").name == "first"


@given(st.integers(1, MAX_HOLDOUT), st.integers(0, WHOLE), st.text(min_size=1, max_size=9), st.text(max_size=9))
def test_who_is_held_out_depends_on_the_share_of_the_held_out_alone(
    held: int, challenger: int, user: str, salt: str
) -> None:
    record = routing(WHOLE - challenger, challenger, salt=f"a{salt}".replace("\x1f", "b"))
    holdout = replace(record, holdout=Variant(HOLDOUT, replace(TARGET, version="old"), held))
    is_held = bucket(HOLDOUT_SALT, user) < held
    assert (assign(holdout, user).name == HOLDOUT) == is_held
    if not is_held:
        assert assign(holdout, user) == assign(record, user), "the others are divided as without a holdout"
    assert assign(holdout, "").name == "champion"
    assert RoutingRecord.from_json(holdout.to_json()) == holdout
    assert sum(holdout.share_of(one) for one in (*holdout.variants, *holdout.held)) == pytest.approx(1)


@pytest.mark.parametrize("weight", [0, MAX_HOLDOUT + 1])
def test_a_holdout_has_a_share_of_at_most_a_fifth(weight: int) -> None:
    with pytest.raises(ValueError, match="holdout must be from 1 to 2000"):
        replace(routing(WHOLE), holdout=Variant(HOLDOUT, TARGET, weight))


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDBClient]:
    with fake_dynamodb() as client:
        yield client


@pytest.fixture(params=ADAPTERS)
def table(request: pytest.FixtureRequest, tmp_path: Path, dynamodb: DynamoDBClient) -> Iterator[Table]:
    with open_adapter(request.param, tmp_path, dynamodb) as opened:
        yield opened


def test_the_record_comes_back_as_written(table: Table) -> None:
    assert read_routing(table) is None
    shadow = RouteTarget("v2", "s3://b/v2", "d", endpoint="http://127.0.0.1:9000")
    record = routing(8_000, 500, 1_500, salt="Zoë 🛒", shadow=shadow)
    write_routing(table, record, None)
    assert read_routing(table) == record
    assert RoutingRecord.from_json(record.to_json()) == record


def test_writers_swap_what_they_have_seen(table: Table) -> None:
    first = routing(10_000, revision=1)
    with pytest.raises(RoutingConflict, match="expected revision 1, but there is none"):
        write_routing(table, replace(first, revision=2), 1)
    write_routing(table, first, None)
    with pytest.raises(RoutingConflict, match="expected none, but it has revision 1"):
        write_routing(table, first, None)
    write_routing(table, routing(9_000, 1_000, revision=2), 1)
    with pytest.raises(RoutingConflict, match="expected revision 1, but it has revision 2"):
        write_routing(table, routing(5_000, 5_000, revision=3), 1)
    with pytest.raises(ValueError, match="must exceed"):
        write_routing(table, routing(5_000, 5_000, revision=2), 2)
    assert read_routing(table) == routing(9_000, 1_000, revision=2)


def test_one_of_many_writers_wins_each_revision(table: Table) -> None:
    write_routing(table, routing(10_000), None)

    def write(weight: int) -> bool:
        try:
            write_routing(table, routing(10_000 - weight, weight, revision=2), 1)
        except RoutingConflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(100, 900, 100))) == 1


GOOD = routing(9_000, 1_000).to_json()
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({}, "lacks experiment"),
    ({**GOOD, "salt": 7}, "salt must be"),
    ({**GOOD, "salt": "a\x1f"}, "separator"),
    ({**GOOD, "surprise": 1}, "unknown fields: surprise"),
    ({**GOOD, "variants": []}, "0 variants"),
    ({**GOOD, "variants": "champion"}, "must be a list"),
    ({**GOOD, "variants": [7]}, "must be an object"),
    ({**GOOD, "variants": GOOD["variants"] * 2}, "4 variants"),
    ({**GOOD, "variants": [GOOD["variants"][0]] * 2}, "different names"),
    ({**GOOD, "variants": GOOD["variants"][:1]}, "sum to 9000"),
    ({**GOOD, "variants": [{**GOOD["variants"][0], "weight": 9_000.0}, GOOD["variants"][1]]}, "whole number"),
    ({**GOOD, "variants": [{**GOOD["variants"][0], "weight": -1}, GOOD["variants"][1]]}, "whole number"),
    ({**GOOD, "variants": [{**GOOD["variants"][0], "target": {}}, GOOD["variants"][1]]}, "target lacks version"),
    ({**GOOD, "shadow": {"version": "", "bundle_uri": "x", "checksum": "y"}}, "version must be a non-empty"),
    ({**GOOD, "revision": True}, "revision must be"),
]


@pytest.mark.parametrize(("stored", "fault"), BROKEN, ids=[fault for _, fault in BROKEN])
def test_a_malformed_record_is_a_failed_reading_and_the_last_known_one_stays(
    stored: dict[str, Any], fault: str
) -> None:
    table, clock = ModelTable(Clock()), Clock(0.0)
    cache = RoutingCache(table, clock=clock)
    write_routing(table, routing(9_000, 1_000), None)
    known = cache.current()
    table.write([Put(ROUTING_KEY, stored)])
    with pytest.raises(MalformedRecord, match=fault):
        read_routing(table)
    clock.now = 30
    assert cache.current() == known == routing(9_000, 1_000)
    assert fault in str(cache.last_error)
    table.write([Put(ROUTING_KEY, routing(5_000, 5_000, revision=2).to_json())])
    clock.now = 32
    assert cache.current() == routing(5_000, 5_000, revision=2)
    assert cache.last_error is None


def test_the_cache_reads_every_thirty_seconds_and_survives_an_outage() -> None:
    table, clock = CountingTable(ModelTable(Clock())), Clock(0.0)
    cache = RoutingCache(table, clock=clock)
    assert cache.current() is None
    assert cache.last_error == "nothing has been published"
    clock.now = 1.9
    assert cache.current() is None
    assert len(table.calls) == 1
    write_routing(table, routing(10_000), None)
    clock.now = 2.0  # the first release is seen within two seconds
    assert cache.current() == routing(10_000)
    table.calls.clear()
    clock.now = 31.9
    assert cache.current() == routing(10_000)
    assert table.calls == []
    table.fail = TableUnavailable("locked")
    for step in range(40):  # the guard opens on the way; the shopper never notices
        clock.now = 32.0 + 2 * step
        assert cache.current() == routing(10_000)
    assert 5 <= len(table.calls) < 20
    assert cache.known == routing(10_000)
    table.fail = None
    clock.now += 12
    assert cache.current() == routing(10_000)
    assert cache.last_error is None
    table.write([Delete(ROUTING_KEY)])
    clock.now += 30
    assert cache.current() == routing(10_000)  # who deletes the record by mistake does not stop the shop


class HangingTable(ModelTable):
    """Reads take as long as ``gate`` is closed."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.gate = threading.Event()
        self.gate.set()
        self.reading = 0

    def get(self, key: Any) -> Any:
        self.reading += 1
        self.gate.wait(2 * PATIENCE_S)
        return super().get(key)


def test_one_caller_refreshes_and_nobody_waits_for_a_known_record() -> None:
    table, clock = HangingTable(), Clock(0.0)
    cache = RoutingCache(table, clock=clock, guard=Guard("routing", 5.0, pool=DaemonPool()))
    write_routing(table, routing(10_000), None)
    cache.current()
    clock.now, table.reading = 30, 0
    table.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(cache.current)
        while table.reading == 0:
            time.sleep(0.001)
        others = [pool.submit(cache.current) for _ in range(20)]
        assert all(
            other.result(timeout=PATIENCE_S) == routing(10_000) for other in others
        )  # while the first still waits
        assert not first.done()
        table.gate.set()
        assert first.result(timeout=PATIENCE_S) == routing(10_000)
    assert table.reading == 1


def test_a_hanging_table_costs_the_refresher_the_budget_and_no_more() -> None:
    table, clock = HangingTable(), Clock(0.0)
    cache = RoutingCache(table, clock=clock, guard=Guard("routing", 0.05, pool=DaemonPool()))
    write_routing(table, routing(10_000), None)
    cache.current()
    clock.now = 30
    table.gate.clear()
    assert cache.current() == routing(10_000)
    assert "timeout" in str(cache.last_error)
    table.gate.set()


def test_first_callers_share_one_reading() -> None:
    table = HangingTable()
    write_routing(table, routing(10_000), None)
    table.gate.clear()
    table.reading = 0
    cache = RoutingCache(table, guard=Guard("routing", 10.0, pool=DaemonPool()))
    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(cache.current) for _ in range(8)]
        while table.reading == 0:
            time.sleep(0.001)
        table.gate.set()
        assert [caller.result(timeout=PATIENCE_S) for caller in callers] == [routing(10_000)] * 8
    assert table.reading == 1


def test_lists_of_two_versions_are_interleaved_and_of_no_other_number() -> None:
    record = replace(routing(5_000, 5_000), interleaved=True)
    assert RoutingRecord.from_json(record.to_json()) == record
    assert "interleaved" not in routing(WHOLE).to_json(), "processes from before it read other records"
    for wrong in (routing(WHOLE), routing(5_000, 3_000, 2_000)):
        with pytest.raises(ValueError, match="true only for a champion and one challenger"):
            replace(wrong, interleaved=True)
