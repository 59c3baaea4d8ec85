"""The deployed state machine in its interpreter, on the real steps: every path, a crash after every step."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from lambda_api.state.routing_record import WHOLE, RoutingRecord, Variant
from lambda_api.state.table import Table
from recsys_deploy.release.moves import Releases
from recsys_deploy.release.route import RouteRefused, hold_out, rewrite_route, route_champion, target_of
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.handler import dispatch, metrics_of
from recsys_deploy.rollout.machine import DEFINITION
from recsys_deploy.rollout.plan import RolloutPlan
from recsys_deploy.rollout.record import (
    Look,
    RolloutConflict,
    RolloutRecord,
    Status,
    past_rollouts,
    running_rollout,
)
from recsys_deploy.rollout.steps import Rollouts
from tests.patience import wait_until
from tests.rollout.world import BROKEN, Execution, World, end_of, fast, make_world
from tests.state.tables import ADAPTERS, fake_dynamodb, open_adapter
from tests.training_machine.state_machine_checks import states

pytestmark = pytest.mark.slow


@pytest.fixture(params=ADAPTERS)
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    with fake_dynamodb() as client, open_adapter(request.param, tmp_path / "table", client) as table:
        yield table


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def run(world: World, plan: RolloutPlan) -> Execution:
    with world.machine() as machine:
        return end_of(machine, machine.start("r-1", str(world.second.version), plan.to_json()), timeout_s=200)


def assert_new_champion(world: World) -> None:
    second = str(world.second.version)
    assert (world.live, world.champion, world.route.shadow) == ([(second, WHOLE)], second, None)
    assert (world.record.status, world.route.experiment) == (Status.PROMOTED, "none")


def assert_taken_back(world: World, status: Status = Status.ROLLED_BACK) -> None:
    first = str(world.first.version)
    assert (world.live, world.champion, world.route.shadow) == ([(first, WHOLE)], first, None)
    assert (world.record.status, world.route.experiment) == (status, "none")
    assert [record.id for record in past_rollouts(world.serving)] == [world.record.id]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_good_version_goes_all_the_way_and_the_pointer_moves_last(world: World, strategy: Strategy) -> None:
    pointers: list[tuple[int, str]] = []
    collect = world.script.collect

    def watched(*arguments: object) -> object:
        pointers.append((world.record.stage, world.champion))
        return collect(*arguments)  # type: ignore[arg-type]

    world.script.collect = watched  # type: ignore[method-assign, assignment]
    ended = run(world, fast(strategy))
    assert ended.status == "SUCCEEDED", ended
    assert_new_champion(world)
    last = len(world.record.plan.stages) - 1
    assert all(champion == str(world.first.version) for stage, champion in pointers if stage < last)
    weights = [route.variants[-1].weight if len(route.variants) == 2 else 0 for route in world.calls]
    shares = [stage.weight for stage in world.record.plan.stages[:-1] if stage.weight]
    assert [weight for weight in dict.fromkeys(weights) if weight] == shares
    assert world.messages[-1][0] == f"{world.second.version} answers everybody"


@pytest.mark.parametrize("stage", ["shadow", "1 %", "5 %", "50 %", "everybody"])
def test_a_version_that_breaks_is_taken_back_from_every_stage(tmp_path: Path, serving: Table, stage: str) -> None:
    evidence = replace(BROKEN, alarms=("6 % of answers failed",)) if stage == "everybody" else BROKEN
    world = make_world(tmp_path, serving, {stage: evidence})
    assert run(world, fast(Strategy.CANARY)) == Execution("FAILED", "TakenBack")
    assert_taken_back(world)
    assert world.script.looks[-1] == stage and "failed" in world.record.reason
    assert world.messages[-1][0] == f"{world.second.version} was taken back"


def test_no_rollout_touches_who_is_held_out(world: World) -> None:
    held = hold_out(world.serving, 0.05, 1).holdout
    assert held is not None and held.target.version == str(world.first.version)
    assert run(world, fast(Strategy.CANARY)).status == "SUCCEEDED"
    assert {route.holdout for route in world.calls} == {held}
    assert world.route.holdout == held and world.live == [(str(world.second.version), WHOLE)]
    assert hold_out(world.serving, 0.1, 2).holdout == replace(held, weight=1_000), "still the oldest version"
    assert hold_out(world.serving, 0, 3).holdout is None


def test_lists_are_interleaved_in_the_experiment_alone(world: World) -> None:
    assert run(world, fast(Strategy.CANARY, interleave=True)).status == "SUCCEEDED"
    assert_new_champion(world)
    drafted = [route for route in world.calls if route.interleaved]
    assert {tuple(one.weight for one in route.variants) for route in drafted} == {(0, WHOLE)}
    others = [route for route in world.calls if not route.interleaved and len(route.variants) == 2]
    assert {route.variants[1].weight for route in others} == {100, 500}
    assert all(RoutingRecord.from_json(route.to_json()) == route for route in world.calls)


def test_no_interleaving_is_left_after_a_rollback(tmp_path: Path) -> None:
    world = make_world(tmp_path, by_stage={"interleaved": BROKEN})
    run(world, fast(Strategy.CANARY, interleave=True, stages=(2, 3, 4)))
    assert_taken_back(world)
    assert any(route.interleaved for route in world.calls) and not world.route.interleaved


STEPS = ["begin", "enter", "judge", "promote", "finish"]


def test_the_interpreter_is_the_one_in_this_process_whatever_the_environment_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert run(world, fast(Strategy.CANARY, stages=(4,))).status == "SUCCEEDED"
    assert_new_champion(world)


@pytest.mark.parametrize("step", STEPS)
def test_an_answer_lost_after_any_step_changes_nothing_of_the_outcome(world: World, step: str) -> None:
    world.crash_after[step] = 1
    assert run(world, fast(Strategy.CANARY, stages=(0, 2, 4))).status == "SUCCEEDED"
    assert_new_champion(world)
    assert len(world.home.registry.history()) == 2


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_never_works_ends_in_a_rollback(world: World, step: str) -> None:
    world.crash_before[step] = 1_000
    assert run(world, fast(Strategy.CANARY, stages=(0, 2, 4))) == Execution("FAILED", "TakenBack")
    first = str(world.first.version)
    assert (world.live, world.champion) == ([(first, WHOLE)], first)
    assert running_rollout(world.serving) is None


def test_a_rollback_that_fails_at_first_is_repeated_until_it_is_done(tmp_path: Path) -> None:
    world = make_world(tmp_path, by_stage={"5 %": BROKEN})
    world.crash_before["take_back"], world.crash_after["take_back"] = 3, 1
    assert run(world, fast(Strategy.CANARY, stages=(2, 4))).error == "TakenBack"
    assert_taken_back(world)


@pytest.mark.parametrize("step", ["begin", "enter", "judge", "promote"])
def test_a_machine_that_died_after_any_step_goes_on_under_the_same_name(world: World, step: str) -> None:
    """The process of the interpreter ends; a new one starts the same execution and finds where it stood."""
    plan = fast(Strategy.CANARY, stages=(0, 2, 4)).to_json()
    events = {
        "begin": {"step": "begin", "rollout_id": "r-1", "input": {"version": str(world.second.version), "plan": plan}},
        "enter": {"step": "enter", "rollout_id": "r-1"},
        "judge": {"step": "judge", "rollout_id": "r-1"},
        "promote": {"step": "promote", "rollout_id": "r-1"},
    }
    for name in ("begin", "enter", "judge", "promote"):
        world.call(events[name])
        if name == step:
            break
    assert run(world, fast(Strategy.CANARY, stages=(0, 2, 4))).status == "SUCCEEDED"
    assert_new_champion(world)


def test_a_late_repetition_of_the_stage_before_does_not_undo_a_promotion(world: World) -> None:
    """Both functions run: the route is everybody's already, the pointer has not followed yet."""
    world.rollouts.begin("r-1", str(world.second.version), fast(Strategy.CANARY, stages=(2, 4)).to_json())
    world.rollouts.enter("r-1")
    follow = Rollouts._align_pointer

    def late(rollouts: Rollouts, record: RolloutRecord, reason: str) -> None:
        with mock.patch.object(Rollouts, "_align_pointer", follow):
            world.rollouts.enter("r-1")
        follow(rollouts, record, reason)

    with mock.patch.object(Rollouts, "_align_pointer", late):
        world.rollouts.promote("r-1")
    world.rollouts.finish("r-1")
    assert_new_champion(world)


