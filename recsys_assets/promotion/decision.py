"""Promotion rules: whether a change of recipe or a refresh may go live, and why, from offline measurements.

A recipe is a trainer with its hyper-parameters. Two questions, both on one test window with paired intervals over
users:

* `decide`, a **change** of recipe: goes on only if it is better beyond chance.
* `decide_refresh`, the same recipe on newer data: goes on unless it is shown to be worse by more than a margin. Old
  data cost hits every week, so an undecided refresh is better than none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_assets.evaluation.report import PromotionFigures
from recsys_assets.measurement.bootstrap import PairedComparison, paired_comparison

Guardrail = tuple[str, float, float, float]
"""Name, champion's value, challenger's value, and the share of the champion's that may be lost."""

_ROUNDING = 1e-12
"""Tolerance for rounding: a drop exactly at its limit is allowed."""


@dataclass(frozen=True, slots=True)
class PromotionRules:
    """Limits of the promotion rules. Drops are relative to the champion's value.

    Attributes:
        confidence: of the paired interval that must lie above zero.
        max_coverage_drop: share of catalogue coverage a challenger may lose. The same recipe on another week moves
            coverage by a few percent.
        max_worst_group_recall_drop: share of the worst group's recall a challenger may lose. With a few hundred users
            that recall is uncertain by about a tenth.
        min_users: with fewer evaluated users a bootstrap interval is too narrow to be trusted.
        min_differing_users: minimum number of users with a different NDCG. Three wins out of three put a bootstrap
            interval above zero, and happen by chance with p = 1/8.
        resamples, seed: of the bootstrap.
    """

    confidence: float = 0.95
    max_coverage_drop: float = 0.05
    max_worst_group_recall_drop: float = 0.10
    min_users: int = 30
    min_differing_users: int = 10
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must be between 0 and 1, is {self.confidence}")
        for name in ("max_coverage_drop", "max_worst_group_recall_drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, is {getattr(self, name)}")
        if self.min_users < 2:
            raise ValueError(f"min_users must be at least 2, is {self.min_users}")


