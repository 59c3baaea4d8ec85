"""Fits the winning recipe on everything up to now, and compares that refit with the fit that was evaluated.

The evaluated fit ends before the test window, so its data are days to weeks old when it goes live; old data cost hits.
The refit is what is registered and served. Nothing is left to evaluate it on, so it has to agree with the evaluated
fit: their lists for the same shoppers must overlap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import ConfigDict, TypeAdapter

from lambda_api.atomic_files import write_text
from lambda_api.errors import RecsysError
from lambda_api.recommender.bundle import DataWindow, read_bundle
from lambda_api.settings import Settings
from recsys_assets.evaluation.evaluate_models import Evaluation
from recsys_assets.lake import Lake
from recsys_assets.measurement.agreement import list_agreement
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import make_trainer
from recsys_assets.promotion.winner import Rule, Winner
from recsys_assets.schema import relevant_types
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.training.candidate import Log, candidate_folder, fit_bundle
from recsys_assets.training.fitting import FitModel
from recsys_assets.training.training_window import catalogue_before, interactions_before

MIN_OVERLAP: Final = 0.2
"""Minimum mean overlap of the lists of refit and evaluated fit. Random lists overlap by ``k / products``."""

REFIT_JSON: Final = "refit.json"


class RefitError(RecsysError):
    """The winner cannot be fitted again."""


@dataclass(frozen=True)
class Refit:
    """The winner and its refit.

    Attributes:
        name: evaluation name of the winner; ``rule`` as `Winner.rule`.
        promote: whether it may go live; ``reasons``: sentences.
        evaluated_checksum, evaluated_end: of the bundle that was evaluated.
        refit_checksum: of the refit's bundle; ``None`` when nothing was refitted, because the winner may not go live.
        overlap, shoppers: agreement of the two; ``None`` and 0 without a refit.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    rule: Rule
    promote: bool
    reasons: tuple[str, ...]
    evaluated_checksum: str
    evaluated_end: datetime
    refit_checksum: str | None = None
    overlap: float | None = None
    shoppers: int = 0


def refit_folder(settings: Settings) -> Path:
    """Folder of the newest refit's bundle."""
    return settings.home / "candidates" / ".refit"


def refit_winner(
    evaluation: Evaluation,
    winner: Winner,
    metrics: Mapping[str, float],
    lake: Lake,
    split: TemporalSplit,
    settings: Settings,
    fit_model: FitModel,
    log: Log,
) -> Refit:
    """Refit the winner, unless it may not go live. The bundle is in `refit_folder`.

    Args:
        metrics: of the evaluated fit, for the bundle's manifest.
        fit_model: where the fit runs.

    Raises:
        RefitError: the winner was fitted again since it was evaluated.
        GateClosed: the data is poisoned.
    """
    evaluated = read_bundle(candidate_folder(settings, winner.name))
    info, checksum = evaluated.manifest.info, evaluated.manifest.checksum
    if checksum != evaluation.checksums[winner.name]:
        raise RefitError(
            f"the {winner.name} bundle was fitted again after it was evaluated", remedy="materialise evaluation_report"
        )
    assert info.trainer is not None and info.data_window is not None  # every candidate's bundle has both
    refit = Refit(
        winner.name, winner.rule, winner.decision.promote, winner.decision.reasons, checksum, info.data_window.end
    )
    if not refit.promote:
        return refit
    trainer = make_trainer(info.trainer, info.hyper_parameters)
    window = DataWindow(start=split.train_start, end=split.end)
    manifest, fitted = fit_bundle(trainer, lake, window, refit_folder(settings), metrics, log, fit_model)
    before = interactions_before(lake, split.end)
    consumed = frozenset() if settings.allow_repeats else relevant_types(before)
    agreement = list_agreement(
        evaluated.recommender,
        fitted.recommender,
        TrainingData.from_tables(before, catalogue_before(lake, split.end, before), split.end),
        settings.k,
        consumed=consumed,
    )
    log(f"lists of the refit and the evaluated fit overlap by {agreement.overlap:.0%} ({agreement.shoppers} shoppers)")
    agrees = agreement.overlap >= MIN_OVERLAP
    sentence = (
        f"Lists of the refit on everything before {split.end:%Y-%m-%d} and of the evaluated fit overlap by "
        f"{agreement.overlap:.0%}, {'within' if agrees else 'below'} the limit of {MIN_OVERLAP:.0%}."
    )
    return replace(
        refit,
        promote=agrees,
        reasons=(*refit.reasons, sentence) if agrees else (sentence,),
        refit_checksum=manifest.checksum,
        overlap=agreement.overlap,
        shoppers=agreement.shoppers,
    )


def save_refit(refit: Refit, folder: Path) -> None:
    """Write the record atomically."""
    write_text(folder / REFIT_JSON, _ADAPTER.dump_json(refit, indent=1).decode())


def load_refit(folder: Path) -> Refit:
    """The newest record. Raises `RefitError` when there is none that this code can read."""
    try:
        return _ADAPTER.validate_json((folder / REFIT_JSON).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise RefitError(f"{folder} holds no readable {REFIT_JSON}", remedy="materialise refitted_model") from error


_ADAPTER = TypeAdapter(Refit)
