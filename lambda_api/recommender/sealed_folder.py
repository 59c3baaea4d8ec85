"""A folder of plain files with a manifest that holds the size and SHA-256 of each; bundles and catalogues are such.

`SealedFolder` writes, verifies and reads one kind of folder. What the files mean is in ``bundle`` and ``catalogue``;
copying folders between machines is in ``lambda_api.serving.folder_fetch`` and the stores of ``recsys_assets``.

Opening a folder runs no code from it: arrays are read without pickle.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lambda_api.atomic_files import replaced_folder, write_text
from lambda_api.errors import RecsysError
from lambda_api.recommender.ids import IdMap

MANIFEST = "manifest.json"


class FileRecord(BaseModel):
    """One file: relative name with forward slashes, size in bytes, SHA-256 in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class FolderManifest(BaseModel):
    """``manifest.json``: the fields of every kind of folder; subclasses add their own.

    Attributes:
        products: number of product ids in the folder.
        checksum: SHA-256 (hexadecimal) of all other fields but the ``labels``; it stands for the whole folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: ClassVar[dict[str, Any]] = {}
    """Fields that may change without a new checksum, in the form of pydantic's ``exclude``."""

    schema_version: int
    products: int = Field(ge=0)
    files: tuple[FileRecord, ...]
    checksum: str = ""

    def content_checksum(self) -> str:
        """The ``checksum`` that this manifest should have."""
        content = self.model_dump(mode="json", exclude={"checksum": True, **self.labels})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write (or replace) the manifest of ``folder``."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True)
        write_text(Path(folder) / MANIFEST, text + "\n")


M = TypeVar("M", bound=FolderManifest)