def waiting_token(world: World) -> str:
    return wait_until(lambda: world.record.approval_token if world.steps else "", "a person was asked")


@pytest.mark.parametrize("strategy", [Strategy.BLUE_GREEN, Strategy.IMMEDIATE])
@pytest.mark.parametrize("answer", ["yes", "no", "none"])
def test_a_person_is_asked_before_everybody_meets_the_version(world: World, strategy: Strategy, answer: str) -> None:
    plan = fast(strategy, approval_s=2 if answer == "none" else 60)
    with world.machine() as machine:
        execution = machine.start("r-1", str(world.second.version), plan.to_json())
        token = waiting_token(world)
        assert world.champion == str(world.first.version) and world.live[0][0] == str(world.first.version)
        if answer == "yes":
            machine.approve(token)
        elif answer == "no":
            world.rollouts.answer("r-1", "no", "not in the sale")
            machine.refuse(token, "not in the sale")
        ended = end_of(machine, execution, timeout_s=60)
    if answer == "yes":
        assert ended.status == "SUCCEEDED"
        assert_new_champion(world)
    else:
        assert_taken_back(world)
        assert ("not in the sale" if answer == "no" else "Timeout") in world.record.reason


def test_an_execution_that_was_stopped_is_taken_back_from_outside(world: World) -> None:
    plan = replace(fast(Strategy.CANARY, stages=(2, 4)), look_s=600.0)
    with world.machine(longest_wait_s=600.0) as machine:
        execution = machine.start("r-1", str(world.second.version), plan.to_json())
        wait_until(lambda: "enter" in world.steps, "a stage was entered")
        machine.stop(execution)
        assert end_of(machine, execution, timeout_s=30).status == "ABORTED"
    assert len(world.live) == 2, "nothing runs any more that could have taken it back"
    notice = {"source": "aws.states", "detail": {"name": "r-1", "status": "ABORTED"}}
    assert dispatch(world.rollouts, notice)["status"] == "rolled back"
    assert_taken_back(world)
    assert dispatch(world.rollouts, notice)["status"] == "rolled back", "a notice delivered twice"


