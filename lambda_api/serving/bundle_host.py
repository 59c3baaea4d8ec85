"""Loads bundles and the catalogue that this process serves from: verified copies, mapped into memory.

numpy is imported with the first folder, not before. Deleting a folder, or its copy in the cache, does not affect a
process that serves from it: mapped files stay until they are released, and nothing is opened twice.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambda_api.serving.folder_fetch import FolderKind, FolderUnavailable, open_cached, relocate
from lambda_api.serving.folder_host import FolderHost, FolderRef, LoadedFolder
from lambda_api.serving.guard import Guard
from lambda_api.serving.refreshed import RefreshedValue
from lambda_api.state.routing_record import RouteTarget
from lambda_api.state.table import Key, Table

CATALOGUE_POINTER = Key("catalogue", "current")
"""Key of the record in the table ``serving`` that names the catalogue in service."""


class BundleHost:
    """Bundles by route target; see `FolderHost`.

    Args:
        cache: local folder for copies, one sub-folder per checksum.
        root: where local bundles are kept (`Settings.models_uri`), whatever address their record holds.
        keep, retry_s, clock, wall: see `FolderHost`.
    """

    def __init__(
        self,
        cache: Path,
        *,
        root: str = "",
        keep: int = 4,
        retry_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._root = root

        def load(ref: FolderRef) -> Any:
            return open_cached(_bundle_kind(), ref.uri, ref.checksum, cache, keep)

        self._host = FolderHost("bundle", load, keep=keep, retry_s=retry_s, clock=clock, wall=wall)

    def get(self, target: RouteTarget, variant: str) -> LoadedFolder:
        """The bundle in service for ``variant``; `LoadedFolder.value` is a `LoadedBundle`.

        Raises:
            FolderUnavailable: see `FolderHost.get`.
        """
        return self._host.get(
            FolderRef(relocate(target.bundle_uri, self._root), target.checksum, target.version), variant
        )

    def states(self) -> dict[str, LoadedFolder]:
        """The folder in service for each variant."""
        return self._host.states()


@dataclass(frozen=True, slots=True)
class CataloguePointer:
    """Content of the record `CATALOGUE_POINTER`."""

    uri: str
    checksum: str
    products: int
    published_at: int


class CatalogueHost:
    """The catalogue in service. Its pointer is read at most once in 30 s; the last good one is kept.

    Args:
        table: the table ``serving``.
        cache: local folder for copies.
        root: where local catalogues are kept (`Settings.catalogue_uri`), whatever address the pointer holds.
        guard: around reading the pointer.
        retry_s: pause after a failed reading or loading.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        table: Table,
        cache: Path,
        *,
        root: str = "",
        guard: Guard | None = None,
        retry_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self.guard = guard or Guard("catalogue", 0.05, clock=clock)
        self._pointer = RefreshedValue(
            lambda: read_pointer(table), self.guard, ttl_s=30.0, retry_s=retry_s, clock=clock
        )

        def load(ref: FolderRef) -> Any:
            return open_cached(_catalogue_kind(), ref.uri, ref.checksum, cache, keep=2)

        self._host = FolderHost("catalogue", load, keep=2, retry_s=retry_s, clock=clock)

    def get(self) -> LoadedFolder:
        """The catalogue in service; `LoadedFolder.value` is a `Catalogue`.

        Raises:
            FolderUnavailable: there is no pointer, or the folder cannot be used and none was in service before.
        """
        pointer = self._pointer.current()
        if pointer is None:
            raise FolderUnavailable("missing", "no catalogue has been published, or its record cannot be read")
        return self._host.get(
            FolderRef(relocate(pointer.uri, self._root), pointer.checksum, pointer.checksum[:16]), "catalogue"
        )

    def checksum(self) -> str | None:
        """Of the newest published catalogue, as far as this process knows; ``None``: none is known."""
        pointer = self._pointer.current()
        return None if pointer is None else pointer.checksum

    def state(self) -> tuple[LoadedFolder | None, CataloguePointer | None]:
        """The catalogue in service, and the newest pointer."""
        return self._host.states().get("catalogue"), self._pointer.known


def read_pointer(table: Table) -> CataloguePointer | None:
    """The catalogue pointer; ``None`` before the first publication.

    Raises:
        ValueError: the record is malformed.
        TableUnavailable: the table could not be asked.
    """
    record = table.get(CATALOGUE_POINTER)
    if record is None:
        return None
    found = record.attributes
    try:
        uri, checksum = found["uri"], found["checksum"]
        products, published_at = int(found["products"]), int(found["published_at"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"record {CATALOGUE_POINTER} is malformed ({error}); publish the catalogue again") from error
    if not isinstance(uri, str) or not isinstance(checksum, str):
        raise ValueError(f"the record {CATALOGUE_POINTER} needs uri and checksum as text; publish the catalogue again")
    return CataloguePointer(uri, checksum, products, published_at)


def _bundle_kind() -> FolderKind:
    from lambda_api.recommender.bundle import BundleError, read_bundle, read_manifest

    return FolderKind("bundle", read_manifest, read_bundle, BundleError)


def _catalogue_kind() -> FolderKind:
    from lambda_api.recommender.catalogue import CatalogueError, read_catalogue, read_catalogue_manifest

    return FolderKind("catalogue", read_catalogue_manifest, read_catalogue, CatalogueError)
