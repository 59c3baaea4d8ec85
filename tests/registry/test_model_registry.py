"""The registry's promises: unique versions, one champion, an unbroken history; on both adapters and under races."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from mypy_boto3_dynamodb import DynamoDBClient

from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Record, Table, Write
from recsys_assets.promotion.decision import Decision
from recsys_assets.promotion.registration import settle
from recsys_assets.registry.model_registry import (
    ChampionMoved,
    ModelRegistry,
    NothingToRollBackTo,
    UnknownVersion,
)
from recsys_assets.registry.records import (
    Candidate,
    ChampionChange,
    ChampionMove,
    ModelVersion,
    RunStatus,
    Status,
    rollback_order,
)
from recsys_assets.registry.versions import Version
from tests.patience import PATIENCE_S
from tests.registry.samples import START, Ticking, candidate, run, window
from tests.state.tables import ADAPTERS, Clock, ModelTable, fake_dynamodb, open_adapter


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDBClient]:
    with fake_dynamodb() as client:
        yield client


@pytest.fixture(params=ADAPTERS)
def table(request: pytest.FixtureRequest, tmp_path: Path, dynamodb: DynamoDBClient) -> Iterator[Table]:
    with open_adapter(request.param, tmp_path, dynamodb) as opened:
        yield opened


@pytest.fixture
def registry(table: Table) -> ModelRegistry:
    return ModelRegistry(table, clock=Ticking())


def register(registry: ModelRegistry, *labels: str, **changes: Any) -> list[Version]:
    return [registry.register(candidate(label, **changes)).version for label in labels]


def test_an_empty_registry(registry: ModelRegistry) -> None:
    assert registry.champion() is None
    assert registry.list_versions() == []
    assert registry.history() == []
    assert registry.list_runs() == []
    with pytest.raises(UnknownVersion, match=r"v1\.0\.0 is not registered"):
        registry.get(Version(1, 0, 0))


def test_a_registered_version_keeps_its_whole_lineage(registry: ModelRegistry) -> None:
    given = candidate("a", metrics={"ndcg@10": 0.1 + 0.2, "tiny": 5e-324, "large": 1e300})
    registered = registry.register(given)
    assert registered.version == Version(1, 0, 0)
    assert registered.status is Status.CANDIDATE
    assert registered.created_at.utcoffset() == timedelta(0)
    stored = registry.get(registered.version)
    assert stored == registered
    assert {name: getattr(stored, name) for name in given.__dataclass_fields__} == {
        name: getattr(given, name) for name in given.__dataclass_fields__
    }
    assert registry.champion() is None  # registering alone promotes nothing


def test_a_bundle_is_registered_once(registry: ModelRegistry) -> None:
    first = registry.register(candidate("a"))
    again = registry.register(candidate("a", run_id="another run", metrics={}))
    assert again == first
    registry.promote(first.version, None)
    assert registry.register(candidate("a")).status is Status.CHAMPION
    assert len(registry.list_versions()) == 1


def test_version_numbers_follow_from_the_champion(registry: ModelRegistry) -> None:
    (first,) = register(registry, "a")
    registry.promote(first, None)
    numbers = [
        *register(registry, "newer data", data_window=window(5)),
        *register(registry, "other family", model="item_knn"),
        *register(registry, "champion's recipe once more", data_window=window(6)),
        *register(registry, "other parameters", parameters={"regularisation": 5.0}),
        *register(registry, "other code", git_revision="fff"),
        *register(registry, "other schema", bundle_schema=2),
    ]
    assert [str(number) for number in numbers] == ["v1.0.1", "v1.1.0", "v1.0.2", "v1.2.0", "v1.3.0", "v2.0.0"]
    registry.promote(numbers[1], first)
    (patched,) = register(registry, "item-kNN again", model="item_knn", data_window=window(7))
    assert str(patched) == "v1.1.1"
    listed = [str(version.version) for version in registry.list_versions()]
    assert listed == ["v1.0.0", "v1.0.1", "v1.0.2", "v1.1.0", "v1.1.1", "v1.2.0", "v1.3.0", "v2.0.0"]


def test_many_versions_are_listed_in_numeric_order(registry: ModelRegistry) -> None:
    numbers = register(registry, *(f"week {n}" for n in range(12)))
    assert [version.version for version in registry.list_versions()] == numbers
    assert str(numbers[-1]) == "v1.0.11"


def test_promotion_moves_the_pointer_and_writes_history(registry: ModelRegistry) -> None:
    first, second = register(registry, "a", "b")
    opening = registry.promote(first, None, reason="Better than popular products.")
    change = registry.promote(second, first, reason="Better still.")
    champion = registry.champion()
    assert champion is not None
    assert (champion.version, champion.status) == (second, Status.CHAMPION)
    assert registry.get(first).status is Status.RETIRED
    assert registry.history() == [opening, change]
    assert (opening.revision, opening.replaced, opening.fallback) == (1, None, None)
    assert (change.revision, change.version, change.replaced, change.fallback) == (2, second, first, first)
    assert (change.move, change.reason) == (ChampionMove.PROMOTION, "Better still.")
    assert [version.version for version in registry.list_versions(Status.CHAMPION)] == [second]


def test_promoting_twice_is_promoting_once(registry: ModelRegistry) -> None:
    first, second = register(registry, "a", "b")
    registry.promote(first, None)
    change = registry.promote(second, first)
    assert registry.promote(second, first) == change
    assert registry.promote(second, second) == change
    assert len(registry.history()) == 2


def test_a_decision_against_another_champion_does_not_count(registry: ModelRegistry) -> None:
    first, second, third = register(registry, "a", "b", "c")
    with pytest.raises(ChampionMoved, match=r"judged against v1\.0\.1, but the champion is no champion"):
        registry.promote(first, second)
    registry.promote(first, None)
    registry.promote(second, first)
    before = registry.history()
    for expected in (first, None, third):
        with pytest.raises(ChampionMoved, match=r"cannot promote v1\.0\.2.*the champion is v1\.0\.1"):
            registry.promote(third, expected)
    assert registry.history() == before
    assert registry.get(third).status is Status.CANDIDATE


def test_unknown_versions_are_not_promoted(registry: ModelRegistry) -> None:
    (first,) = register(registry, "a")
    for expected in (None, first):
        with pytest.raises(UnknownVersion, match=r"v3\.0\.0"):
            registry.promote(Version(3, 0, 0), expected)
    registry.promote(first, None)
    with pytest.raises(UnknownVersion):
        registry.promote(Version(3, 0, 0), first)
    assert len(registry.history()) == 1


def test_rollback_restores_what_was_replaced_and_never_returns(registry: ModelRegistry) -> None:
    first, second, third = register(registry, "a", "b", "c")
    registry.promote(first, None)
    registry.promote(second, first)
    registry.promote(third, second)
    back = registry.rollback(third, reason="Conversion fell.")
    assert (back.version, back.replaced, back.move, back.fallback) == (second, third, ChampionMove.ROLLBACK, first)
    assert registry.rollback(third) == back  # a retry after a lost answer
    assert registry.get(third).status is Status.RETIRED
    assert registry.get(second).status is Status.CHAMPION
    assert registry.rollback(second).version == first
    with pytest.raises(NothingToRollBackTo, match=r"v1\.0\.0: no champion came before"):
        registry.rollback(first)
    assert [str(change.version) for change in registry.history()] == ["v1.0.0", "v1.0.1", "v1.0.2", "v1.0.1", "v1.0.0"]
    assert [change.revision for change in registry.history()] == [1, 2, 3, 4, 5]


def test_rollback_asks_for_the_champion_it_means(registry: ModelRegistry) -> None:
    first, second = register(registry, "a", "b")
    with pytest.raises(ChampionMoved, match="the champion is no champion"):
        registry.rollback(first)
    registry.promote(first, None)
    registry.promote(second, first)
    with pytest.raises(ChampionMoved, match=r"cannot roll back v1\.0\.0: the champion is v1\.0\.1"):
        registry.rollback(first)
    registry.rollback(second)
    registry.promote(second, first)
    assert registry.rollback(second).revision == 5  # a new rollback, not the memory of the first


def test_walking_back_through_a_version_promoted_twice_ends(registry: ModelRegistry) -> None:
    first, second, third = register(registry, "a", "b", "c")
    for version, before in [(first, None), (second, first), (first, second), (third, first)]:
        registry.promote(version, before)
    walked = [registry.rollback(version).version for version in (third, first, second)]
    assert walked == [first, second, first]
    with pytest.raises(NothingToRollBackTo):
        registry.rollback(first)


def test_refusal_is_remembered_and_leaves_the_champion_alone(registry: ModelRegistry) -> None:
    first, second = register(registry, "a", "b")
    registry.promote(first, None)
    decision = Decision(False, ("Not better beyond chance.", "Coverage would fall."), None)
    refused = settle(registry, second, first, decision)
    assert (refused.status, refused.refusal_reasons) == (Status.REFUSED, decision.reasons)
    assert registry.get(second) == refused
    assert settle(registry, second, first, decision) == refused
    champion = registry.champion()
    assert champion is not None
    assert champion.version == first
    assert len(registry.history()) == 1


def test_the_newest_decision_counts(registry: ModelRegistry) -> None:
    first, second = register(registry, "a", "b")
    registry.promote(first, None)
    settle(registry, second, first, Decision(False, ("Too few users.",), None))
    promoted = settle(registry, second, first, Decision(True, ("Better.", "Coverage holds."), None))
    assert (promoted.status, promoted.refusal_reasons) == (Status.CHAMPION, ())
    assert registry.history()[-1].reason == "Better. Coverage holds."
    for served in (first, second):
        assert settle(registry, served, None, Decision(False, ("x",), None)) == registry.get(served)
        assert registry.get(served).status in (Status.RETIRED, Status.CHAMPION)
    with pytest.raises(UnknownVersion):
        registry.refuse(Version(9, 9, 9), ("x",))


def test_runs_are_logged_and_listed(registry: ModelRegistry) -> None:
    runs = [
        run("a", metrics={"ndcg@10": 0.2, "rmse": 0.9}, started_at=START + timedelta(hours=1)),
        run("b", metrics={"ndcg@10": 0.3}, started_at=START + timedelta(hours=2), model="item_knn"),
        run("c", metrics={"ndcg@10": 0.3}, started_at=START + timedelta(hours=3)),
        run("d", metrics={"ndcg@10": 0.9}, started_at=START + timedelta(hours=4), status=RunStatus.FAILED),
        run("e", metrics={"ndcg@10": 0.8}, started_at=START, data_window=window(8)),
        run("f", metrics={"rmse": 0.7}, started_at=START + timedelta(hours=5)),
    ]
    for logged in (*runs, *runs):
        registry.log_run(logged)
    assert [logged.id for logged in registry.list_runs()] == list("fdcbae")
    assert registry.list_runs()[-1] == runs[4]
    assert [logged.id for logged in registry.list_runs(model="item_knn")] == ["b"]
    registry.log_run(replace(runs[0], metrics={"ndcg@10": 0.95}))
    assert len(registry.list_runs()) == 6
    assert {logged.id: logged.metrics for logged in registry.list_runs()}["a"] == {"ndcg@10": 0.95}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_that_do_not_exist_are_left_out_not_stored(value: float) -> None:
    with pytest.raises(ValueError, match=r"metric rmse is .*leave out"):
        candidate("a", metrics={"rmse": value})
    with pytest.raises(ValueError, match=r"metric rmse is .*leave out"):
        run("a", metrics={"rmse": value})


def test_nameless_records_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Candidate\.model must not be empty"):
        candidate("a", model="")
    with pytest.raises(ValueError, match=r"ExperimentRun\.id must not be empty"):
        run("")
    with pytest.raises(ValueError, match="needs a time zone"):
        run("a", started_at=START.replace(tzinfo=None))


class Interrupting:
    """A table on which something else happens just before a chosen write: races, made to order."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.before_write: list[Any] = []
        self.after_get: list[Any] = []

    def get(self, key: Any) -> Record | None:
        found = self.table.get(key)
        if key.partition == "champion" and self.after_get:
            self.after_get.pop(0)()
        return found

    def write(self, writes: Sequence[Write]) -> None:
        if self.before_write:
            self.before_write.pop(0)()
        self.table.write(writes)

    def query(self, partition: str, **options: Any) -> list[Record]:
        return self.table.query(partition, **options)


