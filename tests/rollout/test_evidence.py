"""Evidence read from a real event stream, against counts made by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lambda_api.serving.routing import bucket
from lambda_api.state.event_sink import JsonLinesSink
from lambda_api.state.routing_record import RouteTarget
from recsys_assets.lake import Lake
from recsys_deploy.experiments.stream_tables import StreamTables
from recsys_deploy.experiments.totals import Scope, shoppers_of
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.evidence import LocalAlarms, StreamEvidence, purchases_before
from recsys_deploy.rollout.judge import Answer, judge
from recsys_deploy.rollout.plan import DAY_S, RolloutPlan, StageKind, interleaved, plan_of
from recsys_deploy.rollout.record import RolloutRecord
from tests.rollout.streams import Stream

START = 1_790_000_000
NAME = "rollout-v1"


def record(stage: int, plan: RolloutPlan | None = None) -> RolloutRecord:
    target, former = (RouteTarget(version, f"/bundles/{version}", version) for version in ("v1.1.0", "v1.0.0"))
    plan = plan or plan_of(Strategy.CANARY)
    return RolloutRecord(NAME, "v1.1.0", target, former, plan, stage, START, START)


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(JsonLinesSink(tmp_path / "events", clock=lambda: START), START, NAME)


def evidence(stream: Stream) -> StreamEvidence:
    return StreamEvidence(StreamTables(str(stream.sink.folder)), LocalAlarms())


def test_groups_are_counted_by_their_lists_and_shoppers(stream: Stream) -> None:
    for number in range(40):
        stream.shown(f"c{number}", "champion", latency_ms=10 + number)
        stream.shown(f"t{number}", "challenger", latency_ms=100)
    stream.shown("t0", "challenger", cause="bundle/challenger: error", stage="popular")
    stream.shown("t2", "challenger", cause="scoring: error", version="v1.0.0")
    stream.shown("t1", "challenger", products=())
    stream.shown("", "challenger")
    stream.shown("x", "challenger", experiment="another")
    stream.shown("y", "champion", at=-10)
    stream.close()
    found = evidence(stream).collect(record(1), START + 100)
    assert (found.control.requests, found.control.shoppers) == (40, 40)
    assert (found.treatment.requests, found.treatment.shoppers) == (43, 40)
    assert (found.treatment.broken, found.treatment.fallback_shoppers, found.treatment.empty_shoppers) == (2, 2, 1)
    assert found.treatment.slow == 43 - 3, "slower than the champion's 95th percentile, three lists take 1 ms"
    assert found.alarms == ()


def test_a_repeated_delivery_counts_once_in_outcomes(stream: Stream) -> None:
    request = stream.shown("t0", "challenger")
    stream.did("t0", "purchase", at=60, price=5.0, quantity=2, event_id="e-1")
    stream.did("t0", "purchase", at=60, price=5.0, quantity=2, event_id="e-1")
    stream.did("t0", "view", at=30, request_id=request)
    stream.did("t0", "purchase", at=2 * DAY_S)
    stream.did("t0", "purchase", at=-2 * DAY_S)
    lists, events = stream.read()
    scope = Scope(NAME, "champion", "challenger", START * 1000, int(START + 3 * DAY_S) * 1000)
    found = shoppers_of(pa.concat_tables([lists, lists]), events, scope, window_ms=int(DAY_S * 1000))
    assert found.users == ("t0",) and found.is_treatment.tolist() == [True]
    assert [found.lists[0], found.clicks[0], found.conversions[0], found.revenue[0]] == [1, 1, 1, 10]
    assert purchases_before(events, START) == {"t0": 1.0}


def test_who_met_both_groups_or_whose_window_is_open_is_left_out(stream: Stream) -> None:
    stream.shown("both", "champion")
    stream.shown("both", "challenger", at=5)
    stream.shown("late", "champion", at=DAY_S / 2)
    stream.shown("in time", "champion")
    lists, events = stream.read()
    scope = Scope(NAME, "champion", "challenger", START * 1000, int(START + DAY_S) * 1000)
    found = shoppers_of(lists, events, scope, window_ms=int(DAY_S * 1000))
    assert (found.users, found.both) == (("in time",), 1)


def test_the_experiment_compares_fresh_shoppers_and_finds_what_was_put_in(stream: Stream) -> None:
    plan = plan_of(Strategy.CANARY).faster(24 * 8)  # the window of eight days becomes an hour
    half = next(place for place, stage in enumerate(plan.stages) if stage.kind is StageKind.EXPERIMENT)
    rng = np.random.default_rng(1)
    fresh = {False: 0, True: 0}
    for number in range(6_000):
        user = f"u{number}"
        treated = bucket(NAME, user) < 5_000
        fresh[treated] += 500 <= bucket(NAME, user) < 9_500
        stream.shown(user, "challenger" if treated else "champion")
        for _ in range(rng.poisson(0.5 * (1.3 if treated else 1.0))):
            stream.did(user, "purchase", at=float(rng.integers(1, 3_000)))
    stream.close()
    found = evidence(stream).collect(replace(record(half, plan), stage=half), START + 3_700)
    assert found.business is not None and found.business.primary is not None
    assert found.business.shoppers == (fresh[False], fresh[True]) == found.business.reached
    primary = found.business.primary
    assert primary.low < 0.3 < primary.high and primary.low > 0
    harm = found.harm["conversions"]
    assert abs(harm.log_ratio - np.log(1.3)) < 3 * harm.se


def test_interleaved_lists_are_judged_by_what_shoppers_take_from_whose_places(stream: Stream) -> None:
    plan = interleaved(plan_of(Strategy.CANARY)).faster(24 * 8)  # the window of eight days becomes an hour
    place = next(at for at, stage in enumerate(plan.stages) if stage.kind is StageKind.INTERLEAVING)
    rng = np.random.default_rng(2)
    for number in range(2_000):
        order = (("a", "v1.0.0"), ("b", "v1.1.0"))[:: 1 - 2 * (number % 2)]
        products, teams = zip(*order, strict=True)
        request = stream.shown(f"u{number}", "challenger", products=products, teams=teams)
        for product, mean in (("a", 0.5), ("b", 0.65)):
            for _ in range(rng.poisson(mean)):
                at = float(rng.integers(1, 3_000))
                stream.did(f"u{number}", "purchase", at=at, request_id=request, product=product)
    stream.close()
    found = evidence(stream).collect(replace(record(place, plan), stage=place), START + 3_700)
    assert found.business is not None and found.business.primary is not None
    assert found.business.shoppers == (2_000, 2_000) and found.business.reached == (1_000, 1_000)
    primary = found.business.primary
    assert primary.low < 0.3 < primary.high and primary.low > 0
    assert set(found.harm) == {"conversions", "click_through"}
    found = replace(found, business_days=10.0)
    promoted = judge(plan.stages[place], 3_700, found, plan, offline_passed=True, is_last_test=True)
    assert promoted.answer is Answer.PROMOTE and "from its places" in promoted.reason
    worse = replace(found, harm={"conversions": replace(found.harm["conversions"], log_ratio=-1.0)})
    assert judge(plan.stages[place], 3_700, worse, plan, offline_passed=True, is_last_test=True).answer is Answer.ABORT


def test_days_that_are_over_are_stored_once_and_made_again_when_their_files_grow(
    stream: Stream, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    stored, fresh = StreamTables(str(stream.sink.folder), lake), StreamTables(str(stream.sink.folder))
    first = datetime.fromtimestamp(START, UTC).date()
    teams = ("v1.1.0", None)
    request = stream.shown("u1", "challenger", teams=teams)
    stream.shown("u2", "champion", products=(), cause="history: error")
    stream.did("u1", "purchase", at=5, request_id=request, price=2.0, quantity=3)
    stream.close()
    lists, events = stored.lists(first), stored.events(first)
    assert lists == fresh.lists(first) and events == fresh.events(first)
    assert lake.days("experiment_lists") == lake.days("experiment_events") == [first]
    assert lists["teams"].to_pylist() == [["v1.1.0", None], None] and events["revenue"].to_pylist() == [6.0]
    written = [Path(lake.files(name)[0]) for name in ("experiment_lists", "experiment_events")]
    before = [path.stat().st_mtime_ns for path in written]
    assert stored.lists(first) == lists and stored.events(first) == events
    assert [path.stat().st_mtime_ns for path in written] == before, "a day that has not changed is read, not made"
    stream.shown("u3", "champion")
    stream.close()
    assert stored.lists(first)["user_id"].to_pylist() == ["u1", "u2", "u3"]
    assert stored.lists(first + timedelta(days=1)).num_rows == 0


@pytest.mark.parametrize(
    ("broken", "latency_ms", "told"),
    [(0, 50.0, ()), (3, 50.0, ("6% of 50 answers failed within 5 minutes (limit 5%)",)),
     (0, 1_100.0, ("answers took 1100 ms on average within 5 minutes (limit 1000)",))],
)  # fmt: skip
def test_triggers_of_their_own(stream: Stream, broken: int, latency_ms: float, told: tuple[str, ...]) -> None:
    for number in range(50):
        cause = "ranker/champion: error" if number < broken else None
        stream.shown(
            f"u{number}", "champion", at=400, experiment="none", latency_ms=latency_ms, cause=cause, version="v1.1.0",
            stage="ranked" if cause is None else "popular",
        )  # fmt: skip
    stream.close()
    warm = len(record(0).plan.stages) - 1
    assert evidence(stream).collect(record(warm), START + 500).alarms == told
    assert evidence(stream).collect(record(warm), START + 900).alarms == (), "older than five minutes"


def test_the_shadow_is_judged_by_its_own_answers(stream: Stream) -> None:
    for number in range(5):
        stream.shown(f"u{number}", "shadow", experiment="shadow", version="v1.1.0")
    stream.shown("u9", "shadow", experiment="shadow", version="v0.9.0")
    for number in range(3):
        stream.shown(f"u{number}", "champion", experiment="none")
    stream.close()
    found = evidence(stream).collect(record(0), START + 100)
    assert (found.treatment.requests, found.control.requests) == (5, 3)


def test_no_stream_yet_is_no_traffic(tmp_path: Path) -> None:
    found = StreamEvidence(StreamTables(str(tmp_path / "events")), LocalAlarms()).collect(record(1), START + 100)
    assert (found.treatment.requests, found.treatment.newest_age_s) == (0, None)
