"""The report of an experiment: its figures are those of the comparison, its page stands for itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from lambda_api.state.event_sink import JsonLinesSink
from recsys_assets.event_stream import events_root
from recsys_deploy import cli
from recsys_deploy.experiments.comparison import BusinessRules
from recsys_deploy.experiments.planning import interleaved_needed
from recsys_deploy.experiments.report import experiment_report, held_out_report, page_of, summary_lines
from recsys_deploy.experiments.totals import DAY_MS, Scope
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.experiment_commands import purchases_of
from recsys_deploy.rollout.plan import plan_of
from recsys_deploy.rollout.record import update
from tests.publishing.shops import ago, listed, write_log, write_products
from tests.rollout.streams import Stream
from tests.rollout.world import make_world

START = 1_790_000_000


def experiment(folder: Path, lift: float) -> Stream:
    stream = Stream(JsonLinesSink(folder / "events", clock=lambda: START), START, "e-1")
    rng = np.random.default_rng(1)
    for number in range(2_000):
        treated = bool(number % 2)
        at = float(rng.integers(0, 3 * 86_400))
        request = stream.shown(f"u{number}", "challenger" if treated else "champion", at=at)
        for _ in range(rng.poisson(1 + lift * treated)):
            stream.did(f"u{number}", "purchase", at=at + 60 + float(rng.integers(0, 80_000)), price=2.0)
        if rng.random() < 0.3:
            stream.did(f"u{number}", "view", at=at + 30, request_id=request)
    return stream


def test_the_newest_day_is_the_comparison_and_the_page_says_so(tmp_path: Path) -> None:
    lists, events = experiment(tmp_path, 0.5).read()
    scope = Scope("e-1", "champion", "challenger", START * 1000, START * 1000 + 6 * DAY_MS)
    found = experiment_report(lists, events, scope, BusinessRules(), versions=("v1.0.0", "v1.1.0"), window_ms=DAY_MS)
    assert [round((moment - scope.since_ms) / DAY_MS) for moment, _ in found.looks] == [2, 3, 4, 5, 6]
    sizes = [sum(one.shoppers) for _, one in found.looks]
    assert sizes == sorted(sizes) and sizes[-1] == 2_000
    newest = found.newest
    assert newest is not None and newest.primary is not None
    assert newest.primary.low < 0.5 < newest.primary.high and newest.primary.low > 0
    lines = summary_lines(found)
    assert f"{newest.primary.lift:+.1%}" in lines[1]
    page = page_of(found)
    assert "data:image/png;base64," in page and "v1.1.0" in page and "http" not in page.replace("data:image", "")


def test_newer_versions_together_are_compared_with_the_held_out(tmp_path: Path) -> None:
    stream = Stream(JsonLinesSink(tmp_path / "events", clock=lambda: START), START, "e-1")
    rng = np.random.default_rng(2)
    for number in range(3_000):
        held = number % 10 == 0
        # A challenger of some rollout, or the champion of an experiment long over: both are newer versions.
        variant = "holdout" if held else ("champion", "challenger")[number % 2]
        stream.shown(f"u{number}", variant, experiment=("e-1", "none")[number % 3 == 0])
        for _ in range(rng.poisson(1.0 if held else 1.5)):
            stream.did(f"u{number}", "purchase", at=600)
    lists, events = stream.read()
    share = lists.column_names.index("share")
    lists = lists.set_column(share, "share", pa.repeat(0.1, lists.num_rows))
    until = START * 1000 + 2 * DAY_MS
    found = held_out_report(lists, events, until, BusinessRules(), DAY_MS)
    assert found is not None and found.newest is not None and found.newest.primary is not None
    assert (found.newest.shoppers, found.newest.reached, found.newest.is_mismatch) == (
        (300, 2_700),
        (300, 2_700),
        False,
    )
    assert found.newest.primary.low < 0.5 < found.newest.primary.high and found.newest.primary.low > 0
    nobody = lists.filter(pc.field("variant") != "holdout")
    assert held_out_report(nobody, events, until, BusinessRules(), DAY_MS) is None


def test_without_closed_windows_the_report_says_so(tmp_path: Path) -> None:
    lists, events = experiment(tmp_path, 0.0).read()
    scope = Scope("e-1", "champion", "challenger", START * 1000, START * 1000 + DAY_MS // 2)
    found = experiment_report(lists, events, scope, BusinessRules(), versions=("a", "b"), window_ms=DAY_MS)
    assert summary_lines(found) == ["e-1: nobody's window has closed yet"]


def test_the_commands_on_a_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)
    home = world.home.settings.home
    monkeypatch.setenv("RECSYS_HOME", str(home))

    def recsys(*arguments: str) -> str:
        done = CliRunner().invoke(cli.app, list(arguments))
        return done.output if done.exit_code == 0 else str(done.exception)

    assert "no interactions" in recsys("experiment", "plan")
    assert "no rollout has reached its experiment" in recsys("experiment", "status")
    write_products(world.home.lake, listed("p1"))
    write_log(
        world.home.lake,
        [
            (f"u{number}", "p1", kind, ago(days=25 - number % 10 - part))
            for number in range(300)
            for part, kind in enumerate(("view", "purchase", "purchase")[: 1 + number % 3])
        ],
    )
    sales = purchases_of(world.home.settings)
    assert (sales.mean, sales.answering) == (pytest.approx(1.0), 0.0)
    assert sales.sd == pytest.approx((2 / 3) ** 0.5, rel=0.01)
    shown = " ".join(recsys("experiment", "plan").split())
    assert "too small for a verdict" in shown and "20%" in shown
    assert "no purchase in the log does" in shown and "--offline-only" in shown
    lake = world.home.lake
    for day in lake.days("interactions"):
        log = lake.read_day("interactions", day)
        answers = pc.if_else(pc.equal(log["interaction_type"], "purchase"), "r-1", None)
        place = log.column_names.index("request_id")
        lake.write_day("interactions", day, log.set_column(place, "request_id", answers.cast(pa.string())))
    shown = recsys("experiment", "plan")
    assert "100% of purchases answer a list" in shown and f"{interleaved_needed(1.0, 1.0, 0.1):,}" in shown
    assert "no shopper is held out" in recsys("experiment", "status", "--held-out")
    assert "5 % of shoppers keep v1.0.0" in recsys("experiment", "hold", "--share", "5")
    assert "nobody is held out" in recsys("experiment", "hold", "--share", "0")
    plan = plan_of(Strategy.CANARY)
    world.rollouts.begin("e-1", str(world.second.version), plan.to_json())
    update(world.serving, "e-1", lambda found: replace(found, stage=3, stage_since=START))
    stream = experiment(tmp_path / "elsewhere", 0.5)
    stream.sink = JsonLinesSink(events_root(world.home.settings), clock=lambda: START)
    stream.close()
    assert "e-1" in recsys("experiment", "status")
    assert "wrote" in recsys("experiment", "report")
    assert (home / "reports" / "experiment_e-1.html").exists()
