"""The models of the zoo as assets, one by one.

Put one asset per model here, written out by hand so that each can be found, launched and retried by its name.
Keep fitting in ``recsys_assets.models`` and the fit-twice protocol in ``candidate.py``.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from lambda_api.settings import Settings
from recsys_assets.ingest.assets import products
from recsys_assets.lake import Lake
from recsys_assets.models.content import Content
from recsys_assets.models.ease import Ease
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.matrix_factorisation import MatrixFactorisation
from recsys_assets.models.ncf import Ncf
from recsys_assets.models.popularity import Popularity
from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import make_trainer
from recsys_assets.quality.assets import interactions
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.splits.assets import load_split, temporal_splits
from recsys_assets.tags import OWNERS
from recsys_assets.training.candidate import Candidate, experiment_run, train_candidate
from recsys_assets.training.subprocess_training import train_in_subprocess

GROUP = "training"

REPEATED = frozenset({"model", "parameters", "seconds", "bundle_checksum"})
"""What the train program reports of its last fit and the candidate says of both."""

TRAINING_INPUT = [temporal_splits, interactions, products]


class HyperParameters(dg.Config):
    """Hyper-parameters for one run, set in the launchpad or in run configuration."""

    hyper_parameters: dict[str, Any] = Field(
        default={}, description="Name and value of each that shall differ from the model's defaults."
    )


def configured(family: type[Trainer], config: HyperParameters, settings: Settings) -> Trainer:
    """A trainer with its defaults, the shop's seed where it takes one, and what the run asks for.

    Raises:
        ValueError: an unknown hyper-parameter or a value out of range; the message names it and what is accepted.
    """
    seed = {"seed": settings.seed} if "seed" in make_trainer(family.name).parameters() else {}
    return make_trainer(family.name, {**seed, **config.hyper_parameters})


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
    training: dg.ResourceParam[dg.PipesSubprocessClient],
) -> dg.MaterializeResult[None]:
    """Neural collaborative filtering, trained by the ``train`` program in a process of its own."""
    trainer = configured(Ncf, config, settings)
    candidate, reported = train_in_subprocess(context, trainer, lake, load_split(lake), settings, training)
    registry.log_run(experiment_run(candidate, context.run_id))
    told = {name: value for name, value in (reported.metadata or {}).items() if name not in REPEATED}
    metadata = {**_metadata(candidate), **told}
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(candidate.manifest.checksum))


MODEL_ASSETS = (popularity_model, item_knn_model, ease_model, matrix_factorisation_model, content_model, ncf_model)

MODEL_NAMES = ("popularity", "item_knn", "ease", "matrix_factorisation", "content", "ncf")
"""Names of the bundles these assets leave behind, in the same order."""


def _train(
    context: dg.AssetExecutionContext,
    family: type[Trainer],
    config: HyperParameters,
    lake: Lake,
    settings: Settings,
    registry: ModelRegistry,
) -> dg.MaterializeResult[None]:
    trainer = configured(family, config, settings)
    candidate = train_candidate(trainer, lake, load_split(lake), settings, context.log.info)
    registry.log_run(experiment_run(candidate, context.run_id))
    return dg.MaterializeResult(metadata=_metadata(candidate), data_version=dg.DataVersion(candidate.manifest.checksum))


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
