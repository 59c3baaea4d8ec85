"""API keys on every adapter: what is stored, who is let in, how fast a revocation counts, and what an outage does."""

import logging
import re
from typing import Any

import pytest

from lambda_api.serving.guard import DaemonPool, Guard
from lambda_api.state import api_keys
from lambda_api.state.api_keys import (
    CACHE_S,
    GRACE_S,
    MAX_CACHED,
    RETRY_S,
    ApiKeys,
    KeysUnavailable,
    create,
    list_keys,
    revoke,
)
from lambda_api.state.table import Key, Put, Table, TableUnavailable
from tests.state.tables import Clock, CountingTable, ModelTable

NOW = 1_700_000_000


def name_of(keys: ApiKeys, plain: object, now: float = NOW) -> str | None:
    identity = keys.verify(plain, now)
    return None if identity is None else identity.name


def test_a_key_lets_its_owner_in_with_its_scopes(table: Table) -> None:
    plain = create(table, "Zoë's shop", {"shop", "operations"}, now=NOW)
    assert re.fullmatch(r"rk_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", plain)
    identity = ApiKeys(table).verify(plain, NOW)
    assert identity is not None
    assert (identity.name, identity.scopes) == ("Zoë's shop", {"shop", "operations"})
    assert plain.startswith(f"rk_{identity.key_id}_")
    assert len({create(table, "other") for _ in range(20)}) == 20


