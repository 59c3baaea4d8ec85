"""Credits of interleaved lists counted by hand, their lift against fractions, and false alarms by simulation."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lambda_api.state.event_sink import JsonLinesSink
from recsys_deploy.experiments.comparison import BusinessRules, Verdict, verdict_of
from recsys_deploy.experiments.inference import paired_lift, ratio_lift
from recsys_deploy.experiments.interleaving import Credits, compare_credits, credits_of
from recsys_deploy.experiments.report import interleaving_report, summary_lines
from recsys_deploy.experiments.totals import DAY_MS, Scope
from tests.rollout.streams import Stream

START = 1_790_000_000
OLD, NEW = VERSIONS = ("v1.0.0", "v1.1.0")
SCOPE = Scope("e-1", "champion", "challenger", START * 1000, START * 1000 + 10 * DAY_MS)


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(JsonLinesSink(tmp_path / "events", clock=lambda: START), START, "e-1")


def listed(stream: Stream, user: str, *places: tuple[str, str | None], at: float = 0.0) -> str:
    products, teams = zip(*places, strict=True)
    return stream.shown(user, "challenger", at=at, products=products, teams=teams)


def test_credits_are_counted_as_by_hand(stream: Stream) -> None:
    first = listed(stream, "u1", ("p1", NEW), ("p2", OLD), ("p3", None))
    later = listed(stream, "u1", ("p2", None), ("p1", OLD), ("p4", NEW), at=3_600)
    stream.did("u1", "view", at=10, request_id=first, product="p1")
    stream.did("u1", "view", at=20, request_id=first, product="p1")  # the same place again: one click
    stream.did("u1", "purchase", at=30, request_id=first, product="p1", price=5.0, quantity=2)
    stream.did("u1", "purchase", at=40, request_id=first, product="p2", price=3.0)
    stream.did("u1", "purchase", at=50, request_id=first, product="p3", price=9.0)  # placed by both: nobody's
    stream.did("u1", "purchase", at=60, product="p2", price=9.0)  # answers no list
    stream.did("u1", "purchase", at=70, request_id=first, product="p9", price=9.0)  # not in the list
    stream.did("u9", "purchase", at=80, request_id=first, product="p1", price=9.0)  # somebody else's list
    stream.did("u1", "purchase", at=2 * 86_400, request_id=first, product="p1", price=9.0)  # too late for the list
    stream.did("u1", "view", at=3_700, request_id=later, product="p1")  # placed by the champion this time
    fell_back = stream.shown("u2", "challenger", products=("p1",), version=OLD, cause="scoring: error")
    stream.did("u2", "purchase", at=90, request_id=fell_back, product="p1", price=9.0)
    listed(stream, "u3", ("p1", NEW), ("p2", OLD), at=9 * 86_400)  # its window is open
    stream.shown("u4", "champion")  # not in the experiment's part
    lists, events = stream.read()
    lists, events = pa.concat_tables([lists, lists]), pa.concat_tables([events, events])  # delivered twice
    found = credits_of(lists, events, SCOPE, VERSIONS, window_ms=8 * DAY_MS)
    assert found.conversions.tolist() == [[1, 1], [0, 0]]
    assert found.clicks.tolist() == [[2, 1], [0, 0]], "u1: p2 and later p1 of the champion, p1 of the challenger"
    assert found.revenue.tolist() == [[3, 10], [0, 0]]
    assert found.led == (1, 2), "later's first place says nothing, the champion's is the next"
    everything = credits_of(lists, events, SCOPE, VERSIONS, window_ms=None)
    assert len(everything.first_ms) == 3


def test_a_paired_lift_is_the_ratio_of_totals_with_the_spread_of_its_shoppers() -> None:
    control = np.array([1.0, 2.0, 0.0, 1.0] * 25)
    treatment = np.array([2.0, 2.0, 1.0, 1.0] * 25)
    found = paired_lift(control, treatment)
    # Totals 100 and 150: ratio 3/2. Influence (t - 1.5 c) / 1 of the four kinds: .5, -1, 1, -.5.
    variance = (0.25 + 1 + 1 + 0.25) * 25 / 99 / 100 / 1.5**2
    assert found is not None and found.relative == pytest.approx(0.5) and found.shoppers == 100
    assert found.se == pytest.approx(math.sqrt(variance))
    assert paired_lift(control, np.zeros(100)) is None
    # Without pairing, by the delta method on two groups of their own, the same totals are less certain.
    apart = ratio_lift((control, np.ones(100)), (treatment, np.ones(100)))
    assert apart is not None and apart.se > found.se


def simulated(rng: np.random.Generator, n: int, lift: float) -> Credits:
    """Shoppers whose rates differ, who take ``1 + lift`` times as much from the challenger's places."""
    rate = rng.gamma(0.9, 0.4 / 0.9, n)
    taken = rng.poisson(np.stack([rate, rate * (1 + lift)], axis=1)).astype(np.float64)
    led = int(rng.binomial(4 * n, 0.5))
    return Credits(np.zeros(n, np.int64), taken, taken, taken, (4 * n - led, led))


