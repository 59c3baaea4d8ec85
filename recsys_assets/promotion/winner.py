"""Chooses the recipe that is fitted on everything and goes live: the challenger's, or the champion's again."""

from dataclasses import dataclass, replace
from typing import Literal

from recsys_assets.evaluation.champion import AS_SERVED
from recsys_assets.evaluation.evaluate_models import Evaluation
from recsys_assets.promotion.decision import Decision, PromotionInput, decide, decide_refresh

Rule = Literal["first", "change", "refresh"]


@dataclass(frozen=True)
class Winner:
    """The recipe that was chosen.

    Attributes:
        name: evaluation name of its fit on the training window.
        rule: ``first`` (there was no champion), ``change`` (another recipe than the champion's) or ``refresh``.
        decision: whether it may go live, and why.
    """

    name: str
    rule: Rule
    decision: Decision


def choose_winner(evaluation: Evaluation) -> Winner:
    """The challenger where it is better beyond chance, else the champion's own recipe on newer data.

    Deterministic: the same evaluation gives the same winner.
    """
    report, champion = evaluation.report, evaluation.champion
    if champion is None:
        measured = _measured(evaluation, report.challenger, report.reference_baseline, report.reference_baseline, True)
        return Winner(report.challenger, "first", decide(measured))
    against = f"{champion.version} ({champion.recipe})"
    refused: tuple[str, ...] = ()
    if report.challenger != champion.recipe:
        change = decide(_measured(evaluation, report.challenger, champion.recipe, against))
        if change.promote:
            return Winner(report.challenger, "change", change)
        refused = change.reasons
    if champion.data_end >= report.setting.end:
        refresh = Decision(False, (f"The champion has learned from everything before {champion.data_end}.",), None)
    elif AS_SERVED in evaluation.figures:
        refresh = decide_refresh(_measured(evaluation, champion.recipe, AS_SERVED, against))
    else:
        refresh = decide_refresh(None)
    return Winner(champion.recipe, "refresh", replace(refresh, reasons=(*refused, *refresh.reasons)))


def _measured(evaluation: Evaluation, new: str, old: str, opponent: str, first: bool = False) -> PromotionInput:
    figures = evaluation.figures
    return PromotionInput(champion=opponent, challenger=new, old=figures[old], new=figures[new], first=first)
