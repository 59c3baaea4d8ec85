"""Where published catalogues lie, and the pointer to the live one.

Put copying a catalogue to its place, moving the pointer and removing what nobody needs any more here. Keep the format
(``lambda_api.recommender.catalogue``) and what is in a catalogue (``catalogue``) out.

Each publication is a folder ``<root>/<first 16 digits of its checksum>/`` that is never changed, so a reader of the old
one is not disturbed. A local folder is renamed into place whole; an S3 prefix gets its manifest last, so a prefix
without one is no catalogue. The pointer moves last of all: stopped anywhere, a publication leaves the old one live.
"""

import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.fs as pa_fs

from lambda_api.errors import RecsysError
from lambda_api.recommender.catalogue import (
    Catalogue,
    CatalogueError,
    CatalogueManifest,
    read_catalogue,
    write_catalogue,
)
from lambda_api.recommender.sealed_folder import MANIFEST
from lambda_api.state.table import Absent, Condition, ConditionFailed, Key, Matches, Put, Table
from recsys_assets.lake import open_filesystem

POINTER: Final = Key("catalogue", "current")
"""Record of the table ``serving``: ``uri``, ``checksum``, ``products``, ``published_at`` (seconds since 1970 UTC)."""

KEPT: Final = 3
"""Folders that stay: the live one, and those that a server which has not looked for a while may still open."""

_ABANDONED_S: Final = 86_400
_CHUNK: Final = 1 << 20


class PublicationConflict(RecsysError):
    """Another catalogue went live while this one was being published; the message says what to do."""


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

    An equal catalogue that is live already is left alone, pointer and all, unless its files are damaged: then they
    are written again.

    Args:
        catalogue: what to publish.
        root: local path or ``s3://`` URI (`Settings.catalogue_uri`).
        serving: the pointer's table.
        now: seconds since 1970 UTC.

    Raises:
        PublicationConflict: somebody else published meanwhile; theirs is live.
        CatalogueError: the stored copy is not what was written.
    """
    before = current_publication(serving)
    with tempfile.TemporaryDirectory(prefix="recsys-catalogue-") as scratch:
        folder = Path(scratch) / "catalogue"
        manifest = write_catalogue(catalogue, folder)
        uri = f"{root.rstrip('/')}/{manifest.checksum[:16]}"
        put_folder(folder, uri, manifest)
    if before is not None and (before.uri, before.checksum) == (uri, manifest.checksum):
        return before
    attributes = {"uri": uri, "checksum": manifest.checksum, "products": manifest.products, "published_at": now}
    unchanged: Condition = Absent() if before is None else Matches({"uri": before.uri, "checksum": before.checksum})
    try:
        serving.write([Put(POINTER, attributes, condition=unchanged)])
    except ConditionFailed as failure:
        raise PublicationConflict(
            f"another run published a catalogue while {uri} was written, and that one is live; materialise "
            "serving_catalogue again if the lake has changed since"
        ) from failure
    return Publication(uri, manifest.checksum, manifest.products, now, changed=True)


def put_folder(folder: Path, uri: str, manifest: CatalogueManifest) -> None:
    """Make ``uri`` hold a copy of the catalogue in ``folder``; one that is there, whole, is only marked as used now."""
    if "://" in uri:
        _put_remote(folder, uri, manifest)
    else:
        _put_local(folder, Path(uri), manifest)


def remove_old(root: str, live_uri: str, kept: int = KEPT) -> list[str]:
    """Remove all but the ``kept`` newest catalogues under ``root``, never the live one; returns what went."""
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


def _put_local(folder: Path, target: Path, manifest: CatalogueManifest) -> None:
    if _is_catalogue(target, manifest.checksum):
        (target / MANIFEST).touch()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
    try:
        shutil.copytree(folder, partial)
        # A new file's time is when it was made, which is what `remove_old` goes by.
        (partial / MANIFEST).touch()
        if target.exists():
            damaged = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
            target.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        partial.rename(target)
    except OSError:
        # Another process put the same catalogue there first; then ours is not needed.
        if not _is_catalogue(target, manifest.checksum):
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_remote(folder: Path, uri: str, manifest: CatalogueManifest) -> None:
    filesystem, prefix = open_filesystem(uri)
    names = [record.name for record in manifest.files]
    if any(not _is_equal(filesystem, f"{prefix}/{name}", folder / name) for name in names):
        for name in names:
            _upload(filesystem, folder / name, f"{prefix}/{name}")
        for name in names:
            if not _is_equal(filesystem, f"{prefix}/{name}", folder / name):
                raise CatalogueError(f"{uri}/{name} is not what was uploaded; publish it again")
    _upload(filesystem, folder / MANIFEST, f"{prefix}/{MANIFEST}")


def _upload(filesystem: pa_fs.FileSystem, source: Path, target: str) -> None:
    with source.open("rb") as reader, filesystem.open_output_stream(target) as writer:
        shutil.copyfileobj(reader, writer, _CHUNK)


def _is_equal(filesystem: pa_fs.FileSystem, stored: str, local: Path) -> bool:
    if filesystem.get_file_info(stored).size != local.stat().st_size:
        return False
    with filesystem.open_input_stream(stored) as left, local.open("rb") as right:
        while chunk := right.read(_CHUNK):
            if left.read(_CHUNK) != chunk:
                return False
    return True


def _is_catalogue(folder: Path, checksum: str) -> bool:
    if not folder.exists():
        return False
    try:
        read_catalogue(folder, checksum=checksum)
    except CatalogueError:
        return False
    return True


def _is_abandoned(filesystem: pa_fs.FileSystem, folder: str) -> bool:
    """Whether an unfinished folder is what a killed publication left, rather than one going on."""
    files = filesystem.get_file_info(pa_fs.FileSelector(folder, recursive=True))
    newest = max((info.mtime_ns or 0 for info in files), default=0)
    return newest / 1e9 < time.time() - _ABANDONED_S
