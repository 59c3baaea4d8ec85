"""Evaluates all models on the test window, from bundles on disk to a report on disk."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from lambda_api.atomic_files import write_bytes, write_text
from lambda_api.errors import RecsysError
from lambda_api.recommender.bundle import LoadedBundle, read_bundle
from lambda_api.recommender.contract import Recommender
from lambda_api.serving.question import Question
from lambda_api.settings import Settings
from recsys_assets.evaluation.build_report import build_report
from recsys_assets.evaluation.business import MIN_LISTS, BusinessFigures, logged_figures
from recsys_assets.evaluation.champion import AS_SERVED, Champion
from recsys_assets.evaluation.html import write_html
from recsys_assets.evaluation.ratings import build_rating_task, evaluate_ratings
from recsys_assets.evaluation.report import EvaluationReport, PromotionFigures
from recsys_assets.evaluation.served import read_served
from recsys_assets.event_stream import events_root
from recsys_assets.ingest.registry import SYNTHETIC
from recsys_assets.ingest.source import Source
from recsys_assets.known_catalogue import catalogue_of, first_events, shop_catalogue
from recsys_assets.lake import Lake
from recsys_assets.measurement.importance import read_importance
from recsys_assets.measurement.protocol import EvaluationTask, ModelEvaluation, build_task, evaluate
from recsys_assets.registry.records import VALIDATION_NDCG
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.training.candidate import candidate_folder, window_of
from recsys_assets.training.training_window import interactions_before

REPORT_JSON: Final = "evaluation_report.json"
REPORT_HTML: Final = "evaluation_report.html"
FIGURES_NPZ: Final = "evaluation_figures.npz"


class EvaluationMissing(RecsysError):
    """There is no readable evaluation."""


@dataclass(frozen=True)
class ChampionRecord:
    """The version, the end of its training data (aware, UTC), and the evaluation name of its recipe."""

    version: str
    data_end: datetime
    recipe: str


@dataclass(frozen=True)
class Evaluation:
    """A report with the figures that the promotion rules need.

    Attributes:
        report: for people.
        figures: per-user NDCG, coverage and worst-group recall of every evaluated model, on the same users.
        checksums: of the evaluated bundles, by evaluation name; a bundle fitted later has another one.
        champion: the champion at that time; ``None`` before the first promotion.
    """

    report: EvaluationReport
    figures: Mapping[str, PromotionFigures]
    checksums: Mapping[str, str]
    champion: ChampionRecord | None


def load_candidates(settings: Settings, names: tuple[str, ...]) -> dict[str, LoadedBundle]:
    """The newest bundle of each model, verified. Raises ``BundleError`` naming the one that is missing or damaged."""
    return {name: read_bundle(candidate_folder(settings, name)) for name in names}


def evaluate_models(
    candidates: Mapping[str, LoadedBundle],
    champion: Champion | None,
    lake: Lake,
    split: TemporalSplit,
    settings: Settings,
    log: Callable[[str], None],
    source: Source | None = None,
) -> Evaluation:
    """Evaluate every candidate and the champion on the test window.

    Args:
        candidates: bundles by model name, fitted before the test window.
        champion: how the champion takes part, if there is one.
        source: of the shop's data; the synthetic shop can simulate answers to lists.

    Raises:
        GateClosed: the data is poisoned.
        ValueError: nobody can be evaluated in the test window.
    """
    interactions, products = interactions_before(lake, split.end), lake.read("products")
    task = build_task(interactions, products, window_of(split.test_start, split.end, settings, interactions))
    bundles = {**candidates, **(champion.bundles if champion else {})}
    recommenders = {name: bundle.recommender for name, bundle in bundles.items()}
    evaluations = _evaluate_all(recommenders, task, settings, log)
    explained = {name: read_importance(candidate_folder(settings, name)) for name in candidates}
    rating_task = build_rating_task(interactions, products, split.validation_start, split.test_start, split.end)
    report = build_report(
        task,
        list(evaluations.values()),
        users=_users(lake),
        products=products,
        champion=champion.recipe if champion else None,
        as_served=AS_SERVED if AS_SERVED in bundles else None,
        validation_ndcg={name: bundle.manifest.info.metrics[VALIDATION_NDCG] for name, bundle in candidates.items()},
        ratings=None
        if rating_task is None
        else {name: evaluate_ratings(recommender, rating_task) for name, recommender in recommenders.items()},
        importances={name: importance for name, importance in explained.items() if importance is not None},
        business=business_figures(recommenders, task, interactions, lake, split, settings, source, log),
        seed=settings.seed,
    )
    return Evaluation(
        report=report,
        figures={name: report.promotion_figures(evaluation) for name, evaluation in evaluations.items()},
        checksums={name: bundle.manifest.checksum for name, bundle in bundles.items()},
        champion=ChampionRecord(champion.version, champion.data_end, champion.recipe) if champion else None,
    )


def business_figures(
    models: Mapping[str, Recommender],
    task: EvaluationTask,
    interactions: pa.Table,
    lake: Lake,
    split: TemporalSplit,
    settings: Settings,
    source: Source | None,
    log: Callable[[str], None],
) -> BusinessFigures:
    """From served lists where there are enough, otherwise from the synthetic shop; otherwise why there are none."""
    served = read_served(events_root(settings), split.test_start)
    if served.exposures:
        log(f"business figures: {len(served.exposures):,} of {served.lists:,} served lists read")
        catalogue = catalogue_of(shop_catalogue(lake), first_events(()))
        figures = logged_figures(
            served, models, catalogue, interactions, Question.template(settings, settings.k), seed=settings.seed
        )
        if figures is not None:
            return figures
    if source is not None and source.name == SYNTHETIC:
        from recsys_assets.evaluation.simulated import simulated_figures
        from recsys_assets.ingest.synthetic.source import SyntheticShopSource

        assert isinstance(source, SyntheticShopSource)
        log("business figures: simulated, because too few lists were served since the test window began")
        return simulated_figures(
            source.shop, models, task, interactions, lake.read("products"), settings.k, seed=settings.seed
        )
    return BusinessFigures(
        "none",
        f"{served.lists:,} lists were served since the test window began on {split.test_start:%Y-%m-%d}, and figures "
        f"need {MIN_LISTS}. They are logged while RECSYS_INFERENCE_LOG is on.",
    )


def save_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write the figures (for the promotion rules), the report as JSON and as an HTML page; returns the page.

    Each file is replaced atomically, the JSON last.
    """
    champion = evaluation.champion
    stored = {
        "checksums": dict(evaluation.checksums),
        "champion": None if champion is None else {**asdict(champion), "data_end": champion.data_end.isoformat()},
        "coverage": {name: figures.coverage for name, figures in evaluation.figures.items()},
        "worst_group_recall": {name: figures.worst_group_recall for name, figures in evaluation.figures.items()},
    }
    content = io.BytesIO()
    arrays: dict[str, Any] = {f"ndcg_{name}": figures.ndcg for name, figures in evaluation.figures.items()}
    np.savez_compressed(content, stored=np.array(json.dumps(stored)), **arrays)
    write_bytes(folder / FIGURES_NPZ, content.getvalue())
    write_html(evaluation.report, folder / REPORT_HTML)
    write_text(folder / REPORT_JSON, evaluation.report.to_json(indent=1))
    return folder / REPORT_HTML