def test_a_promotion_that_loses_the_race_says_so(table: Table) -> None:
    other, slow_table = ModelRegistry(table, clock=Ticking()), Interrupting(table)
    slow = ModelRegistry(slow_table, clock=Ticking())
    first, second, third = register(other, "a", "b", "c")
    other.promote(first, None)
    slow_table.before_write.append(lambda: other.promote(second, first))
    with pytest.raises(ChampionMoved, match=r"champion is v1\.0\.1"):
        slow.promote(third, first)
    assert [change.version for change in other.history()] == [first, second]
    assert other.get(third).status is Status.CANDIDATE


def test_a_promotion_outlives_a_change_that_does_not_concern_it(table: Table) -> None:
    other, slow_table = ModelRegistry(table, clock=Ticking()), Interrupting(table)
    slow = ModelRegistry(slow_table, clock=Ticking())
    first, second = register(other, "a", "b")
    other.promote(first, None)
    slow_table.before_write.append(lambda: other.refuse(second, ("Meanwhile refused.",)))
    slow.promote(second, first)
    assert other.get(second).status is Status.CHAMPION


def test_a_refusal_that_meets_a_promotion_gives_way(table: Table) -> None:
    other, slow_table = ModelRegistry(table, clock=Ticking()), Interrupting(table)
    slow = ModelRegistry(slow_table, clock=Ticking())
    (first,) = register(other, "a")
    slow_table.before_write.append(lambda: other.promote(first, None))
    assert slow.refuse(first, ("Too late.",)).status is Status.CHAMPION


