"""Stores sealed folders (bundles, catalogues) on a local path or an ``s3://`` prefix.

A local folder is renamed into place when it is complete. An S3 prefix gets its manifest last, after every other object
was read back and compared: a prefix without a manifest is incomplete. Writing a folder that is there already changes
nothing; a damaged one is replaced. What a folder means is known to its reader (`FolderKind.read`).
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow.fs as pa_fs

from lambda_api.atomic_files import shared_folder
from lambda_api.errors import RecsysError
from lambda_api.recommender.sealed_folder import MANIFEST, FileRecord
from recsys_assets.lake import open_filesystem

_CHUNK = 1 << 20


class SealedManifest(Protocol):
    """What every kind of manifest holds."""

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Every file but the manifest."""

    @property
    def checksum(self) -> str:
        """Stands for the whole folder."""


@dataclass(frozen=True, slots=True)
class FolderKind:
    """A kind of sealed folder.

    Attributes:
        read_manifest: of a folder that may hold nothing else yet.
        read: opens and verifies the whole folder; the keyword ``checksum`` is the expected one.
        error: what both raise when they refuse.
        remedy: how to restore a folder of this kind, for messages.
    """

    read_manifest: Callable[[Path], SealedManifest]
    read: Callable[..., Any]
    error: type[RecsysError]
    remedy: str

    def is_intact(self, folder: Path, checksum: str) -> bool:
        """Whether ``folder`` exists and is whole."""
        try:
            self.read(folder, checksum=checksum)
        except self.error:
            return False
        return True


def put_folder(kind: FolderKind, folder: Path, uri: str) -> bool:
    """Make ``uri`` hold a verified copy of ``folder``; ``False`` when an intact one is there already.

    Raises:
        RecsysError: of the kind: ``folder`` is not whole, or the copy differs from it.
    """
    manifest = kind.read_manifest(folder)
    if "://" in uri:
        if _holds(kind, uri, manifest):
            return False
        _upload(kind, folder, uri, manifest)
        return True
    target = Path(uri).absolute()
    if kind.is_intact(target, manifest.checksum):
        return False
    with shared_folder(target, lambda found: kind.is_intact(found, manifest.checksum)) as partial:
        shutil.copytree(folder, partial, symlinks=True, dirs_exist_ok=True)
        kind.read(partial, checksum=manifest.checksum)
    return True


def fetch_folder(kind: FolderKind, uri: str, checksum: str, cache: Path) -> Path:
    """A verified local folder of what ``uri`` holds: the stored one itself, or a copy under ``cache``.

    Raises:
        RecsysError: of the kind: it is missing, damaged or another one; nothing is left behind.
    """
    filesystem, path = open_filesystem(uri)
    if isinstance(filesystem, pa_fs.LocalFileSystem):
        kind.read(Path(path), checksum=checksum)
        return Path(path)
    target = cache / checksum
    if not kind.is_intact(target, checksum):
        with shared_folder(target, lambda found: kind.is_intact(found, checksum)) as partial:
            _download(kind, filesystem, path, MANIFEST, partial)
            for record in kind.read_manifest(partial).files:
                _download(kind, filesystem, path, record.name, partial)
            kind.read(partial, checksum=checksum)
    return target


def write_manifest(uri: str, content: bytes) -> None:
    """Write or replace the manifest of the S3 prefix ``uri``."""
    filesystem, prefix = open_filesystem(uri)
    with filesystem.open_output_stream(f"{prefix}/{MANIFEST}") as target:
        target.write(content)


def read_manifest_bytes(uri: str) -> bytes | None:
    """The manifest of the S3 prefix ``uri``; ``None`` when there is none."""
    filesystem, prefix = open_filesystem(uri)
    try:
        with filesystem.open_input_stream(f"{prefix}/{MANIFEST}") as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def _holds(kind: FolderKind, uri: str, manifest: SealedManifest) -> bool:
    content = read_manifest_bytes(uri)
    if content is None:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / MANIFEST).write_bytes(content)
        try:
            stored = kind.read_manifest(Path(scratch))
        except kind.error:
            return False
    return stored.checksum == manifest.checksum and _difference(uri, manifest) is None


def _upload(kind: FolderKind, folder: Path, uri: str, manifest: SealedManifest) -> None:
    filesystem, prefix = open_filesystem(uri)
    for record in manifest.files:
        target = filesystem.open_output_stream(f"{prefix}/{record.name}")
        with (folder / record.name).open("rb") as source, target:
            shutil.copyfileobj(source, target, _CHUNK)
    if name := _difference(uri, manifest):
        raise kind.error(f"{uri}/{name} is not what was uploaded", remedy=kind.remedy)
    write_manifest(uri, (folder / MANIFEST).read_bytes())


def _difference(uri: str, manifest: SealedManifest) -> str | None:
    """Name of the first file that is missing at ``uri`` or differs."""
    filesystem, prefix = open_filesystem(uri)
    return next((record.name for record in manifest.files if not _is_equal(filesystem, prefix, record)), None)


def _is_equal(filesystem: pa_fs.FileSystem, prefix: str, record: FileRecord) -> bool:
    if filesystem.get_file_info(f"{prefix}/{record.name}").size != record.size:
        return False
    digest = hashlib.sha256()
    with filesystem.open_input_stream(f"{prefix}/{record.name}") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == record.sha256


def _download(kind: FolderKind, filesystem: pa_fs.FileSystem, prefix: str, name: str, folder: Path) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    try:
        with filesystem.open_input_stream(f"{prefix}/{name}") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
    except FileNotFoundError as error:
        raise kind.error(f"{prefix}/{name} is missing", remedy=kind.remedy) from error
