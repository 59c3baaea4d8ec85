"""Input files, local or on S3: listing, reading, decompressing, and errors that name the file."""

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import pyarrow.fs as pa_fs

from recsys_assets.ingest.source import SourceError
from recsys_assets.lake import open_filesystem

CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".dat", ".dat.gz", ".data", ".item", ".user")
JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz")
TABLE_SUFFIXES = (*CSV_SUFFIXES, ".parquet", *JSON_SUFFIXES)
"""Files that can hold a table. A ``.zip`` stands for the files inside it."""

_DAY_NAME = re.compile(r"^(?:date=)?(\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as listed. Equal listings mean unchanged files, which is what caches of parsed files rely on.

    Attributes:
        path: path inside the folder's filesystem.
        name: path relative to the folder, with ``/``.
        size: bytes as stored (compressed size of a gzip file).
        modified_ns: modification time, nanoseconds since the epoch; ``None`` where the filesystem has none.
        member: name inside the zip archive at ``path``; empty for an ordinary file.
    """

    path: str
    name: str
    size: int
    modified_ns: int | None
    member: str = ""

    @property
    def base_name(self) -> str:
        """Last part of the name, with its suffixes."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class Folder:
    """A local folder or an ``s3://`` prefix, or one file in it. ``.zip`` archives are read like folders.

    Names that begin with ``_`` or ``.`` are hidden, as in Hive and Spark.
    """

    uri: str

    @property
    def base(self) -> str:
        """Path or URI of the folder; of a single file's parent."""
        return self.uri.rpartition("/")[0] if self._is_file else self.uri.rstrip("/")

    @property
    def single_file(self) -> str:
        """Name of the file where the data are one file, else empty."""
        return self.uri.rpartition("/")[2] if self._is_file else ""

    def label(self, name: str) -> str:
        """How messages name a file or sub-folder of this folder."""
        if not name:
            return self.uri
        return name if self._is_file and "/" not in self.uri else f"{self.base}/{name}"

    def entries(self, under: str = "", *, recursive: bool = False) -> tuple[list[SourceFile], list[str]]:
        """Files and sub-folder names below ``under``, each sorted by name; none where there is no such sub-folder.

        Raises:
            SourceError: the folder itself does not exist or may not be listed.
        """
        _, root = self._opened
        if self._is_file:
            found = [] if under else [self._info(root)]
            root = root.rpartition("/")[0]
        else:
            path = f"{root}/{under}".rstrip("/")
            found = self._info(pa_fs.FileSelector(path, allow_not_found=True, recursive=recursive))
        files, folders = [], []
        for info in found:
            name = info.path.removeprefix(root).lstrip("/")
            if any(part.startswith(("_", ".")) for part in name.split("/")):
                continue
            if info.type == pa_fs.FileType.Directory:
                folders.append(name)
            elif info.type == pa_fs.FileType.File:
                file = SourceFile(info.path, name, info.size, info.mtime_ns)
                files += self._members(file) if name.lower().endswith(".zip") else [file]
        return sorted(files, key=lambda file: file.name), sorted(folders)

    def read(self, file: SourceFile) -> bytes:
        """The file's bytes, decompressed when its name ends in ``.gz``.

        Raises:
            SourceError: unreadable, zero bytes, truncated gzip or no gzip at all.
        """
        label = self.label(file.name)
        data = self._bytes(file)
        if not data:
            raise SourceError(f"{label}: the file has zero bytes; deliver it again, or delete it if there was no data")
        return _decompress(data, label) if file.name.endswith(".gz") else data

    def head(self, file: SourceFile, size: int = 4096) -> bytes:
        """The first ``size`` decompressed bytes, for guessing a format; raises `SourceError` like `read`."""
        if file.member:
            return self.read(file)[:size]
        filesystem, _ = self._opened
        compression = "gzip" if file.name.endswith(".gz") else None
        try:
            with filesystem.open_input_stream(file.path, compression=compression) as stream:
                data: bytes = stream.read(size)
        except OSError as error:
            raise SourceError(f"{self.label(file.name)}: cannot be read ({error}); deliver it again") from error
        return data

    def text_beside(self, name: str) -> str | None:
        """Text of the file ``name`` in this folder (beside the file, for a single file); ``None`` without one."""
        filesystem, root = self._opened
        path = f"{root.rpartition('/')[0] if self._is_file else root}/{name}"
        if filesystem.get_file_info(path).type != pa_fs.FileType.File:
            return None
        with filesystem.open_input_stream(path) as stream:
            return decode_utf8(stream.read(), f"{self.base}/{name}")

    def _bytes(self, file: SourceFile) -> bytes:
        filesystem, _ = self._opened
        try:
            with filesystem.open_input_stream(file.path, compression=None) as stream:
                data: bytes = stream.read()
            if file.member:
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    data = archive.read(file.member)
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise SourceError(
                f"{self.label(file.name)}: cannot be read ({error}); check that it exists and your permissions"
            ) from error
        return data

    def _members(self, file: SourceFile) -> list[SourceFile]:
        try:
            with zipfile.ZipFile(io.BytesIO(self._bytes(file))) as archive:
                members = archive.infolist()
        except zipfile.BadZipFile as error:
            raise SourceError(
                f"{self.label(file.name)}: not a sound zip archive ({error}); deliver it again"
            ) from error
        return [
            SourceFile(file.path, f"{file.name}/{info.filename}", info.file_size, file.modified_ns, info.filename)
            for info in members
            if not info.is_dir() and not re.search(r"(^|/)[._]", info.filename)
        ]

    @cached_property
    def _opened(self) -> tuple[pa_fs.FileSystem, str]:
        try:
            return open_filesystem(self.uri)
        except ValueError as error:
            raise SourceError(str(error)) from error

    def _info(self, where: str | pa_fs.FileSelector) -> Any:
        """What Arrow tells about a path or below a folder; raises `SourceError`."""
        try:
            return self._opened[0].get_file_info(where)
        except OSError as error:
            raise SourceError(f"{self.uri}: cannot be listed ({error}); check the path and your permissions") from error

    @cached_property
    def _is_file(self) -> bool:
        kind = self._info(self._opened[1]).type
        if kind == pa_fs.FileType.NotFound:
            raise SourceError(f"{self.uri}: there is no such folder or file; check the path")
        return bool(kind == pa_fs.FileType.File)


def day_in_name(stem: str) -> str | None:
    """The ``YYYY-MM-DD`` of a name like ``2011-03-01`` or ``date=2011-03-01``; ``None`` for any other name."""
    match = _DAY_NAME.match(stem)
    return match[1] if match else None


def parse_day(text: str, label: str) -> date:
    """The day written in a file or folder name; raises `SourceError` for one that is in no calendar."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise SourceError(f"{label}: {text} is not a day of the calendar; name drops YYYY-MM-DD") from error


def stem_of(name: str, suffixes: Iterable[str] = TABLE_SUFFIXES) -> str | None:
    """``name`` without the one of ``suffixes`` it ends in; ``None`` when it ends in none of them."""
    return next((name.removesuffix(suffix) for suffix in suffixes if name.endswith(suffix)), None)


def daily_files(folder: Folder, files: Sequence[SourceFile], suffixes: Sequence[str]) -> dict[date, SourceFile]:
    """Files named ``YYYY-MM-DD<suffix>`` by their day, ascending; files with other names are left out.

    Raises:
        SourceError: an impossible day, or two files for one day (an old and a re-sent drop would count twice).
    """
    found: dict[date, SourceFile] = {}
    for file in files:
        text = day_in_name(stem_of(file.base_name, suffixes) or "")
        if text is None or file.base_name.startswith("date="):
            continue
        day = parse_day(text, folder.label(file.name))
        if day in found:
            raise SourceError(
                f"{folder.label(file.name)}: {day} has a second drop, {found[day].name}; keep one file per day"
            )
        found[day] = file
    return dict(sorted(found.items()))


def no_drop(location: str, day: date, days: Sequence[date]) -> SourceError:
    """The error for a day that was asked for and is not there."""
    known = f"drops run from {days[0]} to {days[-1]}" if days else "there are no drops at all"
    return SourceError(
        f"{location}: no drop for {day} ({known}); deliver the day, or ask only for days that days() lists"
    )


def decode_utf8(data: bytes, label: str) -> str:
    """``data`` as text, without a byte order mark.

    Raises:
        SourceError: not UTF-8; the message gives the offset of the first bad byte, counted after decompression.
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{label}: not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start} does not belong there; "
            'save the file as UTF-8, or set encoding = "cp1252" in mapping.toml if it comes from Windows'
        ) from error


def _decompress(data: bytes, label: str) -> bytes:
    try:
        plain = gzip.decompress(data)
    except EOFError as error:
        raise SourceError(
            f"{label}: the gzip stream is truncated; the upload broke off, deliver the file again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(
            f"{label}: not a sound gzip file ({error}); deliver it again, or drop the .gz suffix"
        ) from error
    if not plain:
        raise SourceError(f"{label}: the file is empty inside its gzip wrapping; deliver it again, or delete it")
    return plain