def test_nothing_that_opens_a_door_is_stored_or_logged(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plain = create(table, "shop")
    secret = plain.split("_", 2)[2]
    counting = CountingTable(table)
    keys = ApiKeys(counting)
    keys.verify(plain, NOW)
    counting.fail = TableUnavailable("locked")
    keys.verify(plain[:-1] + ("A" if plain[-1] != "A" else "B"), NOW)
    with pytest.raises(KeysUnavailable):
        ApiKeys(counting).verify(plain, NOW)
    everything = repr(table.query("keys")) + repr(list_keys(table)) + repr(keys.verify(plain, NOW)) + caplog.text
    assert "not read" in caplog.text
    assert secret not in everything
    assert secret[:12] not in everything


def test_rotation_needs_no_downtime(table: Table) -> None:
    old = create(table, "shop", now=NOW)
    new = create(table, "shop", now=NOW + 1)
    keys = ApiKeys(table)
    assert name_of(keys, old) == name_of(keys, new) == "shop"
    first, second = list_keys(table)
    assert revoke(table, first.key_id, now=NOW + 5)
    assert (name_of(ApiKeys(table), old), name_of(ApiKeys(table), new)) == (None, "shop")
    assert revoke(table, first.key_id, now=NOW + 9)  # again is fine, and the first time counts
    assert [(key.name, key.revoked_at) for key in list_keys(table)] == [("shop", NOW + 5), ("shop", None)]
    assert second.created_at == NOW + 1
    assert not revoke(table, "0" * 16)
    assert not revoke(table, "../" * 500)


def test_a_key_expires_to_the_second_even_while_cached(table: Table) -> None:
    plain = create(table, "shop", expires_at=NOW + 60, now=NOW)
    keys = ApiKeys(table)
    assert name_of(keys, plain, NOW + 59.9) == "shop"
    assert name_of(keys, plain, NOW + 60) is None


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"scopes": ()}, {"scopes": {"root"}}, {"scopes": "shop"}, {"expires_at": NOW}, {"name": "\ud800"}],
    ids=str,
)
def test_impossible_keys_are_not_made(table: Table, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|not valid"):
        create(table, **{"name": "shop", "scopes": {"shop"}, "now": NOW, **wrong})
    assert list_keys(table) == []


GOOD = "rk_" + "0" * 16 + "_" + "A" * 43
GARBAGE = [
    None,
    7,
    b"rk_",
    "",
    " ",
    "rk_",
    "rk__",
    GOOD[:-1],
    GOOD + "A",
    GOOD + "\n",
    GOOD.upper(),
    GOOD.replace("_A", "_é"),
    GOOD.replace("0", "０"),
    "x" * 1_000_000,
    "\ud800",
    f"rk_{'g' * 16}_{'A' * 43}",
    f"{GOOD},{GOOD}",
]


@pytest.mark.parametrize("plain", GARBAGE, ids=lambda value: repr(value)[:30])
def test_garbage_is_no_key_and_costs_no_reading(plain: object) -> None:
    counting = CountingTable(ModelTable(Clock()))
    assert ApiKeys(counting).verify(plain, NOW) is None
    assert counting.calls == []


def test_unknown_ids_and_wrong_secrets_cost_the_same_work(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = create(table, "shop")
    key_id = plain.split("_")[1]
    counting = CountingTable(table)
    compared: list[tuple[str, str]] = []
    compare = api_keys.hmac.compare_digest

    def watch(left: str, right: str) -> bool:
        compared.append((left, right))
        return compare(left, right)

    monkeypatch.setattr(api_keys.hmac, "compare_digest", watch)
    for attempt in (f"rk_{key_id}_{'A' * 43}", GOOD):
        counting.calls.clear()
        compared.clear()
        assert ApiKeys(counting).verify(attempt, NOW) is None
        assert counting.calls == ["get"]
        assert [(len(left), len(right)) for left, right in compared] == [(64, 64)]


def test_a_digest_is_not_a_key(table: Table) -> None:
    create(table, "shop")
    (record,) = table.query("keys")
    assert ApiKeys(table).verify(f"rk_{record.key.sort}_{record.attributes['digest'][:43]}", NOW) is None


def test_a_revocation_counts_when_the_cache_has_run_out(table: Table) -> None:
    clock = Clock(0.0)
    plain = create(table, "shop", now=NOW)
    counting = CountingTable(table)
    keys = ApiKeys(counting, clock=clock)
    for second in range(int(CACHE_S)):
        clock.now = second
        assert name_of(keys, plain) == "shop"
    assert counting.calls == ["get"]
    revoke(table, plain.split("_")[1])
    clock.now = CACHE_S
    assert name_of(keys, plain) is None
    assert CACHE_S <= 60


def test_a_removed_record_closes_the_door_too(table: Table) -> None:
    clock = Clock(0.0)
    plain = create(table, "shop")
    keys = ApiKeys(table, clock=clock)
    assert name_of(keys, plain) == "shop"
    from lambda_api.state.table import Delete

    table.write([Delete(Key("keys", plain.split("_")[1]))])
    clock.now = CACHE_S
    assert name_of(keys, plain) is None


@pytest.mark.parametrize("failure", [TableUnavailable("locked"), RuntimeError("anything else")], ids=repr)
def test_while_the_table_is_down_known_keys_work_for_a_while_and_others_do_not(
    table: Table, failure: Exception
) -> None:
    clock = Clock(0.0)
    known, unknown = create(table, "known", expires_at=NOW + 800, now=NOW), create(table, "unknown", now=NOW)
    counting = CountingTable(table)
    keys = ApiKeys(counting, clock=clock)
    assert name_of(keys, known) == "known"
    counting.fail = failure
    counting.calls.clear()
    clock.now = CACHE_S
    for _ in range(50):
        assert name_of(keys, known) == "known"
    assert counting.calls == ["get"]  # not once per request
    with pytest.raises(KeysUnavailable):
        keys.verify(unknown, NOW)
    clock.now += RETRY_S
    assert name_of(keys, known) == "known"
    assert name_of(keys, known, NOW + 800) is None  # expiry holds all the same
    clock.now = GRACE_S - 0.1
    assert name_of(keys, known) == "known"
    clock.now = GRACE_S
    with pytest.raises(KeysUnavailable):
        keys.verify(known, NOW)
    counting.fail = None
    assert name_of(keys, unknown) == "unknown"
    clock.now += RETRY_S
    assert name_of(keys, known) == "known"


def test_a_guard_around_the_table_is_used() -> None:
    table = CountingTable(ModelTable(Clock()))
    plain = create(table, "shop")
    guard = Guard("api_keys", 5.0, failures_to_open=2, pool=DaemonPool())
    keys = ApiKeys(table, guard=guard)
    assert name_of(keys, plain) == "shop"
    table.fail = TableUnavailable("locked")
    table.calls.clear()
    for _ in range(10):
        with pytest.raises(KeysUnavailable):
            keys.verify(GOOD, NOW)
    assert table.calls == ["get"] * 2
    assert guard.state.status == "open"


@pytest.mark.parametrize(
    "stored",
    [{}, {"digest": "short"}, {"digest": "0" * 64, "scopes": ["shop"], "name": "n", "created_at": "x"}],
    ids=str,
)
def test_a_malformed_record_lets_nobody_in(table: Table, stored: dict[str, Any]) -> None:
    table.write([Put(Key("keys", "0" * 16), stored)])
    with pytest.raises(KeysUnavailable):
        ApiKeys(table).verify(GOOD, NOW)


def test_the_cache_is_bounded() -> None:
    table = ModelTable(Clock())
    keys = ApiKeys(table)
    plains = [create(table, "shop") for _ in range(MAX_CACHED + 5)]
    assert all(name_of(keys, plain) == "shop" for plain in plains)
    assert len(keys._cache) == MAX_CACHED