def load_evaluation(folder: Path) -> Evaluation:
    """The newest evaluation.

    Raises:
        EvaluationMissing: nothing was evaluated yet, or by another version of this code.
    """
    try:
        report = EvaluationReport.from_json((folder / REPORT_JSON).read_bytes())
        with np.load(folder / FIGURES_NPZ, allow_pickle=False) as arrays:
            stored = json.loads(str(arrays["stored"]))
            figures = {
                name: PromotionFigures(arrays[f"ndcg_{name}"], coverage, stored["worst_group_recall"][name])
                for name, coverage in stored["coverage"].items()
            }
            found = stored["champion"]
            champion = found and ChampionRecord(**{**found, "data_end": datetime.fromisoformat(found["data_end"])})
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise EvaluationMissing(
            f"{folder} holds no evaluation that this code can read ({type(error).__name__})",
            remedy="materialise evaluation_report",
        ) from error
    return Evaluation(report, figures, stored["checksums"], champion)


def _evaluate_all(
    recommenders: Mapping[str, Recommender], task: EvaluationTask, settings: Settings, log: Callable[[str], None]
) -> dict[str, ModelEvaluation]:
    evaluations = {}
    for name, recommender in recommenders.items():
        evaluations[name] = evaluate(name, recommender, task, settings.k)
        ndcg = float(evaluations[name].metrics["ndcg"].mean())
        log(f"{name}: NDCG@{settings.k} {ndcg:.4f} over {len(task):,} shoppers")
    return evaluations


def _users(lake: Lake) -> pa.Table | None:
    return lake.read("users") if lake.has_table("users") else None