def test_two_rollbacks_at_once_are_one(table: Table) -> None:
    other, slow_table = ModelRegistry(table, clock=Ticking()), Interrupting(table)
    slow = ModelRegistry(slow_table, clock=Ticking())
    first, second = register(other, "a", "b")
    other.promote(first, None)
    other.promote(second, first)
    slow_table.before_write.append(lambda: other.rollback(second, reason="Alarm."))
    assert slow.rollback(second).reason == "Alarm."
    assert len(other.history()) == 3


def test_the_champion_is_read_whole_while_it_changes(table: Table) -> None:
    other, slow_table = ModelRegistry(table, clock=Ticking()), Interrupting(table)
    slow = ModelRegistry(slow_table, clock=Ticking())
    first, second = register(other, "a", "b")
    other.promote(first, None)
    slow_table.after_get.append(lambda: other.promote(second, first))
    champion = slow.champion()
    assert champion is not None
    assert (champion.version, champion.status) == (second, Status.CHAMPION)


def test_a_version_taken_meanwhile_is_not_given_twice(table: Table) -> None:
    other, slow_table = ModelRegistry(table, clock=Ticking()), Interrupting(table)
    slow = ModelRegistry(slow_table, clock=Ticking())
    slow_table.before_write.append(lambda: other.register(candidate("b")))
    assert str(slow.register(candidate("a")).version) == "v1.0.1"
    slow_table.before_write.append(lambda: other.register(candidate("c")))
    assert str(slow.register(candidate("c")).version) == "v1.0.2"
    assert len(other.list_versions()) == 3


