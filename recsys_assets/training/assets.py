"""The models of the zoo as assets, one by one.

Put one asset per model here, written out by hand so that each can be found, launched and retried by its name.
Keep fitting in ``recsys_assets.models`` and the fit-twice protocol in ``candidate.py``.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.settings import Settings
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
from recsys_assets.quality.assets import interactions
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.splits.assets import load_split, temporal_splits
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.tags import OWNERS
from recsys_assets.training.candidate import Candidate, experiment_run, train_candidate
from recsys_assets.training.hybrid_stages import recall_figures, recall_on, recall_table
from recsys_assets.training.launched_training import LaunchedTraining, Launcher, train_by_program
from recsys_assets.training.parameter_choice import ParameterChoice, choose_parameters

GROUP = "training"

REPEATED = frozenset({"model", "parameters", "seconds", "bundle_checksum"})
"""What the train program reports of its last fit and the candidate says of both."""

TRAINING_INPUT = [temporal_splits, interactions, products]


class ParametersFrom(Enum):
    """Where hyper-parameters come from that a run does not set. Dagster's configuration calls them by their names."""

    defaults = "defaults"
    tuned = "tuned"


class HyperParameters(dg.Config):
    """Hyper-parameters for one run, set in the launchpad or in run configuration."""

    hyper_parameters: dict[str, Any] = Field(
        default={}, description="Name and value of each that shall differ from the model's defaults or tuned ones."
    )
    parameters: ParametersFrom | None = Field(
        default=None,
        description="defaults: those of the model. tuned: what `recsys tune` found, the defaults where there is "
        "nothing. By default what RECSYS_PARAMETERS says.",
    )


def chosen(
    family: type[Trainer],
    config: HyperParameters,
    settings: Settings,
    registry: ModelRegistry,
    split: TemporalSplit,
) -> ParameterChoice:
    """The trainer a run asks for; see `choose_parameters`.

    Raises:
        ValueError: an unknown hyper-parameter or a value out of range; the message names it and what is accepted.
    """
    origin = config.parameters or ParametersFrom(settings.parameters)
    return choose_parameters(
        family.name,
        config.hyper_parameters,
        settings,
        registry,
        split.validation_start,
        tuned=origin is ParametersFrom.tuned,
    )


@dg.asset(group_name=GROUP, owners=OWNERS, deps=TRAINING_INPUT, kinds={"python"})
def popularity_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> dg.MaterializeResult[None]:
    """What sells now, the same for everybody: the baseline every other model has to beat."""
    return _train(context, Popularity, config, lake, settings, registry)


@dg.asset(group_name=GROUP, owners=OWNERS, deps=TRAINING_INPUT, kinds={"python"})
def item_knn_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> dg.MaterializeResult[None]:
    """Neighbours of each product by who bought both; recent events of the shopper weigh more."""
    return _train(context, ItemKnn, config, lake, settings, registry)


@dg.asset(group_name=GROUP, owners=OWNERS, deps=TRAINING_INPUT, kinds={"python"})
def ease_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> dg.MaterializeResult[None]:
    """Closed-form linear item-to-item model."""
    return _train(context, Ease, config, lake, settings, registry)


@dg.asset(group_name=GROUP, owners=OWNERS, deps=TRAINING_INPUT, kinds={"python"})
def matrix_factorisation_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> dg.MaterializeResult[None]:
    """Implicit-feedback matrix factorisation; shoppers are folded in from their history."""
    return _train(context, MatrixFactorisation, config, lake, settings, registry)


@dg.asset(group_name=GROUP, owners=OWNERS, deps=TRAINING_INPUT, kinds={"scikitlearn"})
def content_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
) -> dg.MaterializeResult[None]:
    """Similarity of names, categories, brands and prices: reaches products nobody has touched yet."""
    return _train(context, Content, config, lake, settings, registry)


