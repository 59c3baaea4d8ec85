"""Where bundles of registered models are kept: one folder or ``s3://`` prefix each, named by the bundle's checksum.

Put copying bundles to and from that place here. Keep the bundle format (``lambda_api.recommender.bundle``) and what a
version means (``model_registry``) out.

A folder is renamed into place whole. An S3 prefix gets its manifest last, after every other object was read back and
compared: a prefix without a manifest is no bundle.
"""

import hashlib
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pa_fs

from lambda_api.recommender.bundle import (
    BundleError,
    Manifest,
    label_bundle,
    read_bundle,
    read_manifest,
)
from lambda_api.recommender.sealed_folder import MANIFEST, FileRecord
from lambda_api.serving.folder_fetch import relocate
from recsys_assets.lake import open_filesystem
from recsys_assets.registry.records import ModelVersion

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class BundleStore:
    """Bundles under ``root``, a local path or an ``s3://`` URI (`Settings.models_uri`)."""

    root: str

    def uri(self, checksum: str) -> str:
        """Where the bundle of this checksum is, or will be."""
        return f"{self.root.rstrip('/')}/{checksum}"

    def put(self, folder: Path) -> str:
        """Keep a copy of the bundle in ``folder`` and return its address.

        The copy is verified file by file. A bundle that is there already is left alone; a damaged copy is replaced.

        Raises:
            BundleError: ``folder`` is no whole bundle, or the copy differs from it.
        """
        manifest = read_bundle(folder).manifest
        if not self._holds(manifest):
            if self._is_remote:
                self._upload(folder, manifest)
            else:
                _copy_into_place(folder, Path(self.root).absolute() / manifest.checksum, manifest)
        return self.uri(manifest.checksum)

    def label(self, checksum: str, name: str, version: str) -> None:
        """Write the registered name and version into a kept bundle's manifest; its checksum stays the same.

        Raises:
            BundleError: there is no such bundle.
        """
        if not self._is_remote:
            label_bundle(Path(self.root) / checksum, name, version)
            return
        manifest = self._remote_manifest(checksum)
        if manifest is None:
            raise BundleError(f"{self.uri(checksum)} holds no bundle; put it there first")
        info = manifest.info.model_copy(update={"name": name, "version": version})
        self._write_manifest(manifest.model_copy(update={"info": info}))

    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        """A local folder with the verified bundle of ``version``: the kept one itself, or a copy under ``cache``.

        Raises:
            BundleError: the bundle is missing, damaged or not the one that was registered; nothing is left behind.
        """
        filesystem, path = open_filesystem(relocate(version.bundle_uri, self.root))
        if isinstance(filesystem, pa_fs.LocalFileSystem):
            read_bundle(Path(path), checksum=version.bundle_checksum)
            return Path(path)
        target = cache / version.bundle_checksum
        if _is_bundle(target, version.bundle_checksum):
            return target
        _download_into_place(filesystem, path, target, version.bundle_checksum)
        return target

    @property
    def _is_remote(self) -> bool:
        return "://" in self.root

    def _holds(self, manifest: Manifest) -> bool:
        if not self._is_remote:
            return _is_bundle(Path(self.root) / manifest.checksum, manifest.checksum)
        kept = self._remote_manifest(manifest.checksum)
        return kept is not None and self._first_difference(manifest) is None

    def _upload(self, folder: Path, manifest: Manifest) -> None:
        filesystem, prefix = open_filesystem(self.uri(manifest.checksum))
        for record in manifest.files:
            with (
                (folder / record.name).open("rb") as source,
                filesystem.open_output_stream(f"{prefix}/{record.name}") as target,
            ):
                shutil.copyfileobj(source, target, _CHUNK)
        if difference := self._first_difference(manifest):
            raise BundleError(f"{self.uri(manifest.checksum)}/{difference} is not what was uploaded; put it again")
        self._write_manifest(manifest)

    def _first_difference(self, manifest: Manifest) -> str | None:
        filesystem, prefix = open_filesystem(self.uri(manifest.checksum))
        return next((record.name for record in manifest.files if not _is_equal(filesystem, prefix, record)), None)

    def _remote_manifest(self, checksum: str) -> Manifest | None:
        filesystem, prefix = open_filesystem(self.uri(checksum))
        try:
            with filesystem.open_input_stream(f"{prefix}/{MANIFEST}") as stream:
                return Manifest.model_validate_json(stream.read())
        except (FileNotFoundError, ValueError):
            return None

    def _write_manifest(self, manifest: Manifest) -> None:
        filesystem, prefix = open_filesystem(self.uri(manifest.checksum))
        with filesystem.open_output_stream(f"{prefix}/{MANIFEST}") as target:
            target.write((manifest.model_dump_json(indent=2) + "\n").encode())


def _copy_into_place(folder: Path, target: Path, manifest: Manifest) -> None:
    partial = _beside(target, "partial")
    try:
        shutil.copytree(folder, partial, symlinks=True)
        read_bundle(partial, checksum=manifest.checksum)
        _move_into_place(partial, target, manifest.checksum)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download_into_place(filesystem: pa_fs.FileSystem, prefix: str, target: Path, checksum: str) -> None:
    partial = _beside(target, "partial")
    try:
        partial.mkdir(parents=True)
        _download(filesystem, prefix, MANIFEST, partial)
        for record in read_manifest(partial).files:
            _download(filesystem, prefix, record.name, partial)
        read_bundle(partial, checksum=checksum)
        _move_into_place(partial, target, checksum)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(filesystem: pa_fs.FileSystem, prefix: str, name: str, folder: Path) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    try:
        with filesystem.open_input_stream(f"{prefix}/{name}") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
    except FileNotFoundError as error:
        raise BundleError(f"{prefix}/{name} is missing; register the model again to put its bundle back") from error


def _move_into_place(partial: Path, target: Path, checksum: str) -> None:
    damaged = _beside(target, "damaged")
    if target.exists() and not _is_bundle(target, checksum):
        target.rename(damaged)
    try:
        partial.rename(target)
    except OSError:
        # Another process put the same bundle there first; then ours is not needed.
        if not _is_bundle(target, checksum):
            raise
    shutil.rmtree(damaged, ignore_errors=True)


def _beside(target: Path, what: str) -> Path:
    return target.parent / f".{target.name}.{uuid.uuid4().hex}.{what}"


def _is_bundle(folder: Path, checksum: str) -> bool:
    if not folder.exists():
        return False
    try:
        read_bundle(folder, checksum=checksum)
    except BundleError:
        return False
    return True


def _is_equal(filesystem: pa_fs.FileSystem, prefix: str, record: FileRecord) -> bool:
    digest, size = hashlib.sha256(), 0
    try:
        with filesystem.open_input_stream(f"{prefix}/{record.name}") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        return False
    return size == record.size and digest.hexdigest() == record.sha256