@dataclass(frozen=True, slots=True)
class SealedFolder(Generic[M]):
    """One kind of sealed folder.

    Attributes:
        noun: the kind in messages.
        error: raised wherever a folder is refused; the message names the file and the rule.
        manifest: class of its manifest.
        schema_version: of the layout; a reader refuses every other.
        file_name: pattern of allowed file names; a manifest with any other name is refused.
    """

    noun: str
    error: type[RecsysError]
    manifest: type[M]
    schema_version: int
    file_name: re.Pattern[str]

    def write(
        self, folder: Path, arrays: Mapping[str, NDArray[Any]], content: Mapping[str, bytes], fields: Mapping[str, Any]
    ) -> M:
        """Write a folder of ``arrays`` and other files' ``content`` by relative name; returns its manifest.

        Atomic, see `replaced_folder`; only an empty folder or one of this kind is replaced.

        Args:
            fields: of the manifest, besides those that follow from the files.
        """
        folder = Path(folder)
        self._require_replaceable(folder)
        with replaced_folder(folder) as partial:
            for name, array in arrays.items():
                if array.dtype.hasobject:
                    raise self.error(f"{name} holds Python objects, which a {self.noun} does not store")
                (partial / name).parent.mkdir(exist_ok=True)
                np.save(partial / name, np.ascontiguousarray(array), allow_pickle=False)
            for name, data in content.items():
                (partial / name).parent.mkdir(exist_ok=True)
                (partial / name).write_bytes(data)
            records = tuple(file_record(partial, name) for name in sorted(_files_under(partial)))
            manifest = self.manifest(schema_version=self.schema_version, files=records, **fields)
            manifest = manifest.model_copy(update={"checksum": manifest.content_checksum()})
            manifest.write(partial)
        return manifest

    def read_manifest(self, folder: Path) -> M:
        """The manifest of ``folder``, checked against its own checksum; no other file is opened."""
        path = Path(folder) / MANIFEST
        again = f"write or fetch the {self.noun} again"
        try:
            text = path.read_text(encoding="utf-8")
            found = json.loads(text)
        except FileNotFoundError:
            raise self.error(f"{path} is missing: {folder} is no {self.noun}", remedy=again) from None
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(f"{path} cannot be read ({error})", remedy=again) from error
        except ValueError as error:
            raise self.error(f"{path} is not JSON ({error})", remedy=again) from error
        version = found.get("schema_version") if isinstance(found, dict) else None
        if version != self.schema_version:
            raise self.error(
                f"{path} has {self.noun} schema version {version!r}, this code reads {self.schema_version}",
                remedy=f"write the {self.noun} again with this code, or read it with the code that wrote it",
            )
        try:
            manifest = self.manifest.model_validate_json(text)
        except ValidationError as error:
            raise self.error(f"{path} is not a valid manifest: {error}", remedy=again) from error
        for record in manifest.files:
            if not self.file_name.fullmatch(record.name):
                raise self.error(
                    f"{path} names the file {record.name!r}, which no {self.noun} may hold",
                    remedy=f"do not use this {self.noun}",
                )
        if manifest.checksum != manifest.content_checksum():
            raise self.error(f"{path} does not match its checksum: it was edited or damaged", remedy=again)
        return manifest

    def verify(self, folder: Path, verify: bool, checksum: str | None) -> M:
        """The manifest of ``folder``, once its files are known to be those of the manifest.

        Args:
            verify: read every file once and compare its SHA-256; without it only names and sizes are compared.
            checksum: that the caller expects; ``None`` accepts any.
        """
        manifest = self.read_manifest(folder)
        if checksum is not None and checksum != manifest.checksum:
            raise self.error(f"{folder} is {self.noun} {manifest.checksum}, expected {checksum}; fetch that one")
        expected = {record.name for record in manifest.files}
        present = _files_under(folder) - {MANIFEST}
        if missing := sorted(expected - present):
            raise self.error(f"{folder}: file {missing[0]} is missing; write or fetch the {self.noun} again")
        if extra := sorted(present - expected):
            raise self.error(
                f"{folder}: file {extra[0]} is not in the manifest; remove it or fetch the {self.noun} again"
            )
        for record in manifest.files:
            path = folder / record.name
            if path.is_symlink():
                raise self.error(f"{path} is a link; a {self.noun} holds plain files only, fetch it again")
            if path.stat().st_size != record.size:
                raise self.error(
                    f"{path} has {path.stat().st_size} bytes, the manifest says {record.size}; fetch it again"
                )
            if verify and file_record(folder, record.name).sha256 != record.sha256:
                raise self.error(f"{path} does not have the SHA-256 in the manifest: it is damaged; fetch it again")
        return manifest

    def load(self, path: Path) -> NDArray[Any]:
        """One array, memory-mapped and read-only."""
        again = f"write or fetch the {self.noun} again"
        try:
            try:
                array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError):
                array = np.load(path, allow_pickle=False)  # an array without elements cannot be mapped
        except FileNotFoundError:
            raise self.error(f"{path} is missing", remedy=again) from None
        except (ValueError, EOFError, OSError) as error:
            raise self.error(f"{path} is not a plain .npy array ({error})", remedy=again) from error
        # A plain view of the mapped file: slicing a memmap costs several times as much.
        return np.asarray(array)

    def load_ids(self, folder: Path, manifest: FolderManifest) -> IdMap:
        """The product ids of ``folder``, as `id_arrays` stored them."""
        ids, order = (self.load(folder / name) for name in _ID_FILES)
        if not len(ids) == len(order) == manifest.products:
            raise self.error(
                f"{folder}: {' and '.join(_ID_FILES)} must hold {manifest.products} products each, not {len(ids)} and "
                f"{len(order)}; write it again"
            )
        return IdMap(ids=ids, order=order)

    def _require_replaceable(self, folder: Path) -> None:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise self.error(f"{folder} is not a folder; choose another place for the {self.noun}")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise self.error(
                f"{folder} holds files but no {MANIFEST}, so it is no {self.noun} to replace; choose another place"
            )


_ID_FILES = ("products.ids.npy", "products.order.npy")


def id_arrays(products: IdMap) -> dict[str, NDArray[Any]]:
    """The files of an `IdMap`, by name."""
    return dict(zip(_ID_FILES, (products.ids, products.order), strict=True))


def file_record(folder: Path, name: str) -> FileRecord:
    """Size and hash of one file."""
    path = folder / name
    with path.open("rb") as file:
        return FileRecord(name=name, size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _files_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