@dg.asset(group_name=GROUP, owners=OWNERS, deps=TRAINING_INPUT, kinds={"pytorch"})
def ncf_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    training: dg.ResourceParam[Launcher],
) -> dg.MaterializeResult[None]:
    """Neural collaborative filtering, trained by the ``train`` program in a process of its own."""
    training_run, metadata = _train_apart(context, Ncf, config, lake, settings, registry, training)
    registry.log_run(experiment_run(training_run.candidate, context.run.run_id))
    return _materialised(training_run.candidate, metadata)


@dg.asset(group_name=GROUP, owners=OWNERS, deps=TRAINING_INPUT, kinds={"lightgbm", "onnx"})
def hybrid_model(
    context: dg.AssetExecutionContext,
    config: HyperParameters,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    training: dg.ResourceParam[Launcher],
) -> dg.MaterializeResult[None]:
    """Candidates from many sources, ranked by boosted trees; trained by the ``train`` program like NCF."""
    training_run, metadata = _train_apart(context, Hybrid, config, lake, settings, registry, training)
    recommender = training_run.chosen_by
    assert isinstance(recommender, TwoStageRecommender)
    recalls = recall_on(recommender, training_run.validation)
    figures = recall_figures(recalls)
    run = experiment_run(training_run.candidate, context.run.run_id)
    registry.log_run(replace(run, metrics={**run.metrics, **figures}))
    metadata |= {name: dg.MetadataValue.float(value) for name, value in figures.items()}
    metadata["candidate_recall"] = dg.MetadataValue.md(recall_table(recalls))
    return _materialised(training_run.candidate, metadata)


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
"""Names of the bundles these assets leave behind, in the same order."""


def _train(
    context: dg.AssetExecutionContext,
    family: type[Trainer],
    config: HyperParameters,
    lake: Lake,
    settings: Settings,
    registry: ModelRegistry,
) -> dg.MaterializeResult[None]:
    split = load_split(lake)
    choice = chosen(family, config, settings, registry, split)
    candidate = train_candidate(choice.trainer, lake, split, settings, context.log.info)
    registry.log_run(experiment_run(candidate, context.run.run_id))
    return _materialised(candidate, {"parameters_from": dg.MetadataValue.text(choice.origin)})


def _train_apart(
    context: dg.AssetExecutionContext,
    family: type[Trainer],
    config: HyperParameters,
    lake: Lake,
    settings: Settings,
    registry: ModelRegistry,
    training: Launcher,
) -> tuple[LaunchedTraining, dict[str, Any]]:
    """Train in a process of its own; also returns metadata on the parameters and what the program reported."""
    split = load_split(lake)
    choice = chosen(family, config, settings, registry, split)
    done = train_by_program(context, choice.trainer, lake, split, settings, training)
    told = {name: value for name, value in (done.reported.metadata or {}).items() if name not in REPEATED}
    return done, {**told, "parameters_from": dg.MetadataValue.text(choice.origin)}


def _materialised(candidate: Candidate, more: Mapping[str, Any]) -> dg.MaterializeResult[None]:
    metadata = {**_metadata(candidate), **more}
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(candidate.manifest.checksum))


def _metadata(candidate: Candidate) -> dict[str, dg.MetadataValue[Any]]:
    info = candidate.manifest.info
    figures: dict[str, dg.MetadataValue[Any]] = {
        name: dg.MetadataValue.float(float(value)) for name, value in info.metrics.items()
    }
    return {
        **figures,
        "seconds": dg.MetadataValue.float(round(candidate.seconds, 2)),
        "bundle": dg.MetadataValue.path(str(candidate.folder)),
        "bundle_checksum": dg.MetadataValue.text(candidate.manifest.checksum),
        "bundle_bytes": dg.MetadataValue.int(sum(record.size for record in candidate.manifest.files)),
        "hyper_parameters": dg.MetadataValue.json(info.hyper_parameters),
        "data_end": dg.MetadataValue.text(info.data_window.end.isoformat() if info.data_window else ""),
    }