@dataclass(frozen=True, kw_only=True)
class PromotionInput:
    """Measurements of both models on the same users of one test window.

    For the first champion, the popularity baseline takes the champion's place and ``first`` is set.

    Attributes:
        champion, challenger: names for messages, such as ``v1.0.0 (ease)``.
        old, new: figures of champion and challenger.
        first: there is no champion yet.
    """

    champion: str
    challenger: str
    old: PromotionFigures
    new: PromotionFigures
    first: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on a challenger.

    Attributes:
        promote: whether the challenger may become champion.
        reasons: full sentences, for or against.
        comparison: challenger minus champion, mean NDCG; ``None`` when the two could not be compared.
    """

    promote: bool
    reasons: tuple[str, ...]
    comparison: PairedComparison | None


def decide(measured: PromotionInput, rules: PromotionRules | None = None) -> Decision:
    """Decide on a challenger; the same input gives the same decision.

    It is promoted only if the paired bootstrap interval of its NDCG minus the champion's lies above zero and no
    guardrail (catalogue coverage, worst group's recall) falls by more than the rules allow. Measurements that do not
    compare (other users, missing values) are refused. Without a champion the challenger must beat the popularity
    baseline in the same way.
    """
    rules = rules or PromotionRules()
    obstacles = _obstacles_to_comparison(measured, rules)
    if obstacles:
        return Decision(False, tuple(obstacles), None)
    comparison = _compared(measured, rules)
    against = _objections(measured, rules, comparison)
    if against:
        return Decision(False, tuple(against), comparison)
    return Decision(True, tuple(_grounds(measured, rules, comparison)), comparison)


@dataclass(frozen=True, slots=True)
class RefreshRules:
    """Limits of a refresh.

    Attributes:
        confidence: of the paired interval.
        max_harm: a refresh is refused when the whole interval lies below minus this share of the champion's NDCG.
        max_coverage_drop: share of catalogue coverage that a refresh may lose.
        min_users: with fewer evaluated users nothing can be shown, and the refresh goes on.
        resamples, seed: of the bootstrap.
    """

    confidence: float = 0.95
    max_harm: float = 0.05
    max_coverage_drop: float = 0.25
    min_users: int = 30
    resamples: int = 2000
    seed: int = 0


def decide_refresh(measured: PromotionInput | None, rules: RefreshRules | None = None) -> Decision:
    """Decide on a refresh.

    Args:
        measured: the refreshed model against the champion as it serves, on a window that neither has learned from;
            ``None`` where the champion has learned from the window. The recipe is then the same, so nothing speaks
            against newer data.
        rules: the limits.
    """
    rules = rules or RefreshRules()
    if measured is None:
        return Decision(
            True,
            ("Same recipe on newer data; the champion has learned from the test window, so they do not compare.",),
            None,
        )
    old, new = measured.old, measured.new
    if len(old.ndcg) < rules.min_users or old.ndcg.shape != new.ndcg.shape:
        return Decision(True, ("Same recipe on newer data; too few users to compare it with the champion.",), None)
    comparison = _compared(measured, rules)
    margin = rules.max_harm * float(old.ndcg.mean())
    differs = f"NDCG differs by {_interval(comparison, rules.confidence)}"
    objections = []
    if comparison.high < -margin:
        objections.append(
            f"{measured.challenger} is worse than {_opponent(measured)} by more than the margin {margin:.4f}: "
            f"{differs}."
        )
    objections += _falls([("Catalogue coverage", old.coverage, new.coverage, rules.max_coverage_drop)])
    if objections:
        return Decision(False, tuple(objections), comparison)
    return Decision(
        True, (f"Same recipe on newer data, and no harm beyond the margin {margin:.4f}: {differs}.",), comparison
    )


def _obstacles_to_comparison(measured: PromotionInput, rules: PromotionRules) -> list[str]:
    champion, challenger = measured.old.ndcg, measured.new.ndcg
    if champion.ndim != 1 or champion.shape != challenger.shape:
        return [
            f"{measured.challenger} has NDCG values of shape {challenger.shape} and {_opponent(measured)} of shape "
            f"{champion.shape}; both need one value for each of the same users."
        ]
    obstacles = []
    if len(champion) < rules.min_users:
        obstacles.append(
            f"Only {len(champion)} users could be evaluated; a decision needs at least {rules.min_users}, so use a "
            "longer test window."
        )
    if not (np.isfinite(champion).all() and np.isfinite(challenger).all()):
        obstacles.append("Some NDCG values are missing or infinite; leave out users without a value for both models.")
    if not (math.isfinite(measured.old.coverage) and math.isfinite(measured.new.coverage)):
        obstacles.append("Catalogue coverage is missing for one of the models; evaluate both again.")
    recalls = (measured.old.worst_group_recall, measured.new.worst_group_recall)
    if recalls != (None, None) and not all(value is not None and math.isfinite(value) for value in recalls):
        obstacles.append("The worst group's recall is missing for one of the models; evaluate both on the same groups.")
    return obstacles


def _objections(measured: PromotionInput, rules: PromotionRules, comparison: PairedComparison) -> list[str]:
    objections = []
    # A very skewed interval can exclude its own point estimate, so the difference is tested too.
    if not min(comparison.low, comparison.difference) > 0:
        objections.append(
            f"{measured.challenger} is not better than {_opponent(measured)} beyond chance: NDCG differs by "
            f"{_interval(comparison, rules.confidence)}, and that interval must lie above zero."
        )
    elif comparison.wins + comparison.losses < rules.min_differing_users:
        objections.append(
            f"{measured.challenger} and {_opponent(measured)} differ for only {comparison.wins + comparison.losses} of "
            f"{comparison.n} users; a decision needs at least {rules.min_differing_users}."
        )
    return [*objections, *_falls(_guardrails(measured, rules))]


def _grounds(measured: PromotionInput, rules: PromotionRules, comparison: PairedComparison) -> list[str]:
    grounds = [
        f"{measured.challenger} is better than {_opponent(measured)}: "
        f"NDCG differs by {_interval(comparison, rules.confidence)}."
    ]
    if measured.first:
        grounds.append("There is no champion yet, so it was compared with the popularity baseline.")
    for name, champion, challenger, limit in _guardrails(measured, rules):
        grounds.append(f"{name} goes from {champion:.4g} to {challenger:.4g}, within the allowed fall of {limit:.1%}.")
    return grounds


def _guardrails(measured: PromotionInput, rules: PromotionRules) -> list[Guardrail]:
    """Every guardrail that was measured."""
    old, new = measured.old, measured.new
    guardrails = [("Catalogue coverage", old.coverage, new.coverage, rules.max_coverage_drop)]
    if old.worst_group_recall is not None and new.worst_group_recall is not None:
        limit = rules.max_worst_group_recall_drop
        guardrails.append(("The worst group's recall", old.worst_group_recall, new.worst_group_recall, limit))
    return guardrails


def _falls(guardrails: Sequence[Guardrail]) -> list[str]:
    """A sentence on each value that falls by more than its limit."""
    return [
        f"{name} would fall by {(old - new) / old:.1%}, from {old:.4g} to {new:.4g}; at most {limit:.1%} is allowed."
        for name, old, new, limit in guardrails
        if old - new > limit * old + _ROUNDING
    ]


def _compared(measured: PromotionInput, rules: PromotionRules | RefreshRules) -> PairedComparison:
    return paired_comparison(
        measured.new.ndcg,
        measured.old.ndcg,
        confidence=rules.confidence,
        resamples=rules.resamples,
        seed=rules.seed,
    )


def _interval(comparison: PairedComparison, confidence: float) -> str:
    ends = f"{comparison.low:+.4f} to {comparison.high:+.4f}"
    return f"{comparison.difference:+.4f} ({confidence:.0%} interval {ends}, {comparison.n} users)"


def _opponent(measured: PromotionInput) -> str:
    return f"the popularity baseline ({measured.champion})" if measured.first else f"the champion {measured.champion}"
