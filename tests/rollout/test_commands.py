"""`recsys rollout` and the sensor, on a real home with real processes where there are any."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from typer.testing import CliRunner

from lambda_api.serving.question import Question
from lambda_api.settings import make_settings
from lambda_api.state.event_sink import JsonLinesSink
from recsys_assets.event_stream import events_root
from recsys_deploy import cli
from recsys_deploy.experiments.stream_tables import StreamTables
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout import assets, commands
from recsys_deploy.rollout.deployed import deployed_machine
from recsys_deploy.rollout.evidence import LocalAlarms, StreamEvidence
from recsys_deploy.rollout.experiment_commands import experiment_began
from recsys_deploy.rollout.plan import RolloutPlan, plan_of
from recsys_deploy.rollout.record import Look, Status, current_rollout
from recsys_deploy.rollout.runner import RolloutFailed, is_run_by_somebody, only_runner, shadow_answers
from recsys_deploy.sensors import REGISTERED_MODEL, TO_BE_ROLLED_OUT, rollout_sensor
from tests.patience import PATIENCE_S, patient, wait_until
from tests.rollout.streams import Stream
from tests.rollout.world import World, fast, make_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = make_world(tmp_path)
    monkeypatch.setenv("RECSYS_HOME", str(made.home.settings.home))
    return made


def recsys(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


@pytest.fixture
def traffic(world: World) -> Iterator[Stream]:
    """Lists for both groups, now and for the next minutes, under whatever name the rollout will have."""
    sink = JsonLinesSink(events_root(world.home.settings))
    yield Stream(sink, time.time(), "")
    sink.close()


def test_status_tells_what_there_is(world: World) -> None:
    assert "no version was rolled out yet" in recsys("rollout", "status")
    world.rollouts.begin("r-1", str(world.second.version), fast_plan())
    shown = recsys("rollout", "status")
    assert "r-1" in shown and "shadow" in shown and "50 %" in shown
    world.rollouts.take_back("r-1", "no more")
    assert "no more" in recsys("rollout", "status", "--history")


def fast_plan() -> dict[str, object]:
    return fast(Strategy.CANARY).to_json()


@pytest.mark.slow
def test_a_detached_rollout_can_be_killed_resumed_and_aborted(world: World) -> None:
    output = recsys("rollout", "start", str(world.second.version), "--strategy", "canary", "--no-shadow", "--detach")
    pid = int(output.split("process ")[1].split(";")[0])
    home = world.home.settings.home
    try:
        wait_until(lambda: len(world.live) == 2, "the challenger got its share")
        assert is_run_by_somebody(home)
        with pytest.raises(RolloutFailed, match="another process"), only_runner(home):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_until(lambda: not is_run_by_somebody(home), "the lock was released")
        assert world.record.status is Status.RUNNING, "it stands still"
        resumed = subprocess.Popen(
            [sys.executable, "-m", "recsys_deploy.cli", "rollout", "resume"],
            env={**os.environ, "RECSYS_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_until(lambda: is_run_by_somebody(home), "it went on", resumed)
        assert "rolled back" in recsys("rollout", "abort", "--reason", "enough seen")
        said = resumed.communicate(timeout=PATIENCE_S)[0]
        assert "enough seen" in said, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert (world.live, world.record.status) == ([(str(world.first.version), 10_000)], Status.ROLLED_BACK)


def test_a_second_start_says_what_runs(world: World) -> None:
    world.rollouts.begin("r-1", str(world.second.version), {**fast_plan(), "stages": fast_plan()["stages"][1:]})  # type: ignore[index]
    done = CliRunner().invoke(cli.app, ["rollout", "start", str(world.second.version)])
    assert done.exit_code != 0 and "is being rolled out" in str(done.exception)


def test_a_refused_version_is_rolled_out_only_when_somebody_insists(world: World) -> None:
    world.home.registry.refuse(world.second.version, ("NDCG fell.",))
    done = CliRunner().invoke(cli.app, ["rollout", "start", str(world.second.version), "--detach"])
    assert (
        "refused by the promotion rules: NDCG fell." in str(done.exception) and current_rollout(world.serving) is None
    )
    output = recsys("rollout", "start", str(world.second.version), "--detach", "--even-if-refused")
    os.kill(int(output.split("process ")[1].split(";")[0]), signal.SIGKILL)
    assert world.record.version == str(world.second.version)


def test_a_report_counts_from_when_every_server_had_the_route_of_the_experiment(world: World) -> None:
    world.rollouts.begin("r-1", str(world.second.version), plan_of(Strategy.CANARY).to_json())
    record, names = world.record, [stage.name for stage in plan_of(Strategy.CANARY).stages]
    looks = tuple(Look(100.0 * place, name, "advance", "", {}) for place, name in enumerate(names[:4], 1))
    left = replace(record, stage=4, stage_since=999.0, looks=looks)
    assert experiment_began(left, 3) == 300.0 + record.plan.limits.settle_s
    assert experiment_began(replace(left, stage=3, stage_since=360.0), 3) == 360.0


def test_approval_without_a_question_is_refused(world: World) -> None:
    done = CliRunner().invoke(cli.app, ["rollout", "approve"])
    assert "no rollout runs" in str(done.exception)
    world.rollouts.begin("r-1", str(world.second.version), fast_plan())
    done = CliRunner().invoke(cli.app, ["rollout", "approve"])
    assert "does not wait for approval" in str(done.exception)


def sensor_of(world: World, instance: dg.DagsterInstance, cursor: str | None, **settings: object) -> dg.SensorResult:
    changed = make_settings({**world.home.settings.model_dump(), **settings})
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"settings": changed, "serving": world.serving}
    )
    result = rollout_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def registered(instance: dg.DagsterInstance, version: str, decision: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(REGISTERED_MODEL, metadata={"version": version, "decision": decision})
    )


def test_the_sensor_starts_one_rollout_per_challenger_and_shows_how_it_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_deploy import sensors

    revived: list[object] = []
    monkeypatch.setattr(sensors, "detached", lambda settings: revived.append(settings) or 1)
    version = str(world.second.version)
    with dg.DagsterInstance.ephemeral() as instance:
        assert "off" in str(sensor_of(world, instance, None).skip_reason)
        registered(instance, version, "promoted")
        looked = sensor_of(world, instance, None, rollout="canary")
        assert "needs no rollout" in str(looked.skip_reason)
        registered(instance, version, TO_BE_ROLLED_OUT)
        asked = sensor_of(world, instance, looked.cursor, rollout="canary")
        (request,) = asked.run_requests or ()
        assert request.run_config["ops"]["canary_rollout"]["config"] == {"version": version}
        assert not sensor_of(world, instance, asked.cursor, rollout="canary").run_requests, "started once"

        world.rollouts.begin("r-1", version, {**fast_plan(), "stages": fast_plan()["stages"][1:]})  # type: ignore[index]
        world.rollouts.enter("r-1")
        registered(instance, version, TO_BE_ROLLED_OUT)
        waits = sensor_of(world, instance, asked.cursor, rollout="canary")
        assert "waits" in str(waits.skip_reason) and not waits.run_requests
        assert len(revived) == 1, "nobody ran it"
        (event,) = waits.asset_events
        assert isinstance(event, dg.AssetMaterialization)
        assert event.metadata["stage"].value == "1 %"
        assert not sensor_of(world, instance, waits.cursor, rollout="canary").asset_events, "reported once"
        world.rollouts.take_back("r-1", "no more")
        again = sensor_of(world, instance, waits.cursor, rollout="canary")
        assert len(again.run_requests or ()) == 1 and len(again.asset_events) == 1


def test_the_asset_starts_a_rollout_and_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(commands, "detached", lambda settings: started.append(settings) or 7)
    resources = {"settings": world.home.settings, "serving": world.serving}
    nothing = dg.materialize([assets.canary_rollout], resources=resources)
    assert nothing.success and current_rollout(world.serving) is None
    config = dg.RunConfig(ops={"canary_rollout": {"config": {"version": str(world.second.version)}}})
    for _ in range(2):
        done = dg.materialize([assets.canary_rollout], resources=resources, run_config=config)
        (event,) = done.asset_materializations_for_node("canary_rollout")
        assert event.metadata["status"].value == "running"
        assert "data:image/png" in str(event.metadata["picture"].value)
    assert len(started) == 1


def test_names_differ_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([datetime(2024, 3, 1, 9, 0, second, tzinfo=UTC) for second in (4, 5)])
    monkeypatch.setattr(commands, "datetime", SimpleNamespace(now=lambda zone: next(moments)))
    names = [commands.new_id("v1.2.3") for _ in range(2)]
    assert names == ["rollout-v1-2-3-20240301-090004", "rollout-v1-2-3-20240301-090005"]


@pytest.fixture
def deployed(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A home whose rollouts run in a state machine elsewhere."""
    with world.machine() as running:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        settings = make_settings({**world.home.settings.model_dump(), "rollout_machine_arn": running.arn})
        monkeypatch.setattr(commands, "settings_of_last_home", lambda: settings)
        yield world


