"""How soon changes are noticed, and how often nothing is, over many seeds: the real statistics on a shop without lists.

    python -m benchmarks.year.detection --seeds 10

Every seed is a synthetic shop with an item-kNN champion. Day by day the functions that the reports and the sensor call
run on its events in memory: hits of the day, CUSUM, drift of features, twin, decision. A training refits the champion's
recipe on everything up to that day. Nothing is served, so this says nothing about conversions.
"""

import argparse
import copy
import multiprocessing
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.year.plan import FIRST, PEAK_DAYS, TRAINED_DAYS, Change, YearPlan
from benchmarks.year.shoppers import at_peak
from lambda_api.recommender.contract import Recommender
from recsys_assets.ingest.synthetic import Drift, DriftKind, SyntheticShop
from recsys_assets.ingest.synthetic.behaviour import Behaviour, simulate_day
from recsys_assets.ingest.synthetic.streams import Stream, generator
from recsys_assets.lake import midnight
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.monitoring.concept import DailyRate, follow
from recsys_assets.monitoring.drift import HISTORY_WEEKS
from recsys_assets.monitoring.drift_statistics import judge
from recsys_assets.monitoring.retraining import (
    ALONE,
    Decision,
    Evidence,
    Family,
    Rules,
    TrainingHistory,
    decide_training,
    is_alarm,
)
from recsys_assets.monitoring.samples import active_events, compare_samples, sample_weeks
from recsys_assets.monitoring.served_hits import BACKFILL_DAYS, HISTORY_DAYS, hits_of_day
from recsys_assets.monitoring.twin import HISTORY_DAYS as TWIN_HISTORY_DAYS
from recsys_assets.monitoring.twin import MAX_SHOPPERS as TWIN_SHOPPERS
from recsys_assets.monitoring.twin import compare_twins
from recsys_assets.schema import INTERACTIONS
from recsys_assets.training.training_window import TRAINING_COLUMNS

K: Final = 10
OBSERVED_DAYS: Final = 42
"""Days between the first champion's data and its refit, from which the alarms take their reference."""

TWIN_WEEKDAY: Final = 0
"""The twin is asked once a week here; the reports ask it daily."""

CALM_DAYS: Final = 14
"""Days that are followed before the change."""

FOLLOWED_DAYS: Final = 14

NOTHING: Final = "none, 26 weeks"
PEAK: Final = "season peak"
SCENARIOS: Final[dict[str, tuple[tuple[DriftKind, float], ...]]] = {
    NOTHING: (),
    PEAK: (),
    "taste .5": ((DriftKind.TASTE_SHIFT, 0.5),),
    "taste .25": ((DriftKind.TASTE_SHIFT, 0.25),),
    "catalogue .5": ((DriftKind.CATALOGUE_SHIFT, 0.5),),
    "price +30 %": ((DriftKind.PRICE_SHIFT, 0.3),),
}


@dataclass(frozen=True)
class Found:
    """What one seed of one scenario showed.

    Attributes:
        warned, triggered: days from the first day to the first warning and to the first alarm that may start a
            training, the day itself counted; ``None`` where there was none.
        families: of that first warning; ``alarm_families``: of the first alarm, without those
            that only warned on its day.
        episodes: trainings by an alarm, one per episode; ``warned_days`` of ``days``: with any warning.
    """

    scenario: str
    seed: int
    warned: int | None
    triggered: int | None
    families: str
    alarm_families: str
    episodes: int
    warned_days: int
    days: int


def follow_seed(seed: int, scenarios: Sequence[str], shoppers: int) -> list[Found]:
    """All scenarios of one seed; they share their past."""
    warnings.filterwarnings("ignore")
    live = FIRST + timedelta(days=TRAINED_DAYS + OBSERVED_DAYS)
    plan = YearPlan(seed=seed, weeks=30, shoppers=shoppers, products=400, sessions=0.25, schedule="none")
    calm = _Follower(SyntheticShop(plan.shop), plan.end)
    day = FIRST
    while day < live:
        if day == FIRST + timedelta(days=TRAINED_DAYS):
            calm.fit(day)
        calm.live(day, reports=False)
        day += timedelta(days=1)
    calm.fit(live)
    found = []
    start = live + timedelta(days=CALM_DAYS)
    if NOTHING in scenarios:
        found.append(_until(calm.branch(calm.shop, None), NOTHING, seed, live, live + timedelta(days=182)))
    while day < start:
        calm.live(day)
        day += timedelta(days=1)
    for name in scenarios:
        if name != NOTHING:
            drift = tuple(Drift(kind, start, strength) for kind, strength in SCENARIOS[name])
            peak = Change(name, start, PEAK_DAYS) if name == PEAK else None
            other = calm.branch(SyntheticShop(replace(plan.shop, drift=drift)), peak)
            found.append(_until(other, name, seed, start, start + timedelta(days=FOLLOWED_DAYS)))
    return found


