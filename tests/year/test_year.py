"""Simulated weeks of the loop: no event is lost, an interruption changes nothing, no alarm without a change.

A floor of two weeks instead of four shows two trainings in six weeks. That a change is noticed needs more shoppers
than a test can afford here: see ``tests/monitoring_stage``.
"""

from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.year import rollouts
from benchmarks.year.arm import ArmRun, Day
from benchmarks.year.figures import draw, false_triggers, load, rollout_table, save, tables
from benchmarks.year.pipeline import Pipeline
from benchmarks.year.plan import CANDIDATES, ERRORS, Candidate, YearPlan
from benchmarks.year.rollouts import plan_of
from benchmarks.year.shoppers import ShoppingDay
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import read_routing
from recsys_assets.ingest.synthetic import SyntheticShop
from recsys_assets.lake import Lake

PLAN = YearPlan(
    seed=3, weeks=6, shoppers=500, products=100, sessions=0.2, schedule="taste", models="popularity,item_knn",
    trained_days=35, observed_days=14, floor_days=14,
)  # fmt: skip


def run_of(arm: Any, start: Path, folder: Path) -> ArmRun:
    return ArmRun(PLAN, arm, start, folder, lambda _: None)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("year") / "start"
    ArmRun(PLAN, "start", folder, folder, lambda _: None).make_start()
    return folder


def without_cpu(days: list[Day]) -> list[dict[str, Any]]:
    return [asdict(replace(day, cpu_s=0.0, cpu_training_s=0.0)) for day in days]


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_six_weeks_of_the_loop(start: Path, tmp_path: Path) -> None:
    # Interrupted in its second week: what was served since the checkpoint is served again.
    interrupted = run_of("loop", start, tmp_path / "loop").run(PLAN.start + timedelta(days=9))
    loop = run_of("loop", start, tmp_path / "loop")
    assert loop.state.next_day == (PLAN.start + timedelta(days=7)).toordinal()
    days = loop.run()
    assert len(days) == 42 and sum(day.fallbacks for day in days) == 0

    assert without_cpu(days[:9]) == without_cpu(interrupted)

    sent, lost = loop.lost_events()
    assert lost == 0 and sent > 8_000 and sum(day.crashes for day in days) > 4
    assert sum(day.repeated for day in days) > 0

    change = (PLAN.changes[0].start - PLAN.start).days
    trained = [(number, day.training) for number, day in enumerate(days) if day.training]
    assert [one for one in trained if one[0] <= change] == [(PLAN.floor_days, "floor")], "no alarm before the change"
    assert len(trained) > 1, "it goes on after its first training"
    assert sum(day.refused for day in days) == 0
    assert all(day.data_age_h is not None and day.data_age_h < 48 for day in days if day.promoted)

    lake = Lake(str(tmp_path / "loop" / "home" / "lake"))
    assert [one.isoformat() for one in lake.days("retraining_decisions")][-1] == days[-1].day

    save(loop, tmp_path)
    found = {(PLAN.seed, "loop"): load(PLAN, "loop", tmp_path)}
    assert found[PLAN.seed, "loop"] is not None and load(replace(PLAN, seed=4), "loop", tmp_path) is None
    assert [table.row_count for table in tables([PLAN], found, 6)] == [1, 1, 0]  # type: ignore[arg-type]
    assert "<svg" in draw(PLAN, {"loop": found[PLAN.seed, "loop"]})  # type: ignore[dict-item]
    assert false_triggers(PLAN, found[PLAN.seed, "loop"])[1] == 0  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_bad_candidate_is_taken_back_and_a_good_one_promoted(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the deployed state machine, the real judge and the event stream, at twice the usual speed of the stages."""
    good = "sells twice as much"
    monkeypatch.setitem(CANDIDATES, good, Candidate(1.0, is_bad=False))
    monkeypatch.setattr(rollouts, "plan_of", lambda *given: plan_of(*given).faster(2))
    # No training of the loop and no reports here: the test above has them.
    monkeypatch.setattr(Pipeline, "report_on_yesterday", lambda *_: None)
    plan = replace(PLAN, candidates=f"{ERRORS},{good}", floor_days=28)
    monkeypatch.setattr(YearPlan, "candidate_weeks", dict.fromkeys((ERRORS, good), 0))

    # Interrupted in its second week, within a rollout: it goes on from the checkpoint.
    ArmRun(plan, "rollouts", start, tmp_path / "arm", lambda _: None).run(plan.start + timedelta(days=8))
    arm = ArmRun(plan, "rollouts", start, tmp_path / "arm", lambda _: None)
    assert [one.name for one in arm.state.trials if not one.ended] == [good]
    days = arm.run(plan.start + timedelta(days=16))

    bad, better = arm.state.trials
    assert (bad.name, bad.status, bad.stage) == (ERRORS, "rolled back", "10 %")
    assert 0 < bad.met < 0.02 * 7 * plan.shoppers * plan.sessions
    assert (better.name, better.status, better.stage) == (good, "promoted", "everybody"), better.reason
    assert better.reason == "no alarm within 12 h"

    champion = arm.pipeline.registry.champion()
    route = read_routing(open_table(arm.pipeline.settings, "serving"))
    assert champion is not None and route is not None
    assert [(str(champion.version), 10_000)] == [(one.target.version, one.weight) for one in route.variants]
    assert str(champion.version) == better.version and sum(day.promoted for day in days) == 1
    sent, lost = arm.lost_events()
    assert lost == 0 and sent > 2_000

    save(arm, tmp_path)
    table = rollout_table({plan: load(plan, "rollouts", tmp_path)})
    assert table.row_count == 2
    assert str(table.caption).startswith("false promotions 0 of 1, false rollbacks 0 of 1, undecided 0 of 2, visits")


def test_a_better_list_sells_more_and_the_same_shoppers_come() -> None:
    """The truth against the same products in reverse order, and against no list; a fresh list against a worn one."""
    shop = SyntheticShop(PLAN.shop)
    day = ShoppingDay(shop.world, PLAN, PLAN.start)
    again = ShoppingDay(shop.world, PLAN, PLAN.start)
    assert [one.user for one in day.sessions] == [one.user for one in again.sessions]
    best = day.best_lists(10)
    new, worn = np.zeros(PLAN.products), np.full(PLAN.products, 10.0)

    def clicks(lists: np.ndarray, impressions: np.ndarray) -> int:
        return sum(
            view.place >= 0 for one in day.sessions for view in day.answer(one, lists[one.row].tolist(), impressions)
        )

    random = np.random.default_rng(0).integers(0, PLAN.products, best.shape)
    assert clicks(best, new) > 2 * clicks(random, new) > 0
    assert clicks(best, new) > clicks(best[:, ::-1], new) and clicks(best, new) > clicks(best, worn)
    assert not any(view.place >= 0 for one in day.sessions for view in day.answer(one, [], new))
