"""A sealed folder: plain files and a manifest that proves that they are whole. Bundles and catalogues are two kinds.

Put here what is the same whatever the files mean: writing beside and moving into place, hashes, and refusing missing,
extra and changed files and links. Keep what a manifest claims besides its files in ``bundle`` and ``catalogue``.

Nothing in such a folder can run code when opened: arrays are read without pickle.
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

MANIFEST = "manifest.json"


class FileRecord(BaseModel):
    """One file: relative name with forward slashes, size in bytes, SHA-256 in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class SealedFolder:
    """One kind of sealed folder.

    Attributes:
        noun: what messages call it.
        error: raised wherever a folder is refused; the message names the file, the rule and the remedy.
        file_name: what its files may be called; a manifest naming any other is refused.
    """

    noun: str
    error: type[Exception]
    file_name: re.Pattern[str]

    def replace(self, folder: Path, fill: Callable[[Path], None]) -> None:
        """Let ``fill`` complete the folder beside ``folder``, then rename it into place.

        ``folder`` never holds half of it. An earlier one (or an empty folder) there is replaced; a process that has it
        open keeps the old files. A process killed between the two renames leaves nothing at ``folder``, and the old
        one whole in a hidden folder beside it: write again.
        """
        folder = Path(folder)
        self._require_replaceable(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.partial"
        try:
            partial.mkdir()
            fill(partial)
            move_into_place(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def records(self, folder: Path) -> tuple[FileRecord, ...]:
        """A record of every file of ``folder`` but the manifest, by name."""
        return tuple(file_record(folder, name) for name in sorted(_files_under(folder) - {MANIFEST}))

    def read_manifest_text(self, folder: Path, schema_version: int) -> str:
        """The manifest as text, once it is known to be JSON of ``schema_version``."""
        path = Path(folder) / MANIFEST
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise self.error(
                f"{path} is missing: {folder} is no {self.noun}; write or fetch the {self.noun} again"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(f"{path} cannot be read ({error}); write or fetch the {self.noun} again") from error
        try:
            content = json.loads(text)
        except ValueError as error:
            raise self.error(f"{path} is not JSON ({error}); write or fetch the {self.noun} again") from error
        found = content.get("schema_version") if isinstance(content, dict) else None
        if found != schema_version:
            raise self.error(
                f"{path} has {self.noun} schema version {found!r}, this code reads {schema_version}; "
                f"write the {self.noun} again with this code, or read it with the code that wrote it"
            )
        return text

    def require_named_well(self, folder: Path, files: Sequence[FileRecord]) -> None:
        """Refuse a manifest that names a file outside the folder, or one this kind does not have."""
        for record in files:
            if not self.file_name.fullmatch(record.name):
                raise self.error(
                    f"{Path(folder) / MANIFEST} names the file {record.name!r}, which no {self.noun} may hold; "
                    f"do not use this {self.noun}"
                )

    def require_files(self, folder: Path, files: Sequence[FileRecord], verify: bool) -> None:
        """Refuse a folder whose files are not those of the manifest; ``verify`` also reads and hashes each."""
        expected = {record.name for record in files}
        present = _files_under(folder) - {MANIFEST}
        if missing := sorted(expected - present):
            raise self.error(f"{folder}: file {missing[0]} is missing; write or fetch the {self.noun} again")
        if extra := sorted(present - expected):
            raise self.error(
                f"{folder}: file {extra[0]} is not in the manifest; remove it or fetch the {self.noun} again"
            )
        for record in files:
            path = folder / record.name
            if path.is_symlink():
                raise self.error(f"{path} is a link; a {self.noun} holds plain files only, fetch it again")
            if path.stat().st_size != record.size:
                raise self.error(
                    f"{path} has {path.stat().st_size} bytes, the manifest says {record.size}; fetch it again"
                )
            if verify and file_record(folder, record.name).sha256 != record.sha256:
                raise self.error(f"{path} does not have the SHA-256 in the manifest: it is damaged; fetch it again")

    def save(self, path: Path, array: NDArray[Any]) -> None:
        """Write one array as a plain ``.npy`` file."""
        if array.dtype.hasobject:
            raise self.error(f"{path.name} holds Python objects, which a {self.noun} does not store; use a plain dtype")
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.ascontiguousarray(array), allow_pickle=False)

    def load(self, path: Path) -> NDArray[Any]:
        """One array, memory-mapped and read-only."""
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise self.error(f"{path} is missing from the {self.noun}; write or fetch it again") from None
        except (ValueError, EOFError, OSError) as error:
            array = self._load_empty(path, error)
        # A plain view of the mapped file: every slice of a memmap costs several times as much.
        return np.asarray(array)

    def _load_empty(self, path: Path, cause: Exception) -> NDArray[Any]:
        """numpy cannot memory-map an array without elements, so such a file is read instead."""
        try:
            array: NDArray[Any] = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise self.error(f"{path} is not a plain .npy array ({error}); write or fetch it again") from cause
        return array

    def _require_replaceable(self, folder: Path) -> None:
        if not folder.exists() and not folder.is_symlink():
            return
        if folder.is_symlink() or not folder.is_dir():
            raise self.error(f"{folder} is not a folder; choose another place for the {self.noun}")
        if any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise self.error(
                f"{folder} holds files but no {MANIFEST}, so it is no {self.noun} to replace; choose another place"
            )


def content_checksum(content: dict[str, Any]) -> str:
    """SHA-256 (hexadecimal) of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_manifest(manifest: BaseModel, folder: Path) -> None:
    """Write (or replace, atomically) the manifest of ``folder``."""
    partial = folder / f".{MANIFEST}.{uuid.uuid4().hex}"
    partial.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)


def file_record(folder: Path, name: str) -> FileRecord:
    """Size and hash of one file as it is now."""
    path = folder / name
    with path.open("rb") as file:
        return FileRecord(name=name, size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def move_into_place(partial: Path, folder: Path) -> None:
    """Rename ``partial`` to ``folder``; what is there goes only once the new one stands."""
    if not folder.exists():
        partial.rename(folder)
        return
    replaced = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.replaced"
    folder.rename(replaced)
    try:
        partial.rename(folder)
    except OSError:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced)


def _files_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
