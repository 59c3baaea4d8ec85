"""Stores published catalogues, and the pointer to the live one.

Each publication is a sealed folder ``<root>/<first 16 digits of its checksum>/`` that is never changed, so a reader of
the old one is not disturbed. The pointer moves last: a publication that stops anywhere leaves the old catalogue live.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.fs as pa_fs

from lambda_api.errors import RecsysError
from lambda_api.recommender.catalogue import (
    Catalogue,
    CatalogueError,
    read_catalogue,
    read_catalogue_manifest,
    write_catalogue,
)
from lambda_api.recommender.sealed_folder import MANIFEST
from lambda_api.state.table import Absent, Condition, ConditionFailed, Key, Matches, Put, Table
from recsys_assets.lake import open_filesystem
from recsys_assets.registry.folder_store import FolderKind, put_folder, write_manifest

POINTER: Final = Key("catalogue", "current")
"""Record of the table ``serving``: ``uri``, ``checksum``, ``products``, ``published_at`` (seconds since 1970 UTC)."""

KEPT: Final = 3
"""Folders kept: the live one, and older ones that a server may still open before it sees the new pointer."""

_ABANDONED_S: Final = 86_400

CATALOGUE: Final = FolderKind(read_catalogue_manifest, read_catalogue, CatalogueError, "publish the catalogue again")


class PublicationConflict(RecsysError):
    """Another catalogue went live while this one was being published."""


@dataclass(frozen=True)
class Publication:
    """The live catalogue; ``changed`` unless it was live before."""

    uri: str
    checksum: str
    products: int
    published_at: int
    changed: bool


def current_publication(serving: Table) -> Publication | None:
    """What the pointer says; ``None`` before the first publication."""
    record = serving.get(POINTER)
    if record is None:
        return None
    stored = record.attributes
    return Publication(stored["uri"], stored["checksum"], stored["products"], stored["published_at"], changed=False)


def publish_catalogue(catalogue: Catalogue, root: str, serving: Table, now: int) -> Publication:
    """Store ``catalogue`` under ``root`` and make it the live one.

    When an equal catalogue is live already, the pointer stays; damaged files are written again.

    Args:
        catalogue: what to publish.
        root: local path or ``s3://`` URI (`Settings.catalogue_uri`).
        serving: the pointer's table.
        now: seconds since 1970 UTC.

    Raises:
        PublicationConflict: another run published meanwhile; that catalogue is live.
        CatalogueError: the stored copy is not what was written.
    """
    before = current_publication(serving)
    with tempfile.TemporaryDirectory(prefix="recsys-catalogue-") as scratch:
        folder = Path(scratch) / "catalogue"
        manifest = write_catalogue(catalogue, folder)
        uri = f"{root.rstrip('/')}/{manifest.checksum[:16]}"
        _put(folder, uri)
    if before is not None and (before.uri, before.checksum) == (uri, manifest.checksum):
        return before
    attributes = {"uri": uri, "checksum": manifest.checksum, "products": manifest.products, "published_at": now}
    unchanged: Condition = Absent() if before is None else Matches({"uri": before.uri, "checksum": before.checksum})
    try:
        serving.write([Put(POINTER, attributes, condition=unchanged)])
    except ConditionFailed as failure:
        raise PublicationConflict(
            f"another run published a catalogue while {uri} was written, and that one is live",
            remedy="materialise serving_catalogue again if the lake has changed since",
        ) from failure
    return Publication(uri, manifest.checksum, manifest.products, now, changed=True)


def remove_old(root: str, live_uri: str, kept: int = KEPT) -> list[str]:
    """Remove all but the ``kept`` newest catalogues under ``root``, never the live one; returns the names removed."""
    filesystem, path = open_filesystem(root)
    folders = filesystem.get_file_info(pa_fs.FileSelector(path, allow_not_found=True))
    stamped = []
    for info in folders:
        if info.type != pa_fs.FileType.Directory:
            continue
        manifest = filesystem.get_file_info(f"{info.path}/{MANIFEST}")
        if manifest.type == pa_fs.FileType.File and not info.base_name.startswith("."):
            stamped.append((manifest.mtime_ns or 0, info.base_name))
        elif _is_abandoned(filesystem, info.path):
            filesystem.delete_dir(info.path)
    live = live_uri.rstrip("/").rsplit("/", 1)[-1]
    others = [name for _, name in sorted(stamped, reverse=True) if name != live]
    for name in others[kept - 1 :]:
        filesystem.delete_dir(f"{path}/{name}")
    return others[kept - 1 :]


def _put(folder: Path, uri: str) -> None:
    """Store the folder; one that is there already only gets a new manifest time, by which `remove_old` sorts."""
    if put_folder(CATALOGUE, folder, uri):
        return
    if "://" in uri:
        write_manifest(uri, (folder / MANIFEST).read_bytes())
    else:
        (Path(uri) / MANIFEST).touch()


def _is_abandoned(filesystem: pa_fs.FileSystem, folder: str) -> bool:
    """Whether an unfinished folder was left by a killed publication (a running one writes all the time)."""
    files = filesystem.get_file_info(pa_fs.FileSelector(folder, recursive=True))
    newest = max((info.mtime_ns or 0 for info in files), default=0)
    return newest / 1e9 < time.time() - _ABANDONED_S
