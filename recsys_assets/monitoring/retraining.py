"""Decides whether to start a training: alarms, bursts after them, a floor without them, and back-off after refusals.

An alarm opens an *episode*. Models learn a change only as data about it arrive, so an episode trains on days 0, 7, 14
and 21. Without alarms a training starts after `Rules.floor_days`, because old data cost hits without any drift.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

Family = Literal["concept", "twin", "feature", "prediction", "bias", "attribution"]
ALONE: Final[frozenset[Family]] = frozenset({"concept", "twin"})
"""Families that start a training by themselves; of the others two are needed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One alarm of one family on one day.

    Attributes:
        since: first day of the change.
        sentence: what happened and how sure it is.
    """

    family: Family
    day: date
    since: date
    sentence: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Days of the decision.

    Attributes:
        within_days: evidence older than this does not count.
        cooldown_days: minimum distance of two trainings; doubles with every refusal after the first.
        burst_days: days of an episode on which a training starts.
        floor_days: a training starts at the latest so many days after the last one.
        max_cooldown_days: limit of the doubling.
    """

    within_days: int = 7
    cooldown_days: int = 7
    burst_days: tuple[int, ...] = (0, 7, 14, 21)
    floor_days: int = 28
    max_cooldown_days: int = 56


@dataclass(frozen=True, slots=True)
class TrainingHistory:
    """What is known of earlier trainings.

    Attributes:
        last: day of the newest finished training; ``None`` before the first.
        refusals: newest trainings in a row that were refused.
        running: whether one is queued or running.
        episode: first day of the open episode; ``None`` without one.
        started: trainings that the episode has started.
    """

    last: date | None = None
    refusals: int = 0
    running: bool = False
    episode: date | None = None
    started: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to start a training today.

    Attributes:
        start: the answer; ``reason`` a sentence.
        episode, started: of the episode after this decision, for the next `TrainingHistory`.
        cause: ``drift``, ``floor`` or ``none``; ``day``: today.
    """

    start: bool
    reason: str
    cause: Literal["drift", "floor", "none"]
    episode: date | None
    started: int
    day: date

    @property
    def run_key(self) -> str:
        """Equal for all looks that ask for the same training: Dagster starts one run per key."""
        return f"{self.cause}-{self.episode or self.day}-{self.started}"


def decide_training(
    today: date, evidence: Sequence[Evidence], history: TrainingHistory, rules: Rules | None = None
) -> Decision:
    """The decision of one day. Pure: the same arguments give the same decision.

    Args:
        today: UTC day.
        evidence: alarms of the last days, of any age.
        history: of trainings and of the open episode.
    """
    rules = rules or Rules()
    # What was seen before the last training is about another champion.
    evidence = [one for one in evidence if history.last is None or one.day >= history.last]
    episode, started = _open_episode(today, evidence, history, rules)

    def answer(start: bool, reason: str, cause: Literal["drift", "floor", "none"] = "none") -> Decision:
        return Decision(start, reason, cause, episode, started + (start and cause == "drift"), today)

    if history.last is None:
        return answer(False, "There is no model yet; build the first one by hand.")
    if history.running:
        return answer(False, "A training is queued or running.")
    age = (today - history.last).days
    cooldown = cooldown_days(history.refusals, rules)
    if episode is not None and started < len(rules.burst_days):
        due = episode + timedelta(days=rules.burst_days[started])
        alarms = "; ".join(one.sentence for one in _recent(today, evidence, rules)) or "an earlier alarm"
        if today < due:
            return answer(False, f"The next training of the episode since {episode} is due on {due}.")
        if age < cooldown:
            return answer(False, f"The last training is {age} days old; the next may start after {cooldown} days.")
        number = f"{started + 1} of {len(rules.burst_days)}"
        return answer(True, f"Training {number} of the episode since {episode}: {alarms}.", "drift")
    if age >= max(rules.floor_days, cooldown):
        return answer(True, f"The last training is {age} days old, at least {rules.floor_days}.", "floor")
    return answer(False, f"No alarm, and the last training is {age} days old.")


def cooldown_days(refusals: int, rules: Rules) -> int:
    """Minimum distance of trainings: doubles with every refusal after the first, up to a limit."""
    return min(rules.cooldown_days * 2 ** max(0, refusals - 1), rules.max_cooldown_days)


def is_alarm(today: date, evidence: Sequence[Evidence], rules: Rules) -> bool:
    """Concept or twin, or two other families, within the last days."""
    families = {one.family for one in _recent(today, evidence, rules)}
    return bool(families & ALONE) or len(families) >= 2


def _recent(today: date, evidence: Sequence[Evidence], rules: Rules) -> list[Evidence]:
    return [one for one in evidence if timedelta(0) <= today - one.day < timedelta(days=rules.within_days)]


def _open_episode(
    today: date, evidence: Sequence[Evidence], history: TrainingHistory, rules: Rules
) -> tuple[date | None, int]:
    """The episode of today and the trainings it has started; an old one ends a week after its last training day."""
    ends = timedelta(days=rules.burst_days[-1] + rules.cooldown_days)
    if history.episode is not None and today - history.episode < ends:
        return history.episode, history.started
    return (today, 0) if is_alarm(today, evidence, rules) else (None, 0)
