"""``recsys rollout``: roll a version out step by step, see where it stands, approve or abort it."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.table import Table as Grid

from lambda_api.settings import Settings
from lambda_api.state.open_table import open_table
from recsys_assets.registry.versions import Version
from recsys_deploy.console.terminal import terminal
from recsys_deploy.experiments.stream_tables import open_stream_tables
from recsys_deploy.homes import open_registry, open_stores, settings_of_last_home
from recsys_deploy.release.moves import require_not_refused
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.deployed import deployed_machine
from recsys_deploy.rollout.evidence import LocalAlarms, StreamEvidence
from recsys_deploy.rollout.plan import RolloutPlan, StageKind, in_words, interleaved, plan_of
from recsys_deploy.rollout.record import ENDED, RolloutRecord, Status, current_rollout, past_rollouts, running_rollout
from recsys_deploy.rollout.runner import RolloutFailed, only_runner, run, shadow_answers
from recsys_deploy.rollout.steps import RolloutRefused, Rollouts, require_room

rollout = typer.Typer(no_args_is_help=True, help="Roll a version out step by step; it is taken back by itself.")
console = terminal()

SHOWN_LOOKS: Final = 10


@rollout.command()
def start(
    version: Annotated[str, typer.Argument(help="A registered version; `recsys models` lists them.")],
    strategy: Annotated[Strategy, typer.Option(help="How it meets its first shoppers.")] = Strategy.CANARY,
    faster: Annotated[float, typer.Option(min=1, help="Divide every duration by this, for a demonstration.")] = 1.0,
    approval_hours: Annotated[float, typer.Option(min=0, help="Ask a person, for so long; 0: nobody.")] = 0.0,
    offline_only: Annotated[bool, typer.Option("--offline-only", help="A shop too small for a verdict.")] = False,
    interleave: Annotated[
        bool, typer.Option("--interleave", help="Lists of both versions, not half of shoppers.")
    ] = False,
    planned_shoppers: Annotated[
        int | None, typer.Option(min=100, help="Expected by the end; by default 20,000, interleaved 2,000.")
    ] = None,
    no_shadow: Annotated[bool, typer.Option("--no-shadow", help="Without asking it in the shadow first.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Go on in the background.")] = False,
    even_if_refused: Annotated[
        bool, typer.Option("--even-if-refused", help="Also a version that the promotion rules refused.")
    ] = False,
) -> None:
    """Start a rollout. It lives in this command's process; interrupted, `recsys rollout resume` goes on."""
    settings, chosen = settings_of_last_home(), str(Version.parse(version))
    if not even_if_refused:
        require_not_refused(open_registry(settings), Version.parse(version))
    chosen_plan = interleaved(plan_of(strategy)) if interleave else plan_of(strategy)
    plan = customised(chosen_plan, faster, approval_hours, offline_only, planned_shoppers, no_shadow)
    rollout_id = new_id(chosen)
    if detach or settings.rollout_machine_arn:
        where = start_detached(settings, rollout_id, chosen, plan)
        console.print(f"{rollout_id} runs in {where}; `recsys rollout status` shows it")
        return
    begin(settings, rollout_id, chosen, plan)
    _follow(settings, rollout_id, chosen, plan)


@rollout.command()
def resume() -> None:
    """Go on with the rollout whose process has ended."""
    settings = settings_of_last_home()
    record = _running(settings)
    if settings.rollout_machine_arn:
        raise RolloutRefused(f"{record.id} runs in the state machine, which goes on by itself")
    _follow(settings, record.id, record.version, record.plan)


@rollout.command()
def status(
    history: Annotated[bool, typer.Option("--history", help="The rollouts before it as well.")] = False,
) -> None:
    """Where the rollout stands, and its newest looks."""
    serving = open_table(settings_of_last_home(), "serving")
    record = current_rollout(serving)
    if record is None:
        console.print("no version was rolled out yet; `recsys rollout start VERSION` does")
        return
    if history:
        console.print(_history_grid(past_rollouts(serving)))
    console.print(f"{record.id}: {record.version} after {record.former.version}, {record.status}")
    if record.reason:
        console.print(record.reason)
    console.print(_stages_grid(record))
    console.print(_looks_grid(record))
    if record.approval_token and record.status is Status.RUNNING:
        console.print("waits for `recsys rollout approve` or `recsys rollout refuse`")


@rollout.command()
def approve() -> None:
    """Let the version that passed its tests answer everybody."""
    settings = settings_of_last_home()
    record = _running(settings)
    _answer(settings, record.id, "yes", "")
    console.print(f"{record.version} is approved")


@rollout.command()
def refuse(reason: Annotated[str, typer.Option(help="Kept in the record.")] = "refused by a person") -> None:
    """Take the version back that waits for approval."""
    settings = settings_of_last_home()
    record = _running(settings)
    _answer(settings, record.id, "no", reason)
    console.print(f"{record.version} is refused and taken back")


@rollout.command()
def abort(reason: Annotated[str, typer.Option(help="Kept in the record.")] = "aborted by a person") -> None:
    """Take the version back now, wherever the rollout stands."""
    settings = settings_of_last_home()
    record = _running(settings)
    ended = _rollouts(settings).take_back(record.id, reason)
    if (machine := deployed_machine(settings)) is not None:
        machine.stop(record.id, reason)
    console.print(f"{record.version} was taken back: {ended['status']}")


