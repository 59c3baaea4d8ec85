"""Exposures on every adapter, and their join with feedback against a table worked out by hand."""

from dataclasses import replace
from typing import Any

import pytest

from lambda_api.interactions import InteractionType
from lambda_api.state.addressing import MalformedRecord, digest
from lambda_api.state.exposures import Exposure, InferenceLog, ShownItem, join_feedback
from lambda_api.state.history import StoredEvent
from lambda_api.state.table import Key, Put, Table
from tests.state.tables import ODD_IDS, Clock, CountingTable

VIEW, CART, PURCHASE, _ = InteractionType
NOW = 1_700_000_000


def exposure(request_id: str = "r-1", *products: str, user: str = "u") -> Exposure:
    items = tuple(
        ShownItem(product, 1.0 / rank, rank, 0.25 if rank == 2 else None, "viewed")
        for rank, product in enumerate(products or ("a", "b"), start=1)
    )
    return Exposure(
        request_id=request_id,
        user_id=user,
        at_ms=NOW * 1000 + 7,
        experiment="spring",
        variant="champion",
        variant_propensity=0.9,
        model_version="v1.0.0",
        stage="ranked",
        cause=None,
        items=items,
        context={"page": "product", "product_ids": ["x"], "device": None},
        latency_ms=3.25,
    )


@pytest.fixture
def log(table: Table, clock: Clock) -> InferenceLog:
    return InferenceLog(table, clock=clock)


def test_an_exposure_comes_back_as_written(log: InferenceLog) -> None:
    assert log.get("r-1") is None
    first, second = exposure(), replace(exposure("r-2"), cause="history: timeout", items=(), context={})
    log.write([first, second])
    log.write([])
    assert log.get("r-1") == first
    assert log.get("r-2") == second
    log.write([replace(first, latency_ms=1.0), replace(first, latency_ms=2.0)])  # one id twice: the last counts
    assert log.get("r-1") == replace(first, latency_ms=2.0)
    assert Exposure.from_json(first.to_json()) == first
    interleaved = replace(first, items=(replace(first.items[0], team="v1.1.0"), first.items[1]))
    log.write([interleaved])
    assert log.get("r-1") == interleaved == Exposure.from_json(interleaved.to_json())
    assert "team" not in first.to_json()["items"][0], "nearly no list has teams"
    log.write([first])
    with pytest.raises(ValueError, match="not an exposure"):
        Exposure.from_json({**first.to_json(), "surprise": 1})


def test_exposures_are_forgotten_after_thirty_days(log: InferenceLog, clock: Clock) -> None:
    log.write([exposure()])
    clock.now += 30 * 86_400 - 2
    assert log.get("r-1") is not None
    clock.now += 3
    assert log.get("r-1") is None


def test_a_hundred_lists_of_a_hundred_are_one_write(table: Table, clock: Clock) -> None:
    counting = CountingTable(table)
    log = InferenceLog(counting, clock=clock)
    batch = [exposure(f"r-{n}", *(f"product-{n}-{i}" for i in range(100))) for n in range(100)]
    log.write(batch)
    assert counting.calls == ["write"]
    assert all(log.get(e.request_id) == e for e in batch)
    counting.calls.clear()
    log.write([*batch, exposure("one more")])
    assert counting.calls == ["write", "write"]


@pytest.mark.parametrize("letter", ["🛒", "\x01"], ids=["four bytes", "six bytes in JSON"])
def test_giant_lists_are_spread_over_records_and_still_whole(table: Table, clock: Clock, letter: str) -> None:
    log = InferenceLog(table, clock=clock)
    giant = exposure("r", *(f"{n:03d}" + letter * 997 for n in range(100)))
    log.write([giant, exposure("s")])
    assert len(table.query(f"request#{digest('r')}")) > 1
    assert log.get("r") == giant
    assert log.get("s") == exposure("s")
    log.write([exposure("r")])  # shorter now: what the longer one left behind is not its own
    assert log.get("r") == exposure("r")


def test_any_request_id_will_do(log: InferenceLog) -> None:
    batch = [exposure(odd, odd, user=odd) for odd in ODD_IDS]
    log.write(batch)
    assert [log.get(odd) for odd in ODD_IDS] == batch
    with pytest.raises(ValueError, match="request_id must be"):
        log.write([exposure("")])


@pytest.mark.parametrize("stored", [{}, {"items": [], "parts": 1}, {"items": [[1]], "parts": 1}], ids=str)
def test_records_of_other_making_are_named(log: InferenceLog, table: Table, stored: dict[str, Any]) -> None:
    table.write([Put(Key(f"request#{digest('r')}", "exposure"), stored)])
    with pytest.raises(MalformedRecord, match="cannot be read"):
        log.get("r")


def event(
    identifier: str, product: str, request_id: str | None, *, user: str = "u", at: int = NOW, kind: Any = VIEW
) -> StoredEvent:
    return StoredEvent(identifier, user, product, kind, at, request_id=request_id)


def test_feedback_joins_by_request_user_and_product() -> None:
    first, second = exposure("r-1", "a", "b"), exposure("r-2", "b", "c")
    events = [
        event("3", "a", "r-1", at=NOW + 9, kind=PURCHASE),
        event("1", "a", "r-1", at=NOW + 2),
        event("2", "a", "r-1", at=NOW + 2, kind=CART),
        event("1", "a", "r-1", at=NOW + 2),  # delivered twice
        event("4", "b", "r-2", at=NOW - 60),  # the shopper's clock is slow
        event("5", "b", None),  # not from a list
        event("6", "z", "r-1"),  # not on the list
        event("7", "b", "r-1", user="somebody else"),
        event("8", "c", "r-9"),  # an unknown list
    ]
    joined = join_feedback([first, second, first], iter(events))
    assert [(j.exposure.request_id, j.item.product_id, [e.event_id for e in j.events]) for j in joined] == [
        ("r-1", "a", ["1", "2", "3"]),
        ("r-1", "b", []),
        ("r-2", "b", ["4"]),
        ("r-2", "c", []),
    ]


def test_the_join_gives_the_rates_worked_out_by_hand() -> None:
    """Inverse propensity: of four items shown with propensities 1, 1/4, 1, 1/4, the 2nd and 3rd were clicked."""
    joined = join_feedback(
        [exposure("r-1", "a", "b"), exposure("r-2", "c", "d")], [event("1", "b", "r-1"), event("2", "c", "r-2")]
    )
    clicks = [bool(j.events) for j in joined]
    weights = [1 / (j.item.propensity or 1) for j in joined]
    assert clicks == [False, True, True, False]
    assert sum(c * w for c, w in zip(clicks, weights, strict=True)) / sum(weights) == (4 + 1) / (1 + 4 + 1 + 4)


def test_no_feedback_and_no_exposures() -> None:
    assert join_feedback([], [event("1", "a", "r-1")]) == []
    assert [j.events for j in join_feedback([exposure()], [])] == [(), ()]
