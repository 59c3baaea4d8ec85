"""Fetches the bundle of a registered version and the live catalogue as local folders."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pa_fs

from lambda_api.recommender.catalogue import read_catalogue
from lambda_api.serving.folder_fetch import relocate
from lambda_api.state.table import Table
from recsys_assets.batch.errors import BatchError
from recsys_assets.lake import open_filesystem
from recsys_assets.publishing.catalogue_store import current_publication
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.versions import Version


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that answers: bundle and live catalogue as local folders, with their checksums."""

    version: str
    bundle: Path
    bundle_checksum: str
    catalogue: Path
    catalogue_checksum: str


def subject_of(
    registry: ModelRegistry,
    bundles: BundleStore,
    serving: Table,
    cache: Path,
    version: str | None = None,
    *,
    catalogues: str = "",
) -> Subject:
    """A registered version (by default the champion) with the live catalogue.

    Args:
        cache: local folder for copies.
        catalogues: where local catalogues are kept (`Settings.catalogue_uri`), whatever address the pointer holds.

    Raises:
        UnknownVersion: ``version`` is not registered.
        BatchError: there is no champion, or no catalogue was published.
        BundleError, CatalogueError: one of them is missing or damaged.
    """
    chosen = registry.get(Version.parse(version)) if version else registry.champion()
    catalogue = current_publication(serving)
    if chosen is None:
        raise BatchError("no model has been promoted yet", remedy="materialise registered_model first")
    if catalogue is None:
        raise BatchError("no catalogue has been published yet", remedy="materialise serving_catalogue first")
    folder = _local_copy(relocate(catalogue.uri, catalogues), cache / "catalogues" / catalogue.checksum)
    read_catalogue(folder, checksum=catalogue.checksum)
    return Subject(
        str(chosen.version),
        bundles.fetch(chosen, cache / "bundles"),
        chosen.bundle_checksum,
        folder,
        catalogue.checksum,
    )


def _local_copy(uri: str, target: Path) -> Path:
    """The folder itself if it is local, a copy at ``target`` otherwise."""
    filesystem, path = open_filesystem(uri)
    if isinstance(filesystem, pa_fs.LocalFileSystem):
        return Path(path)
    target.mkdir(parents=True, exist_ok=True)
    pa_fs.copy_files(path, str(target), filesystem, pa_fs.LocalFileSystem())
    return target
