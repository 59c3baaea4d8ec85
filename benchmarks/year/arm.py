"""One arm of the year: a policy of training on the simulated shop, day by day, with a checkpoint after every week.

A checkpoint holds the simulation's state and a copy of the home's database. An interrupted arm removes what was written
after it and goes on from there; it ends with the same figures as an uninterrupted one.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.year.pipeline import Pipeline, settings_of
from benchmarks.year.plan import LOOPS, Arm, YearPlan
from benchmarks.year.rollouts import LOOK_S, Trial, Trials
from benchmarks.year.sender import Sender
from benchmarks.year.shop import Clock, Counts, LiveShop
from benchmarks.year.shoppers import FORGOTTEN, ShoppingDay
from lambda_api.atomic_files import write_text
from lambda_api.state.open_table import STATE_FILE
from recsys_assets.ingest.synthetic import SyntheticShop
from recsys_assets.ingest.synthetic.shoppers import user_id
from recsys_assets.lake import Lake, midnight
from recsys_assets.monitoring.drift import stored_evidence
from recsys_deploy.home_backup import copy_database

K: Final = 10
EVERY: Final[dict[str, int]] = {"weekly": 7, "four-weekly": 28, "daily": 1}
"""Days between two trainings of the arms that follow the calendar."""

Progress = Callable[[str], None]


@dataclass
class Day:
    """Figures of one day.

    Attributes:
        list_purchases: purchases of products that were chosen from a list; ``purchases``: all.
        training: ``drift``, ``floor``, ``calendar`` or empty; ``promoted``: whether it went live.
        evidence: families of alarms in the report on the day before.
        data_age_h: hours from the end of the champion's data to the moment it went live; ``None`` without a training.
        events: sent to ``/feedback``; with ``crashes``, ``repeated`` and ``fallbacks`` as in `Counts`.
        cpu_training_s, cpu_s: CPU seconds of trainings and reports, and of the whole day.
    """

    day: str
    sessions: int = 0
    clicks: int = 0
    list_purchases: int = 0
    purchases: int = 0
    training: str = ""
    reason: str = ""
    promoted: bool = False
    evidence: list[str] = field(default_factory=list)
    data_age_h: float | None = None
    events: int = 0
    refused: int = 0
    crashes: int = 0
    repeated: int = 0
    fallbacks: int = 0
    cpu_training_s: float = 0.0
    cpu_s: float = 0.0


@dataclass
class State:
    """What a checkpoint holds besides the database.

    Attributes:
        next_day: ordinal of the day that comes next.
        pending: purchases to be made later: ``[ordinal, user, slot, request id]``.
        episode, started: of the loop's open episode.
        numbers: events so far by ISO day, which number their ids.
        trials, met, waiting: of `rollouts.Trials`, ``met`` as pairs.
    """

    next_day: int
    days: list[Day] = field(default_factory=list)
    pending: list[list[Any]] = field(default_factory=list)
    episode: str | None = None
    started: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    met: list[tuple[int, int]] = field(default_factory=list)
    waiting: str = ""


class ArmRun:
    """One arm in its folder: ``home`` (a copy of the seed's start) and ``checkpoint``."""

    def __init__(self, plan: YearPlan, arm: Arm, start: Path, folder: Path, progress: Progress = print) -> None:
        self.plan, self.arm, self.folder, self.progress = plan, arm, folder, progress
        self.shop = SyntheticShop(plan.shop)
        self.clock = Clock()
        self.state, self.impressions = self._resume(start)
        settings = settings_of(plan, folder / "home", "canary" if arm == "rollouts" else "off")
        self.live = arm != "truth"
        if self.live:
            self.pipeline = Pipeline(plan, settings, self.shop, self.clock)
        self.api = LiveShop(settings, self.clock, np.random.default_rng(0))
        self.trials: Trials | None = None
        if arm == "rollouts":
            met, waiting = dict(self.state.met), self.state.waiting
            self.trials = Trials(plan, self.pipeline, self.api, self.state.trials, met, waiting)

    def make_start(self) -> None:
        """The home in which all arms of a seed begin: history, a first champion by the real graph, its lists, a refit.

        The champion learns from the first days and answers on the days after that, so that the detectors have a past.
        """
        pipeline = self.pipeline
        if self.state.next_day == self.plan.live.toordinal():
            self.clock.now = _seconds(self.plan.live)
            pipeline.ingest(self.plan.live)
            pipeline.train(self.plan.live)
            pipeline.publish(self.plan.live)
            pipeline.release()
        self.run(self.plan.start)
        self.clock.now = _seconds(self.plan.start)
        pipeline.ingest(self.plan.start)
        pipeline.materialise_reports(self.plan.start)
        pipeline.refit(self.plan.start)
        pipeline.publish(self.plan.start)
        pipeline.release()
        self.state.days = []
        self._save()
        write_text(self.folder / "ready", "")

    def run(self, until: date | None = None) -> list[Day]:
        """All days that are left, or those before ``until``; gives the figures of all days so far."""
        end = min(until or self.plan.end, self.plan.end).toordinal()
        while self.state.next_day < end:
            self._one_day(date.fromordinal(self.state.next_day))
            self.state.next_day += 1
            if (self.state.next_day - self.plan.start.toordinal()) % 7 == 0:
                self._save()
                self._report()
        if self.trials is not None:
            self.trials.close()
        self.api.close()
        return self.state.days

    def _one_day(self, today: date) -> None:
        began = time.process_time()
        figures = Day(today.isoformat())
        self.clock.now = _seconds(today) + 1_800
        self.api.rng = np.random.default_rng([self.plan.seed, today.toordinal(), 11])
        if self.live:
            self._morning(today, figures)
            figures.cpu_training_s = round(time.process_time() - began, 2)
        self._serve(today, figures)
        figures.cpu_s = round(time.process_time() - began, 2)
        self.state.days.append(figures)

    def _morning(self, today: date, figures: Day) -> None:
        """What happens at night: ingestion, reports, and a training where the arm's policy asks for one."""
        number = (today - (self.plan.live if self.arm == "start" else self.plan.start)).days
        monday = number % (28 if self.arm in ("never", "four-weekly") else 7) == 0
        if number == 0:
            return
        if monday:
            self.pipeline.interrupt_staging()
            self.pipeline.ingest(today)
            self.pipeline.publish(today)
        elif self.arm in (*LOOPS, "daily"):
            self.pipeline.ingest_yesterday(today)
        if self.arm in LOOPS:
            # The assets themselves every fourth week; in between the functions that they call.
            (self.pipeline.materialise_reports if number % 28 == 0 else self.pipeline.report_on_yesterday)(today)
        if self.arm in LOOPS:
            self._loop(today, figures)
        elif self.arm in EVERY and number % EVERY[self.arm] == 0:
            self.pipeline.refit(today)
            figures.training, figures.promoted = "calendar", True
        if figures.promoted:
            self.pipeline.release()
            self._note_age(figures)
        if monday or figures.promoted:
            self.api.restart()
        if self.trials is not None:
            self.trials.start_next(today)

    def _loop(self, today: date, figures: Day) -> None:
        yesterday = today - timedelta(days=1)
        found = [one for one in stored_evidence(self.pipeline.lake, yesterday, 1) if one.day == yesterday]
        figures.evidence = sorted(one.family for one in found)
        episode = date.fromisoformat(self.state.episode) if self.state.episode else None
        decision = self.pipeline.decide(today, episode, self.state.started)
        self.state.episode = decision.episode.isoformat() if decision.episode else None
        self.state.started = decision.started
        if decision.start:
            figures.training, figures.reason = decision.cause, decision.reason
            passed = self.pipeline.train(today)
            if self.trials is None:
                figures.promoted = bool(passed)
            else:
                self.trials.waiting = passed or self.trials.waiting

    def _note_age(self, figures: Day) -> None:
        end = self.pipeline.newest_event()
        assert end is not None
        figures.data_age_h = round((self.clock() - end.timestamp()) / 3_600, 2)

    def _serve(self, today: date, figures: Day) -> None:
        shopping = ShoppingDay(self.shop.world, self.plan, today)
        slot_of = {name: slot for slot, name in enumerate(shopping.product_ids) if name}
        prices = self.shop.world.prices(np.maximum(shopping.state.shelf, 0), today.toordinal())
        best = shopping.best_lists(K) if not self.live else None
        sender, looks = Sender(self, today, shopping, prices, figures), list(range(0, 86_400, LOOK_S))
        due = [one for one in self.state.pending if one[0] <= today.toordinal()]
        self.state.pending = [one for one in self.state.pending if one[0] > today.toordinal()]
        for _, user, slot, request in due:
            if shopping.state.shelf[slot] >= 0:
                sender.buy(user, slot, 3_000, request)
        for session in shopping.sessions:
            while self.trials is not None and looks and looks[0] <= session.second:
                self._look(_seconds(today) + looks.pop(0), figures)
            # Never back: the API refuses events from more than five minutes ahead.
            self.clock.now = max(self.clock.now, _seconds(today) + session.second)
            request = f"{today:%Y%m%d}-s{session.number}"
            if best is not None:
                shown = best[session.row].tolist()
            else:
                answer = self.api.recommend(user_id(session.user), K, request)
                if self.trials is not None:
                    self.trials.count(session.user, answer)
                shown = [slot_of.get(item.product_id, -1) for item in answer.ranking.items]
            views = shopping.answer(session, shown, self.impressions[session.user])
            self.impressions[session.user, [slot for slot in shown if slot >= 0]] += 1.0
            sender.session(session.user, session.second, request, views)
        users, slots = shopping.restocks(np.random.default_rng([self.plan.seed, today.toordinal(), 13]))
        for user, slot in zip(users.tolist(), slots.tolist(), strict=True):
            sender.buy(user, slot, 83_000, None)
        self.clock.now = _seconds(today) + 85_000
        if self.live:
            self.api.flush()
        self.impressions *= FORGOTTEN
        figures.sessions = len(shopping.sessions)
        counts, self.api.counts = self.api.counts, Counts()
        figures.events, figures.refused, figures.crashes = counts.sent, counts.refused, counts.crashes
        figures.repeated, figures.fallbacks = counts.repeated, counts.fallbacks

    def _look(self, moment: float, figures: Day) -> None:
        """A look at the rollout that runs, on all events so far."""
        assert self.trials is not None
        self.clock.now = max(self.clock.now, moment)
        self.api.flush()
        if self.trials.look():
            figures.promoted = True
            self._note_age(figures)

    def lost_events(self) -> tuple[int, int]:
        """See `lost_events`."""
        refused = {day.day: day.refused for day in self.state.days}
        return lost_events(self.folder, self.state.numbers, self.plan.start, refused)

    def _report(self) -> None:
        week = self.state.days[-7:]
        trained = ", ".join(f"{one.training} {one.day}" for one in week if one.training)
        first = self.plan.live if self.arm == "start" else self.plan.start
        done = (self.state.next_day - first.toordinal()) // 7
        self.progress(
            f"seed {self.plan.seed} {self.arm:<11} week {done:>2}/{self.plan.weeks}: "
            f"{sum(one.list_purchases for one in week):>5} from lists, {sum(one.purchases for one in week):>5} in all, "
            f"{sum(one.cpu_s for one in week):5.1f} CPU s{'; ' + trained if trained else ''}"
        )

    def _save(self) -> None:
        target = self.folder / "checkpoint"
        fresh = self.folder / "checkpoint.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        if self.live:
            copy_database(self.folder / "home" / STATE_FILE, fresh / STATE_FILE)
        np.save(fresh / "impressions.npy", self.impressions)
        if self.trials is not None:
            self.state.met, self.state.waiting = list(self.trials.met.items()), self.trials.waiting
        write_text(fresh / "state.json", json.dumps(asdict(self.state)))
        old = self.folder / "checkpoint.old"
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        fresh.rename(target)

    def _resume(self, start: Path) -> tuple[State, np.ndarray]:
        checkpoint = self.folder / "checkpoint"
        if not checkpoint.exists() and (self.folder / "checkpoint.old").exists():
            (self.folder / "checkpoint.old").rename(checkpoint)
        home = self.folder / "home"
        if not checkpoint.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            if self.arm == "start":
                return State(self.plan.live.toordinal()), np.zeros((self.plan.shoppers, self.plan.products))
            if self.arm != "truth":
                # Its process may have the database open: copied as files, its journal could vanish meanwhile.
                shutil.copytree(start / "home", home, ignore=shutil.ignore_patterns(f"{STATE_FILE}*"))
                copy_database(start / "home" / STATE_FILE, home / STATE_FILE)
            stored = json.loads((start / "checkpoint" / "state.json").read_text())
            return State(**stored), np.load(start / "checkpoint" / "impressions.npy")
        stored = json.loads((checkpoint / "state.json").read_text())
        days, trials = [Day(**one) for one in stored["days"]], [Trial(**one) for one in stored["trials"]]
        state = State(**{**stored, "days": days, "trials": trials})
        if self.arm != "truth":
            _rewind(home, date.fromordinal(state.next_day), checkpoint / STATE_FILE)
        return state, np.load(checkpoint / "impressions.npy")


def _seconds(day: date) -> float:
    """The beginning of a UTC day in seconds since 1970 UTC."""
    return midnight(day).timestamp()


def lost_events(folder: Path, numbers: Mapping[str, int], first: date, refused: Mapping[str, int]) -> tuple[int, int]:
    """Events that were sent since ``first`` on days that are ingested, and how many of them no table of the lake holds.

    Training table and quarantine together must hold each once; one that they hold twice counts as lost too. Events that
    the API refused are not lost: the sender was told.

    Args:
        folder: of the arm.
        numbers: events sent by ISO day.
        refused: how many of them the API refused.
    """
    lake = Lake(str(folder / "home" / "lake"))
    sent = lost = 0
    days = {table: set(lake.days(table)) for table in ("interactions", "quarantined_interactions")}
    for text, count in numbers.items():
        day = date.fromisoformat(text)
        if day < first or day not in days["interactions"]:
            continue
        found: list[str] = []
        for table, stored in days.items():
            if day in stored:
                ids = lake.read_day(table, day, ("interaction_id",))["interaction_id"]
                found += ids.to_pylist()
        expected = {f"{day:%Y%m%d}-{number}" for number in range(count)}
        sent += count
        lost -= refused.get(text, 0)
        lost += len(expected - set(found)) + len(found) - len(set(found))
    return sent, lost


def so_far(plan: YearPlan, arm: Arm, folder: Path) -> dict[str, Any] | None:
    """What `figures.load` gives, of an arm that has not ended; ``None`` before its first checkpoint."""
    own = folder / f"{plan.seed}-{arm}"
    path = own / "checkpoint" / "state.json"
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    lost = (
        (0, 0)
        if arm == "truth"
        else lost_events(own, stored["numbers"], plan.start, {day["day"]: day["refused"] for day in stored["days"]})
    )
    return {"plan": asdict(plan), "days": stored["days"], "lost": lost, "trials": stored["trials"]}


def _rewind(home: Path, next_day: date, database: Path) -> None:
    """Bring a home back to the evening before ``next_day``."""
    for suffix in ("-wal", "-shm", ""):
        (home / f"{STATE_FILE}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(database, home / STATE_FILE)
    yesterday = next_day - timedelta(days=1)
    for folder, first in ((home / "events", next_day), (home / "lake", yesterday)):
        for one in folder.glob("*/date=*"):
            if one.name >= f"date={first}":
                shutil.rmtree(one)
    # Files of the stream are staged anew: some parts have just been removed.
    (home / "lake" / "stream_index.json").unlink(missing_ok=True)
