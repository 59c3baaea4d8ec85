"""Metadata added to the assets of a code location: freshness, columns, code version, links to the code, services."""

import hashlib
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import dagster as dg

from lambda_api.settings import Settings

Asset: TypeAlias = Any
"""`dg.AssetsDefinition` or `dg.AssetSpec`; Dagster's own functions declare wider unions than they return."""

DIALOG_CHARACTERS: Final = 1_000

BESIDE: Mapping[str, tuple[str, ...]] = {"training": ("models",)}
"""Packages whose code belongs to a stage, by name of the stage."""


def with_metadata(
    assets: Iterable[Asset],
    *,
    freshness: Mapping[str, dg.FreshnessPolicy] | None = None,
    columns: Mapping[str, dg.TableSchema],
    services: Mapping[str, str],
) -> list[Asset]:
    """``assets`` with the metadata that does not depend on a materialisation.

    Args:
        freshness: policy by group; others have none.
        columns: schema by name of the asset, shown before its first materialisation.
        services: kind by name of the asset, of what computes it outside of Dagster (``sagemaker``, ``glue``).
    """

    def described(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.to_user_string()
        if name in columns:
            spec = spec.merge_attributes(metadata={"dagster/column_schema": columns[name]})
        if name in services:
            spec = spec.merge_attributes(kinds={services[name]})
        policy = (freshness or {}).get(spec.group_name or "")
        return dg.apply_freshness_policy(spec, policy) if policy else spec

    with warnings.catch_warnings():
        # Links to the code are a beta of Dagster; nothing depends on them.
        warnings.simplefilter("ignore", dg.BetaWarning)
        linked: list[Asset] = list(dg.with_source_code_references(list(assets)))
    return [_versioned(asset) for asset in dg.map_asset_specs(described, linked)]


def _versioned(asset: Asset) -> Asset:
    if not isinstance(asset, dg.AssetsDefinition) or not asset.is_executable:
        return asset
    function: Any = asset.op.compute_fn
    version = code_version(function.decorated_fn.__module__)
    return next(iter(dg.map_asset_specs(lambda spec: spec.replace_attributes(code_version=version), [asset])))


@lru_cache
def code_version(module: str) -> str:
    """Digest of the sources of the package that ``module`` belongs to: the code of one stage of the graph.

    Changes of other packages do not count, except for `BESIDE`; the registry records the commit of every training.
    """
    folder = Path(str(sys.modules[module].__file__)).parent
    digest = hashlib.sha256()
    for package in (folder, *(folder.parent / name for name in BESIDE.get(folder.name, ()))):
        for file in sorted(package.rglob("*.py")):
            digest.update(file.relative_to(folder.parent).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def services_of(settings: Settings, *, jobs: Sequence[str], features: Sequence[str] = ()) -> dict[str, str]:
    """Kinds of the services that compute assets outside of Dagster, by name of the asset.

    Args:
        jobs: assets that run as SageMaker jobs where the shop has an image for them.
        features: assets that run on Glue where the shop names a job for them.
    """
    if settings.target != "aws":
        return {}
    managed = dict.fromkeys(jobs, "sagemaker") if settings.training_image else {}
    glue = dict.fromkeys(features, "glue") if settings.features_glue_job else {}
    return {**managed, **glue}


def wide_table(markdown: str) -> dg.MarkdownMetadataValue:
    """A table that is wider than the column of an asset's page, which would cut it.

    Dagster's UI puts Markdown of 1,000 characters and more behind a link to a dialog of full width.
    """
    return dg.MetadataValue.md(markdown.ljust(DIALOG_CHARACTERS))