def _compete(path: Path, worker: int, start: Any, results: Any) -> None:
    table = SqliteTable(path, "registry")
    registry = ModelRegistry(table)
    start.wait(60)
    given = [registry.register(candidate(f"{worker}-{n}")).version for n in range(6)]
    shared = registry.register(candidate("the same bundle everywhere")).version
    promoted = []
    for version in given:
        champion = registry.champion()
        try:
            registry.promote(version, None if champion is None else champion.version)
        except ChampionMoved:
            continue
        promoted.append(version)
    results.put((given, shared, promoted))
    table.close()


def test_processes_that_register_and_promote_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_compete, args=(path, n, start, results)) for n in range(3)]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=PATIENCE_S) for _ in processes]
    for process in processes:
        process.join(30)
    given = [version for versions, _, _ in outcomes for version in versions]
    shared = {version for _, version, _ in outcomes}
    promoted = [version for _, _, versions in outcomes for version in versions]
    assert len(set(given)) == 18
    assert len(shared) == 1
    table = SqliteTable(path, "registry")
    registry = ModelRegistry(table)
    assert {version.version for version in registry.list_versions()} == set(given) | shared
    history = registry.history()
    assert sorted(change.version for change in history) == sorted(promoted)
    check_history(history, registry.list_versions())
    table.close()