def started(world: World, monkeypatch: pytest.MonkeyPatch, plan: RolloutPlan) -> None:
    monkeypatch.setattr(commands, "customised", lambda *given: plan)
    assert "the state machine" in recsys("rollout", "start", str(world.second.version), "--strategy", "blue-green")


@pytest.mark.parametrize(("command", "status"), [("approve", Status.PROMOTED), ("refuse", Status.ROLLED_BACK)])
def test_a_person_answers_the_deployed_machine_by_its_token(
    deployed: World, monkeypatch: pytest.MonkeyPatch, command: str, status: Status
) -> None:
    started(deployed, monkeypatch, fast(Strategy.BLUE_GREEN, approval_s=300))
    # The token is written down before people are told.
    wait_until(lambda: deployed.messages, "somebody was asked")
    subject, text = deployed.messages[-1]
    assert subject.endswith("waits for approval") and "`recsys rollout approve`" in text
    assert "goes on by itself" in str(CliRunner().invoke(cli.app, ["rollout", "resume"]).exception)
    recsys("rollout", command)
    wait_until(lambda: deployed.record.status is status)


def test_the_deployed_machine_is_stopped_after_the_version_was_taken_back(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = fast(Strategy.BLUE_GREEN)
    plan = replace(plan, stages=tuple(replace(stage, min_s=1e6, max_s=1e6) for stage in plan.stages))
    started(deployed, monkeypatch, plan)
    wait_until(lambda: len(deployed.live) == 2)
    recsys("rollout", "abort")
    machine = deployed_machine(commands.settings_of_last_home())  # type: ignore[attr-defined]
    assert machine is not None
    assert deployed.record.status is Status.ROLLED_BACK
    listed = partial(machine.client.list_executions, stateMachineArn=machine.arn)
    # A look that finds the version taken back may end the execution first.
    wait_until(lambda: {one["status"] for one in listed()["executions"]} <= {"ABORTED", "FAILED"})


def test_on_a_laptop_the_process_of_the_rollout_answers_the_shadows_questions(world: World) -> None:
    plan = fast(Strategy.CANARY)
    world.rollouts.begin("r-1", str(world.second.version), plan.to_json())
    world.rollouts.enter("r-1")
    held = patient(world.home.settings, immediate=False)
    for number in range(5):
        held.service.recommend(Question(f"u{number}", (), 0, 3), (), f"request-{number}")
    held.close()
    evidence = StreamEvidence(StreamTables(events_root(world.home.settings)), LocalAlarms())

    def answered() -> bool:
        return evidence.collect(world.record, time.time() + 1).treatment.requests == 5

    assert not answered()
    with shadow_answers(world.home.settings):
        wait_until(answered, "the shadow answered all questions")