def customised(
    plan: RolloutPlan,
    faster: float = 1.0,
    approval_hours: float = 0.0,
    offline_only: bool = False,
    planned_shoppers: int | None = None,
    no_shadow: bool = False,
) -> RolloutPlan:
    """A strategy's plan with what a person asked for."""
    stages = tuple(stage for stage in plan.stages if not (no_shadow and stage.kind is StageKind.SHADOW))
    asked = replace(
        plan,
        stages=stages,
        approval_s=approval_hours * 3600 * faster,
        offline_only=offline_only,
        business=replace(plan.business, planned_shoppers=planned_shoppers or plan.business.planned_shoppers),
    )
    return asked.faster(faster)


def new_id(version: str) -> str:
    """Name of a rollout, its execution and its experiment: a second try of a version gets another."""
    return f"rollout-{version}-{datetime.now(UTC):%Y%m%d-%H%M%S}".replace(".", "-")


def begin(settings: Settings, rollout_id: str, version: str, plan: RolloutPlan) -> None:
    """Claim the one place for a rollout, so that a refusal is said at once and not by a machine in the background."""
    _rollouts(settings).begin(rollout_id, version, plan.to_json())


def start_detached(settings: Settings, rollout_id: str, version: str, plan: RolloutPlan) -> str:
    """Start a rollout that does not end with this process: in the deployed state machine, or in a process of its own.

    Returns:
        Where it runs, in words.
    """
    machine = deployed_machine(settings)
    if machine is None:
        begin(settings, rollout_id, version, plan)
        return f"process {detached(settings)}"
    require_room(open_table(settings, "serving"), version)
    machine.start(rollout_id, version, plan.to_json())
    return "the state machine"


def detached(settings: Settings) -> int:
    """Go on with the running rollout in a process of its own; gives its id."""
    folder = settings.home / "rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rollout.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "recsys_deploy.cli", "rollout", "resume"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "RECSYS_HOME": str(settings.home)},
            start_new_session=True,
        )
    return child.pid


def _follow(settings: Settings, rollout_id: str, version: str, plan: RolloutPlan) -> None:
    shown: list[float] = []
    entered: list[str] = []
    console.print(
        f"{rollout_id}: a look every {in_words(plan.look_s)}. Ctrl-C leaves it in its stage; "
        "`recsys rollout status` in another terminal shows it"
    )

    def seen(record: RolloutRecord) -> None:
        stage = record.current_stage
        if record.status is Status.RUNNING and entered[-1:] != [stage.name]:
            entered.append(stage.name)
            share, least = f"{stage.weight / 100:g} % of shoppers", f"for at least {in_words(stage.min_s)}"
            console.print(f"{_clock(record.stage_since)}  {stage.name:24} {share}, {least}")
        for look in record.looks:
            if not shown or look.at > shown[-1]:
                shown.append(look.at)
                console.print(f"{_clock(look.at)}  {look.stage:24} {look.answer:8} {look.reason}")

    try:
        with only_runner(settings.home), shadow_answers(settings):
            ended = run(_rollouts(settings), rollout_id, version, plan.to_json(), seen)
    except KeyboardInterrupt:
        console.print("the rollout stands still in its stage; `recsys rollout resume` goes on, `abort` takes it back")
        raise typer.Exit(130) from None
    console.print(f"{ended.version}: {ended.status}. {ended.reason}")
    if ended.status is Status.FAILED:
        raise RolloutFailed(ended.reason)


def _answer(settings: Settings, rollout_id: str, approval: str, reason: str) -> None:
    """Write a person's answer down; a laptop's process finds it there, the deployed machine is told."""
    record = _rollouts(settings).answer(rollout_id, approval, reason)
    if (machine := deployed_machine(settings)) is not None:
        machine.answer(record, approved=approval == "yes", reason=reason)


def _running(settings: Settings) -> RolloutRecord:
    record = running_rollout(open_table(settings, "serving"))
    if record is None:
        raise RolloutRefused("no rollout runs", remedy="`recsys rollout start VERSION` starts one")
    return record


def _rollouts(settings: Settings) -> Rollouts:
    stores = open_stores(settings)
    return Rollouts(
        stores.registry,
        stores.bundles,
        open_table(settings, "serving"),
        settings.home / "bundles",
        StreamEvidence(open_stream_tables(settings), LocalAlarms()),
        clock=time.time,
    )


def _stages_grid(record: RolloutRecord) -> Grid:
    grid = Grid("stage", "shoppers", "since", "state")
    for place, stage in enumerate(record.plan.stages):
        state = "passed" if place < record.stage else "now" if place == record.stage else "to come"
        if record.status in ENDED and place == record.stage:
            state = "passed" if record.status is Status.PROMOTED else "ended here"
        since = _clock(record.stage_since) if place == record.stage else ""
        grid.add_row(stage.name, f"{stage.weight / 100:g} %", since, state)
    return grid


def _looks_grid(record: RolloutRecord) -> Grid:
    grid = Grid("look", "stage", "answer", "why", title=f"the newest {SHOWN_LOOKS} of {len(record.looks)} looks")
    for look in record.looks[-SHOWN_LOOKS:]:
        grid.add_row(_clock(look.at), look.stage, look.answer, look.reason)
    return grid


def _history_grid(records: list[RolloutRecord]) -> Grid:
    grid = Grid("rollout", "version", "ended", "status", "why")
    for record in records:
        grid.add_row(record.id, record.version, _clock(record.ended_at or 0), str(record.status), record.reason)
    return grid


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