def check_history(history: list[ChampionChange], versions: list[ModelVersion]) -> None:
    """Revisions without gaps, each move replacing the champion before it, and exactly the last one champion."""
    assert [change.revision for change in history] == list(range(1, len(history) + 1))
    assert [change.replaced for change in history] == [None, *(change.version for change in history)][: len(history)]
    champions = [version.version for version in versions if version.status is Status.CHAMPION]
    assert champions == [change.version for change in history[-1:]]
    assert rollback_order(history)[-1:] == champions


class RegistryHistories(RuleBasedStateMachine):
    """Any order of calls, right and wrong ones: what must hold between records holds after each."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = ModelRegistry(ModelTable(Clock()), clock=Ticking())
        self.given: dict[str, Version] = {}

    @rule(label=st.sampled_from("abcdef"), model=st.sampled_from(["ease", "ncf"]), schema=st.integers(1, 2))
    def register(self, label: str, model: str, schema: int) -> None:
        registered: ModelVersion = self.registry.register(self._candidate(label, model, schema))
        assert self.given.setdefault(registered.bundle_checksum, registered.version) == registered.version

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.given.values())))
        expected = data.draw(st.sampled_from([None, *sorted(self.given.values())]))
        before = self._champion()
        try:
            self.registry.promote(version, expected)
        except ChampionMoved:
            assert before not in (expected, version)
            assert self._champion() == before
        else:
            assert before in (expected, version)
            assert self._champion() == version

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.given.values())))
        before, standing = self._champion(), rollback_order(self.registry.history())
        try:
            change = self.registry.rollback(version)
        except ChampionMoved:
            assert before != version
        except NothingToRollBackTo:
            assert standing == [version]
        else:
            assert change.version == self._champion()
            if before == version:
                assert standing[-2] == change.version
                assert standing[-3::-1][:1] == ([] if change.fallback is None else [change.fallback])

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.given.values())))
        before = self._champion()
        self.registry.refuse(version, ("Because.",))
        assert self._champion() == before

    @invariant()
    def holds(self) -> None:
        versions = self.registry.list_versions()
        assert sorted(self.given.values()) == [version.version for version in versions]
        check_history(self.registry.history(), versions)

    def _champion(self) -> Version | None:
        champion = self.registry.champion()
        return None if champion is None else champion.version

    @staticmethod
    def _candidate(label: str, model: str, schema: int) -> Candidate:
        return candidate(f"{label}{model}{schema}", model=model, bundle_schema=schema)


TestRegistryHistories = RegistryHistories.TestCase
TestRegistryHistories.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
