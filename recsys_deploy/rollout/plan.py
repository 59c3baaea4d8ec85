"""What a rollout will do: its stages, how often it is looked at, and the limits it is judged by."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from lambda_api.state.routing_record import WHOLE
from recsys_deploy.experiments.comparison import BusinessRules
from recsys_deploy.release.strategies import Strategy

HOUR_S: Final = 3_600.0
DAY_S: Final = 24 * HOUR_S
INTERLEAVED_SHOPPERS: Final = 2_000

_STRICT = ConfigDict(extra="forbid")


class PlanRefused(RecsysError):
    """A plan that cannot be carried out; the message names the field and what is allowed."""


class StageKind(StrEnum):
    """What decides whether a stage is passed."""

    SHADOW = "shadow"
    """Asked after the reply; nobody sees its answers. Guardrails only."""
    GUARDRAILS = "guardrails"
    """Some shoppers meet it; judged by breakage and by large losses."""
    EXPERIMENT = "experiment"
    """Half of the shoppers meet it; judged by business."""
    INTERLEAVING = "interleaving"
    """Shoppers get lists drafted from both versions; judged by what they take from whose places."""
    WARM = "warm"
    """It answers everybody; the former bundle can be back within one look."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a rollout.

    Attributes:
        name: for people.
        weight: ten-thousandths of the shoppers who meet the version.
        min_s, max_s: seconds before it may be left, and after which it is left all the same (or given up, if the
            evidence is not there).
    """

    __pydantic_config__ = _STRICT

    name: str
    kind: StageKind
    weight: int
    min_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """When a look ends a rollout, and what a stage needs before it may be left.

    Attributes:
        min_requests: below so many answers of the version in a stage nothing is concluded.
        min_shadow_questions: answers that a shadow has to give.
        broken_share, broken_least: abort at once when so large a share of its answers failed in the model, and so many.
        slow_share: of its answers that may be slower than the champion's 95th percentile.
        coverage_drop: relative loss of different products shown to equally many shoppers.
        harm_alpha: level of the one-sided test for a loss of conversions or clicks.
        excluded_loss: before half of the shoppers meet it, a loss this large must be ruled out; 0: not asked for.
        silence_s: without an answer of the version for so long, while the champion answers, it is taken back.
        error_rate, latency_ms: over the last five minutes, whatever the champion does; above: taken back.
        settle_s: after the route changed, until every process that answers has read it; lists before are not counted.
        outcome_window_s: what a shopper does for so long after their first list counts in the experiment.
    """

    __pydantic_config__ = _STRICT

    min_requests: int = 200
    min_shadow_questions: int = 1_000
    broken_share: float = 0.02
    broken_least: int = 10
    slow_share: float = 0.05
    coverage_drop: float = 0.20
    harm_alpha: float = 0.01
    excluded_loss: float = 0.30
    silence_s: float = HOUR_S / 2
    error_rate: float = 0.05
    latency_ms: float = 1_000.0
    settle_s: float = 60.0
    outcome_window_s: float = 8 * DAY_S


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """Stages in order, and how they are judged.

    Attributes:
        look_s: seconds between two looks.
        approval_s: seconds a person has to approve before everybody meets the version; 0: nobody is asked.
        offline_only: a shop too small for a verdict: passing the guardrails is enough, as offline evaluation was.
    """

    __pydantic_config__ = _STRICT

    strategy: Strategy
    stages: tuple[Stage, ...]
    look_s: float = HOUR_S
    approval_s: float = 0.0
    offline_only: bool = False
    limits: Limits = field(default_factory=Limits)
    business: BusinessRules = field(default_factory=BusinessRules)

    def __post_init__(self) -> None:
        if not self.stages or self.stages[-1].kind is not StageKind.WARM:
            raise PlanRefused("stages must end with one of kind warm", remedy="take the plan of a strategy")
        weights = [stage.weight for stage in self.stages]
        if weights != sorted(weights) or not all(0 <= weight <= WHOLE for weight in weights):
            raise PlanRefused(f"weights {weights} must lie between 0 and {WHOLE}, none below the one before")
        if self.look_s <= 0 or any(not 0 <= stage.min_s <= stage.max_s for stage in self.stages):
            raise PlanRefused("look_s must be above 0, and 0 <= min_s <= max_s in every stage")

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `plan_from_json` reads it back."""
        plain: dict[str, Any] = _PLAN.dump_python(self, mode="json")
        return plain

    def faster(self, factor: float) -> "RolloutPlan":
        """The same plan with every duration divided by ``factor``: for a demonstration or a test."""
        limits = self.limits
        return replace(
            self,
            look_s=self.look_s / factor,
            approval_s=self.approval_s / factor,
            stages=tuple(replace(one, min_s=one.min_s / factor, max_s=one.max_s / factor) for one in self.stages),
            business=replace(
                self.business,
                min_days=self.business.min_days / factor,
                max_days=self.business.max_days / factor,
            ),
            limits=replace(
                limits,
                outcome_window_s=limits.outcome_window_s / factor,
                silence_s=limits.silence_s / factor,
                settle_s=limits.settle_s / factor,
            ),
        )


