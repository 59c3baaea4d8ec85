"""The models of the zoo as assets, one by one, so that each can be found, launched and retried by its name."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from lambda_api.recommender.bundle import BundleError, read_bundle
from lambda_api.settings import Settings, split_list
from recsys_assets.asset_metadata import wide_table
from recsys_assets.ingest.assets import products
from recsys_assets.lake import Lake
from recsys_assets.models.content import Content
from recsys_assets.models.ease import Ease
from recsys_assets.models.hybrid import Hybrid
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.matrix_factorisation import MatrixFactorisation
from recsys_assets.models.ncf import Ncf
from recsys_assets.models.popularity import Popularity
from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import BASELINES, ParameterError
from recsys_assets.quality.assets import interactions
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.splits.assets import load_split, temporal_splits
from recsys_assets.tags import OWNERS
from recsys_assets.training.candidate import Candidate, experiment_run, train_candidate
from recsys_assets.training.fitting import Launcher, fit_here
from recsys_assets.training.hybrid_stages import recall_figures, recall_on, recall_table
from recsys_assets.training.loss_curve import loss_plot
from recsys_assets.training.parameter_choice import choose_parameters

GROUP = "training"

TRAINING_INPUT = [temporal_splits, interactions, products]


BUNDLE_INTACT, ABOVE_ZERO = "bundle_intact", "validation_ndcg_above_zero"


def checks_of(asset: str) -> list[dg.AssetCheckSpec]:
    """Checks of the asset of a model; `_check_results` gives their results."""
    return [
        dg.AssetCheckSpec(BUNDLE_INTACT, asset=asset, description="Every file of the bundle has its checksum."),
        dg.AssetCheckSpec(
            ABOVE_ZERO,
            asset=asset,
            description="The 95 % interval of the NDCG on the validation window lies above 0. Otherwise the window has "
            "too few shoppers, or the model finds nothing.",
        ),
    ]


class ParametersFrom(Enum):
    """The source of hyper-parameters that a run does not set; the names appear in Dagster's configuration."""

    defaults = "defaults"
    tuned = "tuned"


class HyperParameters(dg.Config):
    """Hyper-parameters for one run, set in the launchpad or in run configuration."""

    hyper_parameters: dict[str, Any] = Field(
        default={}, description="Name and value of each that differs from the model's defaults or tuned values."
    )
    parameters: ParametersFrom | None = Field(
        default=None,
        description="defaults: those of the model. tuned: those found by `recsys tune`, or the defaults where it found "
        "none. By default the setting RECSYS_PARAMETERS.",
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=TRAINING_INPUT,
    kinds={"numpy"},
    check_specs=checks_of("popularity_model"),
)
def popularity_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> Iterator[dg.MaterializeResult[None]]:
    """The currently most popular products, the same for everybody: the baseline for every other model."""
    yield _train(context, Popularity, config, lake, settings, registry)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=TRAINING_INPUT,
    kinds={"scipy"},
    check_specs=checks_of("item_knn_model"),
)
def item_knn_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> Iterator[dg.MaterializeResult[None]]:
    """Neighbours of each product by who bought both; recent events of the shopper weigh more."""
    yield _train(context, ItemKnn, config, lake, settings, registry)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=TRAINING_INPUT,
    kinds={"scipy"},
    check_specs=checks_of("ease_model"),
)
def ease_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> Iterator[dg.MaterializeResult[None]]:
    """Closed-form linear item-to-item model."""
    yield _train(context, Ease, config, lake, settings, registry)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=TRAINING_INPUT,
    kinds={"implicit"},
    check_specs=checks_of("matrix_factorisation_model"),
)
def matrix_factorisation_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> Iterator[dg.MaterializeResult[None]]:
    """Implicit-feedback matrix factorisation; shoppers are folded in from their history."""
    yield _train(context, MatrixFactorisation, config, lake, settings, registry)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=TRAINING_INPUT,
    kinds={"scikitlearn"},
    check_specs=checks_of("content_model"),
)
def content_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> Iterator[dg.MaterializeResult[None]]:
    """Similarity of names, categories, brands and prices; also recommends products without any event."""
    yield _train(context, Content, config, lake, settings, registry)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=TRAINING_INPUT,
    kinds={"pytorch", "onnx"},
    check_specs=checks_of("ncf_model"),
)
def ncf_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    training: dg.ResourceParam[Launcher],
) -> Iterator[dg.MaterializeResult[None]]:
    """Neural collaborative filtering, trained by the ``train`` program in a process of its own."""
    yield _train(context, Ncf, config, lake, settings, registry, training)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=TRAINING_INPUT,
    kinds={"lightgbm"},
    check_specs=checks_of("hybrid_model"),
)
def hybrid_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    training: dg.ResourceParam[Launcher],
) -> Iterator[dg.MaterializeResult[None]]:
    """Candidates from many sources, ranked by boosted trees; trained by the ``train`` program like NCF."""
    yield _train(context, Hybrid, config, lake, settings, registry, training)


