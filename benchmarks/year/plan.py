"""Size of the simulated year, its days, and the changes that are injected into it."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final, Literal

from recsys_assets.ingest.synthetic import Drift, DriftKind, SyntheticShopConfig
from recsys_assets.monitoring.retraining import Rules

FIRST: Final = date(2024, 1, 1)
"""First day of the shop (a Monday). Its history without lists begins here."""

TRAINED_DAYS: Final = 84
"""Days from which the first champion learns."""

OBSERVED_DAYS: Final = 63
"""Days after that with its lists, before the arms part: what the first alarms compare with."""

PEAK_TRAFFIC: Final = 1.8
PEAK_DAYS: Final = 14
BUG_DAYS: Final = 7
BUG_SHARE: Final = 0.5
"""Share of events that name a wrong product while the tracking bug lasts."""

GRADUAL_WEEKS: Final = 40
"""A shorter year leaves out the gradual change of taste: changes would overlap."""

Arm = Literal["start", "truth", "never", "four-weekly", "weekly", "loop", "rollouts", "daily"]
ARMS: Final[tuple[Arm, ...]] = ("truth", "never", "loop", "rollouts", "weekly", "daily", "four-weekly")
LOOPS: Final = ("loop", "rollouts")
"""Arms in which monitoring starts the trainings; in ``rollouts`` each version meets the shoppers step by step."""

Schedule = Literal["year", "taste", "none"]


@dataclass(frozen=True, slots=True)
class Change:
    """One injected change.

    Attributes:
        name: of the table's row.
        start: first day; ``days``: how long, where it ends.
        drift: what the synthetic shop changes; empty for a peak or a tracking bug.
    """

    name: str
    start: date
    days: int
    drift: tuple[Drift, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version of known worth that is rolled out in the arm ``rollouts``: the champion's recipe on newer data.

    Attributes:
        effect: relative change of all purchases of the shoppers who met it.
        is_bad: it must not be promoted.
        is_refresh: judged as the loop's own trainings are (`benchmarks.year.rollouts.plan_of`).
    """

    effect: float = 0.0
    is_bad: bool = True
    is_refresh: bool = False


ERRORS: Final = "errors"
SLOW: Final = "slow"
DAMAGED: Final = "damaged data"
UNTRACKED: Final = "tracking bug"
CANDIDATES: Final[dict[str, Candidate]] = {
    "sells 10 % less": Candidate(-0.1),
    ERRORS: Candidate(),
    "sells 30 % more": Candidate(0.3, is_bad=False),
    SLOW: Candidate(),
    UNTRACKED: Candidate(),
    "sells 30 % less": Candidate(-0.3),
    DAMAGED: Candidate(is_refresh=True),
}
"""By name, in the order of their weeks: a short one follows one that may take weeks."""


@dataclass(frozen=True, slots=True)
class YearPlan:
    """Size and schedule. Equal plans and seeds give equal years.

    Attributes:
        weeks: after the days for training and observation.
        shoppers, products, sessions: of the shop; ``sessions`` per shopper and day.
        schedule: ``year``: all changes; ``taste``: all tastes are new from the middle on; ``none``.
        models: that the graph trains (setting ``models``).
        trained_days, observed_days: see `TRAINED_DAYS` and `OBSERVED_DAYS`.
        candidates: of the arm ``rollouts``, names of `CANDIDATES` separated by commas.
        experiment_days: after which an experiment ends without a verdict.
        floor_days, burst_days: of `recsys_assets.monitoring.retraining.Rules`, the latter separated by commas.
    """

    seed: int = 0
    weeks: int = 52
    shoppers: int = 1_000
    products: int = 300
    sessions: float = 0.2
    schedule: Schedule = "year"
    models: str = "popularity,item_knn,ease"
    trained_days: int = TRAINED_DAYS
    observed_days: int = OBSERVED_DAYS
    candidates: str = ",".join(CANDIDATES)
    experiment_days: int = 28
    floor_days: int = Rules().floor_days
    burst_days: str = ",".join(map(str, Rules().burst_days))

    @property
    def rules(self) -> Rules:
        """When the loop starts a training."""
        return replace(Rules(), floor_days=self.floor_days, burst_days=tuple(map(int, self.burst_days.split(","))))

    @property
    def candidate_weeks(self) -> dict[str, int]:
        """Week in which each candidate is registered, evenly over the year; it waits while another is rolled out."""
        names = [name for name in self.candidates.split(",") if name]
        return {name: int((place + 0.5) * self.weeks / len(names)) for place, name in enumerate(names)}

    @property
    def live(self) -> date:
        """First day with lists."""
        return FIRST + timedelta(days=self.trained_days)

    @property
    def start(self) -> date:
        """First day of the year: the arms part."""
        return self.live + timedelta(days=self.observed_days)

    @property
    def end(self) -> date:
        """The day after the last."""
        return self.start + timedelta(weeks=self.weeks)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Injected changes, by first day."""
        if self.schedule == "none":
            return ()
        if self.schedule == "taste":
            return (self._drift("taste 1", 0.5, DriftKind.TASTE_SHIFT, 1.0),)
        first = (
            self._drift("taste .5", 0.12, DriftKind.TASTE_SHIFT, 0.5),
            Change("season peak", self._week(0.25), PEAK_DAYS),
            self._drift("catalogue .5", 0.38, DriftKind.CATALOGUE_SHIFT, 0.5),
            self._drift("price +30 %", 0.50, DriftKind.PRICE_SHIFT, 0.3),
        )
        bug = Change("tracking bug", self._week(0.82), BUG_DAYS)
        if self.weeks < GRADUAL_WEEKS:
            return (*first, self._drift("taste .25", 0.66, DriftKind.TASTE_SHIFT, 0.25), bug)
        # Five steps of .13 are half of the way: 1 - .87 ** 5.
        starts = [self._week(0.60) + timedelta(weeks=step) for step in range(5)]
        gradual = tuple(Drift(DriftKind.TASTE_SHIFT, one, 0.13) for one in starts)
        last = self._drift("taste .25", 0.90, DriftKind.TASTE_SHIFT, 0.25)
        return (*first, Change("taste .5, gradual", starts[0], 0, gradual), bug, last)

    @property
    def shop(self) -> SyntheticShopConfig:
        """The synthetic shop."""
        return SyntheticShopConfig(
            seed=self.seed,
            start=FIRST,
            days=(self.end - FIRST).days + 14,
            n_users=self.shoppers,
            n_products=self.products,
            n_categories=12,
            n_brands=25,
            sessions_per_user_per_day=self.sessions,
            drift=tuple(drift for change in self.changes for drift in change.drift),
        )

    def is_peak(self, day: date) -> bool:
        """Whether the season peak is on."""
        return self._within("season peak", day)

    def is_buggy(self, day: date) -> bool:
        """Whether the tracking bug is on."""
        return self._within("tracking bug", day)

    def _within(self, name: str, day: date) -> bool:
        return any(one.name == name and one.start <= day < one.start + timedelta(days=one.days) for one in self.changes)

    def _week(self, share: float) -> date:
        return self.start + timedelta(weeks=round(share * self.weeks))

    def _drift(self, name: str, share: float, kind: DriftKind, strength: float) -> Change:
        start = self._week(share)
        return Change(name, start, 0, (Drift(kind, start, strength),))