def test_without_evidence_in_time_the_champion_stays_and_the_record_says_undecided(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    plan = fast(Strategy.CANARY, stages=(2, 4))
    nothing = replace(plan.stages[0], max_s=0.0)
    world.script.by_stage = {"5 %": replace(BROKEN, treatment=type(BROKEN.treatment)())}
    run(world, replace(plan, stages=(nothing, plan.stages[1]), offline_only=False))
    assert_taken_back(world, Status.UNDECIDED)


def test_a_route_that_somebody_changed_is_left_alone(world: World) -> None:
    plan = fast(Strategy.CANARY, stages=(2, 4))
    world.rollouts.begin("r-1", str(world.second.version), plan.to_json())
    world.rollouts.enter("r-1")
    third = world.home.register(*["p1", "p2", "p3"], seed=2)
    before = replace(
        world.route,
        experiment="by-hand",
        variants=(Variant("champion", target_of(third), WHOLE),),
        revision=world.route.revision + 3,
    )
    rewrite_route(world.serving, lambda route: before)
    with pytest.raises(RouteRefused, match="somebody else"):
        world.rollouts.look("r-1")
    assert world.rollouts.take_back("r-1", "lost")["status"] == "failed"
    assert world.route == before and world.record.status is Status.FAILED
    assert world.champion == str(world.first.version)


@pytest.mark.parametrize("move", ["start", "share", "promote", "rollback", "route"])
def test_a_move_by_hand_is_refused_while_a_rollout_runs(world: World, move: str) -> None:
    by_hand = Releases(world.home.registry, world.home.bundles, world.serving, world.rollouts.cache)
    moves = {
        "start": lambda: by_hand.start(world.second.version, Strategy.CANARY),
        "share": lambda: by_hand.share(0.5),
        "promote": by_hand.promote,
        "rollback": by_hand.rollback,
        "route": lambda: route_champion(world.home.registry, world.serving, str(world.first.version), 5),
    }
    world.rollouts.begin("r-1", str(world.second.version), fast(Strategy.CANARY).to_json())
    before = world.route
    with pytest.raises(RouteRefused, match="recsys rollout abort"):
        moves[move]()
    assert world.route == before


def test_moves_by_hand_are_taken_again_after_a_rollout(world: World) -> None:
    by_hand = Releases(world.home.registry, world.home.bundles, world.serving, world.rollouts.cache)
    first, second = str(world.first.version), str(world.second.version)
    world.rollouts.begin("r-1", second, fast(Strategy.CANARY).to_json())
    world.rollouts.take_back("r-1", "no more")
    by_hand.start(world.second.version, Strategy.CANARY)
    assert [version for version, _ in world.live] == [first, second]
    by_hand.share(0.5)
    assert world.live == [(first, WHOLE // 2), (second, WHOLE // 2)]
    by_hand.promote()
    assert (world.live, world.champion) == ([(second, WHOLE)], second)
    by_hand.rollback()
    assert (world.live, world.champion) == ([(first, WHOLE)], first)


def test_one_of_many_starts_at_once_wins_and_the_others_say_why(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    plan = fast(Strategy.CANARY).to_json()
    won: list[str] = []
    refused: list[str] = []

    def start(number: int) -> None:
        try:
            world.rollouts.begin(f"r-{number}", str(world.second.version), plan)
            won.append(f"r-{number}")
        except RolloutConflict as conflict:
            refused.append(str(conflict))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(refused) == 15
    assert world.record.id == won[0]


def test_a_newer_version_replaces_one_that_has_met_nobody_and_waits_for_one_that_has(world: World) -> None:
    plan = fast(Strategy.CANARY, stages=(0, 2, 4)).to_json()
    third = world.home.register(*["p1", "p2", "p3", *[f"q{number}" for number in range(10)]], seed=2)
    world.rollouts.begin("r-1", str(world.second.version), plan)
    world.rollouts.enter("r-1")
    assert world.route.shadow is not None
    world.rollouts.begin("r-2", str(third.version), plan)
    assert [record.id for record in past_rollouts(world.serving)] == ["r-1"]
    assert (world.record.id, world.record.status, world.route.shadow) == ("r-2", Status.RUNNING, None)
    world.rollouts.enter("r-2")
    world.rollouts.look("r-2")
    world.rollouts.enter("r-2")
    assert len(world.live) == 2
    with pytest.raises(RolloutConflict, match="is being rolled out"):
        world.rollouts.begin("r-3", str(world.second.version), plan)


def test_the_definition_waits_for_nothing_for_ever_and_every_failure_leads_to_the_rollback() -> None:
    machine = json.loads(DEFINITION.read_text())
    assert machine["TimeoutSeconds"] > 0
    tasks = {name: state for name, state in states(machine) if state["Type"] == "Task"}
    for name, state in tasks.items():
        assert "TimeoutSeconds" in state or "TimeoutSecondsPath" in state, name
        assert all(one["JitterStrategy"] == "FULL" and one["MaxAttempts"] > 0 for one in state["Retry"]), name
        (catch,) = state["Catch"]
        assert catch["ErrorEquals"] == ["States.ALL"] and catch["ResultPath"] == "$.failure", name
        assert catch["Next"] == ("NotTakenBack" if name == "TakeBack" else "TakeBack"), name
    assert tasks["TakeBack"]["Retry"][0]["MaxAttempts"] >= 40


def test_a_look_is_a_line_of_the_dashboard(world: World) -> None:
    world.rollouts.begin("r-1", str(world.second.version), fast(Strategy.CANARY).to_json())
    look = Look(1_790_000_000.5, "5 %", "hold", "why", {"conversions": [0.1, -0.02, 0.25, 0.04]})
    line = metrics_of(world.record, look)
    (declared,) = line["_aws"]["CloudWatchMetrics"]
    assert [one["Name"] for one in declared["Metrics"]] == ["RolloutShare", "Lift", "LiftLow", "LiftHigh"]
    assert [line[one["Name"]] for one in declared["Metrics"]] == [5.0, 10.0, -2.0, 25.0]
    assert list(metrics_of(world.record, replace(look, figures={})))[-1] == "RolloutShare"