_PLAN = TypeAdapter(RolloutPlan)

_SHADOW = Stage("shadow", StageKind.SHADOW, 0, DAY_S, 7 * DAY_S)
_WARM = Stage("everybody", StageKind.WARM, WHOLE, DAY_S, DAY_S)

_STAGES: dict[Strategy, tuple[Stage, ...]] = {
    Strategy.CANARY: (
        _SHADOW,
        Stage("1 %", StageKind.GUARDRAILS, WHOLE // 100, 2 * HOUR_S, 2 * DAY_S),
        Stage("5 %", StageKind.GUARDRAILS, WHOLE // 20, DAY_S, 4 * DAY_S),
        Stage("50 %", StageKind.EXPERIMENT, WHOLE // 2, 7 * DAY_S, 37 * DAY_S),
        _WARM,
    ),
    Strategy.BLUE_GREEN: (Stage("every shopper with an id", StageKind.GUARDRAILS, WHOLE, HOUR_S, DAY_S), _WARM),
    Strategy.SHADOW: (_SHADOW, _WARM),
    Strategy.IMMEDIATE: (_WARM,),
}


def plan_of(strategy: Strategy) -> RolloutPlan:
    """The stages of a strategy with the usual durations and limits."""
    return RolloutPlan(strategy, _STAGES[strategy])


def interleaved(plan: RolloutPlan) -> RolloutPlan:
    """The plan with lists of both versions for every shopper in place of the experiment on half of them.

    It is meant for small shops, so that the interval is tightest at `INTERLEAVED_SHOPPERS`.

    Raises:
        PlanRefused: the plan has no experiment.
    """
    if all(stage.kind is not StageKind.EXPERIMENT for stage in plan.stages):
        raise PlanRefused(f"{plan.strategy} has no experiment that could be interleaved", remedy="take a canary")
    stages = tuple(
        replace(stage, name="interleaved", kind=StageKind.INTERLEAVING, weight=WHOLE)
        if stage.kind is StageKind.EXPERIMENT
        else stage
        for stage in plan.stages
    )
    return replace(plan, stages=stages, business=replace(plan.business, planned_shoppers=INTERLEAVED_SHOPPERS))


def usual_plan(settings: Settings) -> RolloutPlan:
    """The plan of a rollout that names none: the environment's strategy, verdict and hours for an approval."""
    strategy = Strategy.CANARY if settings.rollout == "off" else Strategy(settings.rollout)
    plan = replace(plan_of(strategy), approval_s=settings.rollout_approval_hours * HOUR_S)
    if strategy is not Strategy.CANARY or settings.rollout_verdict == "experiment":
        return plan
    return interleaved(plan) if settings.rollout_verdict == "interleaving" else replace(plan, offline_only=True)


def plan_from_json(value: Any) -> RolloutPlan:
    """Inverse of `RolloutPlan.to_json`.

    Raises:
        PlanRefused: a field is unknown, missing or not allowed; the message says which.
    """
    try:
        return _PLAN.validate_python(value)
    except ValueError as error:
        raise PlanRefused(f"not a plan of a rollout: {error}") from error


def in_words(seconds: float) -> str:
    """A duration for people, in the largest unit that has at least one of it (days: two)."""
    for unit, length, least in (("days", DAY_S, 2 * DAY_S), ("h", HOUR_S, HOUR_S), ("min", 60.0, 60.0)):
        if seconds >= least:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