MODEL_ASSETS = (
    popularity_model,
    item_knn_model,
    ease_model,
    matrix_factorisation_model,
    content_model,
    ncf_model,
    hybrid_model,
)

MODEL_NAMES = ("popularity", "item_knn", "ease", "matrix_factorisation", "content", "ncf", "hybrid")
"""Names of the bundles that these assets write, in the same order."""


def models_of(settings: Settings) -> tuple[str, ...]:
    """Names of the models that this shop trains, in the order of `MODEL_NAMES`; `BASELINES` are always among them.

    Raises:
        ParameterError: the setting ``models`` names another one.
    """
    named = set(split_list(settings.models)) or set(MODEL_NAMES)
    unknown = sorted(named - set(MODEL_NAMES))
    if unknown:
        raise ParameterError(f"RECSYS_MODELS: unknown model {', '.join(unknown)}; known: {', '.join(MODEL_NAMES)}")
    return tuple(name for name in MODEL_NAMES if name in named or name in BASELINES)


def _train(
    context: dg.AssetExecutionContext,
    family: type[Trainer],
    config: HyperParameters,
    lake: Lake,
    settings: Settings,
    registry: ModelRegistry,
    launcher: Launcher | None = None,
) -> dg.MaterializeResult[None]:
    """Train a candidate and record it; each fit in this process, or by ``launcher`` in one of its own."""
    split = load_split(lake)
    origin = config.parameters or ParametersFrom(settings.parameters)
    choice = choose_parameters(
        family.name,
        config.hyper_parameters,
        settings,
        registry,
        split.validation_start,
        tuned=origin is ParametersFrom.tuned,
    )
    fit_model = partial(launcher.fit, context) if launcher else fit_here
    candidate = train_candidate(choice.trainer, lake, split, settings, context.log.info, fit_model)
    recalls = recall_on(candidate.validated, candidate.validation)
    figures = recall_figures(recalls)
    run = experiment_run(candidate, context.run.run_id)
    registry.log_run(replace(run, metrics={**run.metrics, **figures}))
    metadata = {
        **_metadata(candidate),
        "parameters_from": dg.MetadataValue.text(choice.origin),
        **{name: dg.MetadataValue.float(value) for name, value in figures.items()},
        **({"candidate_recall": wide_table(recall_table(recalls))} if recalls else {}),
        **reported_metadata(candidate.kept.reported),
    }
    return dg.MaterializeResult(
        metadata=metadata,
        data_version=dg.DataVersion(candidate.manifest.checksum),
        check_results=_check_results(candidate),
    )


def _check_results(candidate: Candidate) -> list[dg.AssetCheckResult]:
    low = candidate.manifest.info.metrics["validation_ndcg_low"]
    try:
        problem = "" if read_bundle(candidate.folder).manifest.checksum == candidate.manifest.checksum else "replaced"
    except BundleError as error:
        problem = str(error)
    return [
        dg.AssetCheckResult(passed=not problem, check_name=BUNDLE_INTACT, description=problem),
        dg.AssetCheckResult(
            passed=low > 0,
            check_name=ABOVE_ZERO,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"validation_ndcg_low": low},
        ),
    ]


def reported_metadata(reported: Mapping[str, Any]) -> dict[str, Any]:
    """What the ``train`` program reported of the last fit, with a plot of its loss curve."""
    curve = reported.get("loss_curve")
    return {**reported, **({"loss_plot": dg.MetadataValue.md(loss_plot(curve.value))} if curve else {})}


def _metadata(candidate: Candidate) -> dict[str, Any]:
    info = candidate.manifest.info
    return {
        **{name: dg.MetadataValue.float(float(value)) for name, value in info.metrics.items()},
        "seconds": dg.MetadataValue.float(round(candidate.seconds, 2)),
        "bundle": dg.MetadataValue.path(str(candidate.folder)),
        "bundle_checksum": dg.MetadataValue.text(candidate.manifest.checksum),
        "bundle_bytes": dg.MetadataValue.int(sum(record.size for record in candidate.manifest.files)),
        "hyper_parameters": dg.MetadataValue.json(info.hyper_parameters),
        "data_end": dg.MetadataValue.text(info.data_window.end.isoformat() if info.data_window else ""),
    }