def _until(shop: "_Follower", scenario: str, seed: int, day: date, end: date) -> Found:
    start, warned, triggered, families, alarm_families = day, None, None, "", ""
    episodes: set[date] = {shop.episode} if shop.episode else set()
    warned_days = trainings = 0
    while day < end:
        # A feature alone starts no training: without a change only what may start one is computed.
        found, decision = shop.live(day, features=scenario != NOTHING)
        number = (day - start).days + 1
        warned_days += bool(found)
        if found and warned is None:
            warned, families = number, ", ".join(found)
        if decision is not None and decision.start and decision.cause == "drift":
            assert decision.episode is not None
            trainings += decision.episode not in episodes
            episodes.add(decision.episode)
        if triggered is None and is_alarm(day, [one for one in shop.evidence if one.day >= start], Rules()):
            triggered, alarm_families = number, ", ".join([one for one in found if one in ALONE] or found)
        day += timedelta(days=1)
    counts = trainings, warned_days, (end - start).days
    return Found(scenario, seed, warned, triggered, families, alarm_families, *counts)


class _Follower:
    """The events of one shop up to a day, its champion, and what the reports have found so far."""

    def __init__(self, shop: SyntheticShop, last: date, peak: Change | None = None) -> None:
        self.shop, self.peak = shop, peak
        self.events: dict[date, pa.Table] = {}
        self.rates: list[DailyRate] = []
        self.effects: dict[date, dict[str, float]] = {}
        self.evidence: list[Evidence] = []
        self.users = shop.users(last)
        self.model: Recommender | None = None
        self.champion_end: date | None = None
        self.episode: date | None = None
        self.started = 0

    def branch(self, shop: SyntheticShop, peak: Change | None) -> "_Follower":
        """A follower with the same past whose future is that of another shop."""
        other = copy.copy(self)
        other.shop, other.peak = shop, peak
        other.events, other.rates = dict(self.events), list(self.rates)
        other.effects, other.evidence = dict(self.effects), list(self.evidence)
        return other

    def fit(self, end: date) -> None:
        """The champion's recipe on everything before ``end``."""
        past = pa.concat_tables(table for day, table in self.events.items() if day < end).select(TRAINING_COLUMNS)
        self.model = ItemKnn().fit(TrainingData.from_tables(past, self.shop.products(end), midnight(end)))
        self.champion_end = end

    def live(self, day: date, *, reports: bool = True, features: bool = True) -> tuple[list[str], Decision | None]:
        """One day of the shop; with ``reports`` the alarms of its report, and the decision of the next morning."""
        self.events[day] = INTERACTIONS.conform(self.shop.event_table(self._behaviour(day), day))
        if self.model is None or self.champion_end is None:
            return [], None
        products = self.shop.products(day)
        active = self.events[day]["user_id"].unique()
        recent = self._since(day - timedelta(days=HISTORY_DAYS), day)
        own = recent.filter(pc.is_in(recent["user_id"], active))
        hits = hits_of_day(own, products, self.model, "v", self.champion_end, day, K)
        if hits.num_rows:
            age = (day - self.champion_end).days
            self.rates.append(DailyRate(day, float(np.mean(hits["hit"])), hits.num_rows, age))
        if not reports:
            return [], None
        found = self._alarms(day, products, features)
        self.evidence += found
        today = day + timedelta(days=1)
        history = TrainingHistory(last=self.champion_end, episode=self.episode, started=self.started)
        decision = decide_training(today, self.evidence, history)
        self.episode, self.started = decision.episode, decision.started
        if decision.start:
            self.fit(today)
        return sorted(one.family for one in found), decision

    def _alarms(self, day: date, products: pa.Table, features: bool) -> list[Evidence]:
        assert self.champion_end is not None
        families: list[Family] = []
        cusum = follow(self.rates[-BACKFILL_DAYS:], start=self.champion_end)
        if cusum.alarm:
            families.append("concept")
        if features and self._features_drifted(day, products):
            families.append("feature")
        start, end = day - timedelta(days=6), day + timedelta(days=1)
        if day.weekday() == TWIN_WEEKDAY and (start - self.champion_end).days >= 7:
            past = (start - self.champion_end).days + TWIN_HISTORY_DAYS
            with self._database(start - timedelta(days=past), day, products) as connection:
                log, _ = active_events(connection, start, day, past, TWIN_SHOPPERS)
            moments = [midnight(one) for one in (self.champion_end, start, end)]
            twin = compare_twins(log, products, moments[0], moments[1], moments[2], K)
            if twin is not None and twin.alarm:
                families.append("twin")
        return [Evidence(family, day, day, family) for family in families]

    def _features_drifted(self, day: date, products: pa.Table) -> bool:
        past: dict[str, list[float]] = {}
        for week in range(1, HISTORY_WEEKS + 1):
            for name, effect in self.effects.get(day - timedelta(weeks=week), {}).items():
                past.setdefault(name, []).append(effect)
        with self._database(day - timedelta(days=70), day, products) as connection:
            columns = judge(compare_samples(sample_weeks(connection, day, self.events.keys())), past)
        self.effects[day] = {one.column: one.effect for one in columns}
        return any(one.state == "drifted" for one in columns)

    @contextmanager
    def _database(self, first: date, last: date, products: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("interactions", self._since(first, last))
            connection.register("products", products)
            yield connection

    def _behaviour(self, day: date) -> Behaviour:
        state = self.shop.world.on(day)
        if self.peak is not None and self.peak.start <= day < self.peak.start + timedelta(days=self.peak.days):
            state = at_peak(state)
        return simulate_day(self.shop.world, state, generator(self.shop.config.seed, Stream.DAY, day.toordinal()))

    def _since(self, first: date, last: date) -> pa.Table:
        return pa.concat_tables(table for day, table in self.events.items() if first <= day <= last)


def table_of(found: Sequence[Found]) -> Table:
    """Median days to notice, what raised the first alarms, and trainings by alarm per 26 weeks."""
    table = Table(
        "change", "seeds", "days to the first warning: median (worst)", "never", "days to an alarm: median (worst)",
        "never", "first alarm by", "trainings by alarm per 26 weeks", "days with a warning",
    )  # fmt: skip
    for scenario in SCENARIOS:
        own = [one for one in found if one.scenario == scenario]
        if own:
            days = sum(one.days for one in own)
            causes = Counter(one.alarm_families for one in own if one.triggered is not None)
            table.add_row(
                scenario, str(len(own)), *_days([one.warned for one in own]), *_days([one.triggered for one in own]),
                "; ".join(f"{cause}: {count}" for cause, count in causes.most_common()),
                f"{sum(one.episodes for one in own) * 182 / days:.2f}",
                f"{sum(one.warned_days for one in own) / days:.1%}",
            )  # fmt: skip
    return table


def _days(values: Sequence[int | None]) -> tuple[str, str]:
    reached = [np.inf if one is None else float(one) for one in values]
    missed = sum(one is None for one in values)
    return f"{np.median(reached):.0f} ({max(reached):.0f})", str(missed)


def _one(task: tuple[int, tuple[str, ...], int]) -> list[Found]:
    return follow_seed(*task)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.year.detection", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--shoppers", type=int, default=2_000)
    parser.add_argument("--scenarios", default=";".join(SCENARIOS), help="Separated by semicolons.")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    tasks = [(seed, tuple(given.scenarios.split(";")), given.shoppers) for seed in seeds]
    console, found = Console(width=150), list[Found]()
    with multiprocessing.get_context("spawn").Pool(given.workers, maxtasksperchild=1) as pool:
        for some in track(pool.imap(_one, tasks), "seeds", total=len(tasks), console=console):
            found += some
            for one in some:
                console.print(one)
    console.print(table_of(found))


if __name__ == "__main__":
    main()
