"""A thousand starts, promotions and rollbacks of one route each, from eight processes at once."""

import json
import multiprocessing
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import ROUTING_KEY, WHOLE, read_routing
from lambda_api.state.table import Key, Matches, Put, Record, Table, Write
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.record import CURRENT, ENDED, current_rollout, past_rollouts
from recsys_deploy.rollout.steps import Rollouts
from tests.rollout.world import Script, fast, make_world

PROCESSES = 8
ATTEMPTS = 1_000
MOVES = ("start", "promote", "take back")


@dataclass
class Watched:
    """A table that notes which revisions of route and rollout were written through it."""

    table: Table
    won: dict[Key, list[int]] = field(default_factory=lambda: {ROUTING_KEY: [], CURRENT: []})

    def get(self, key: Key) -> Record | None:
        return self.table.get(key)

    def query(
        self, partition: str, *, prefix: str = "", newest_first: bool = False, limit: int | None = None
    ) -> list[Record]:
        return self.table.query(partition, prefix=prefix, newest_first=newest_first, limit=limit)

    def write(self, writes: Sequence[Write]) -> None:
        self.table.write(writes)
        for one in writes:
            # A start writes the route as it is, to be sure that nobody changes it in this moment.
            if (
                isinstance(one, Put)
                and one.key in self.won
                and one.condition != Matches({"revision": one.attributes["revision"]})
            ):
                self.won[one.key].append(int(one.attributes["revision"]))


def rollouts_of(settings: Settings, serving: Table, cache: Path) -> Rollouts:
    registry = ModelRegistry(open_table(settings, "registry"))
    return Rollouts(registry, BundleStore(settings.models_uri), serving, cache, Script())


def hurry(
    number: int, settings: Settings, versions: tuple[str, str], cache: Path, start: Barrier
) -> tuple[dict[str, list[int]], Counter[str]]:
    """This process's share of the attempts, in an order of its own; what it won, and how each attempt ended."""
    chance, told = random.Random(number), Counter[str]()
    serving = Watched(open_table(settings, "serving"))
    rollouts = rollouts_of(settings, serving, cache)
    plan = fast(Strategy.CANARY, stages=(2, 4)).to_json()
    moves = list(MOVES) * (ATTEMPTS // PROCESSES)
    chance.shuffle(moves)
    start.wait()
    for place, move in enumerate(moves):
        record, route = current_rollout(serving), read_routing(serving)
        assert route is not None
        try:
            if move == "start":
                other = versions[route.champion.target.version == versions[0]]
                rollouts.begin(f"r-{number}-{place}", other, plan)
            elif record is not None and move == "promote":
                rollouts.enter(record.id)
                rollouts.promote(record.id)
                rollouts.finish(record.id)
            elif record is not None:
                rollouts.take_back(record.id, "somebody said so")
            told[f"{move}: done"] += 1
        except RecsysError as error:
            told[f"{move}: {type(error).__name__}"] += 1
    return {key.partition: revisions for key, revisions in serving.won.items()}, told


def work(number: int, arguments: tuple[Any, ...], results: Any) -> None:
    results.put(hurry(number, *arguments))


@pytest.mark.slow
def test_of_a_thousand_starts_promotions_and_rollbacks_at_once_one_wins_each_revision(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    settings, before = world.home.settings, world.route.revision
    versions = (str(world.first.version), str(world.second.version))
    spawn = multiprocessing.get_context("spawn")
    results, start = spawn.Queue(), spawn.Barrier(PROCESSES)
    arguments = (settings, versions, tmp_path / "cache", start)
    processes = [spawn.Process(target=work, args=(number, arguments, results)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    told = sum((counts for _, counts in found), Counter[str]())
    print(json.dumps(told, indent=1, sort_keys=True))
    for move in MOVES:
        assert sum(count for name, count in told.items() if name.startswith(f"{move}:")) == ATTEMPTS
        assert told[f"{move}: done"] > 0
    record = current_rollout(world.serving)
    assert record is not None
    for partition, first, last in (("routing", before, world.route.revision), ("rollout", 0, record.revision)):
        won = sorted(revision for wins, _ in found for revision in wins[partition])
        assert won == list(range(first + 1, last + 1)), "every revision has one writer, and none is missing"
    world.rollouts.take_back(record.id, "the end")
    ((live, weight),) = world.live
    assert weight == WHOLE and live == world.champion
    ended = past_rollouts(world.serving)
    assert len(ended) == told["start: done"] and all(one.status in ENDED for one in ended)
    refusals = {name.split(": ")[1] for name in told} - {"done"}
    assert refusals <= {"AnotherRolloutRuns", "RolloutRefused", "RolloutConflict", "RouteRefused", "ChampionMoved"}