def looked_at_daily(rng: np.random.Generator, lift: float, days: int = 28, a_day: int = 70) -> Verdict:
    whole, rules = simulated(rng, days * a_day, lift), BusinessRules(planned_shoppers=days * a_day, min_days=0)
    for day in range(1, days + 1):
        seen = slice(0, day * a_day)
        part = Credits(whole.first_ms[seen], whole.conversions[seen], whole.clicks[seen], whole.revenue[seen], (0, 0))
        found = verdict_of(compare_credits(part, rules), float(day), rules, offline_passed=False)
        if found is not Verdict.CONTINUE:
            return found
    raise AssertionError("the last day decides")


def test_daily_looks_at_equal_versions_call_one_better_at_most_once_in_forty() -> None:
    rng = np.random.default_rng(3)
    found = [looked_at_daily(rng, 0.0) for _ in range(400)]
    assert found.count(Verdict.BETTER) <= 10 and found.count(Verdict.WORSE) <= 10, "2.5 % each; a few are expected"


def test_a_difference_is_found_on_the_right_side() -> None:
    rng = np.random.default_rng(4)
    better, worse = ([looked_at_daily(rng, lift) for _ in range(40)] for lift in (0.5, -0.4))
    assert better.count(Verdict.BETTER) >= 38 and worse.count(Verdict.WORSE) >= 38


def test_a_coin_that_is_not_fair_is_a_mismatch() -> None:
    credits = simulated(np.random.default_rng(5), 2_000, 0.3)
    rules = BusinessRules()
    assert not compare_credits(credits, rules).is_mismatch
    unfair = compare_credits(Credits(*([credits.first_ms] + [credits.conversions] * 3), (5_000, 3_000)), rules)  # type: ignore[arg-type]
    assert verdict_of(unfair, 30, rules, offline_passed=True) is Verdict.MISMATCH


def test_the_report_says_what_shoppers_took_from_whose_places(stream: Stream) -> None:
    rng = np.random.default_rng(6)
    for number in range(400):
        request = listed(stream, f"u{number}", *(("p1", NEW), ("p2", OLD))[:: 1 - 2 * (number % 2)], at=float(number))
        for product, mean in (("p1", 1.5), ("p2", 1.0)):
            for _ in range(rng.poisson(mean)):
                stream.did(f"u{number}", "purchase", at=number + 60.0, request_id=request, product=product, price=2.0)
    lists, events = stream.read()
    rules = BusinessRules(planned_shoppers=400)
    found = interleaving_report(lists, events, SCOPE, rules, versions=VERSIONS, window_ms=8 * DAY_MS)
    assert found.newest is not None and found.newest.primary is not None
    assert found.newest.primary.low < 0.5 < found.newest.primary.high and found.newest.primary.low > 0
    assert found.newest.reached == (200, 200)
    lines = summary_lines(found)
    assert "interleaved, 400 shoppers" in lines[0] and f"{found.newest.primary.lift:+.1%}" in lines[1]
    assert lines[-1] == "lists led: 200 and 200, as a fair coin"
