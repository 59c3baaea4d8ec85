"""The data lake: Parquet tables under one root, local or ``s3://``, stored whole or as Hive partitions by UTC day.

A table is written under a temporary name and moved into place: a reader sees the old file or the new one.
"""

import os
import posixpath
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pa_ds
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from lambda_api.errors import RecsysError

_DAY_FOLDER = re.compile(r"^date=(\d{4}-\d{2}-\d{2})$")


def midnight(day: date) -> datetime:
    """The moment at which ``day`` begins, aware, UTC: days of the lake are calendar days of UTC."""
    return datetime.combine(day, time(), UTC)


class LakeError(RecsysError):
    """A table or day is not in the lake; the message says which asset writes it."""


def open_filesystem(uri: str) -> tuple[pa_fs.FileSystem, str]:
    """The Arrow filesystem and path for a local path or an ``s3://`` URI (honours ``AWS_ENDPOINT_URL``).

    Raises:
        ValueError: another scheme.
    """
    if uri.startswith("s3://"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return pa_fs.S3FileSystem(endpoint_override=endpoint, region=region), uri.removeprefix("s3://").rstrip("/")
    if "://" in uri:
        raise ValueError(f"{uri!r}: only local paths and s3:// URIs are supported")
    return pa_fs.LocalFileSystem(), str(Path(uri).absolute())


@dataclass(frozen=True)
class Lake:
    """Tables under ``root``: ``<table>/part-0.parquet`` whole, or ``<table>/date=YYYY-MM-DD/part-0.parquet`` by day."""

    root: str

    def uri(self, table: str) -> str:
        """Path or URI of a table's folder, for messages and metadata."""
        return f"{self.root.rstrip('/')}/{table}"

    def write_table(self, table: str, data: pa.Table) -> str:
        """Replace a whole table; returns the file's path or URI."""
        return self._write(f"{table}/part-0.parquet", data)

    def write_day(self, table: str, day: date, data: pa.Table) -> str:
        """Replace one day of a partitioned table, never adding to it; returns the file's path or URI."""
        return self._write(f"{table}/date={day.isoformat()}/part-0.parquet", data)

    def write_rows(self, table: str, day: date, data: pa.Table) -> None:
        """Replace one day by ``data``, or remove it where there are no rows."""
        if data.num_rows:
            self.write_day(table, day, data)
        else:
            self.delete_day(table, day)

    def write_part(self, table: str, day: date, name: str, data: pa.Table) -> str:
        """Replace one part of a day of a table that is made in parts, each by its own writer."""
        return self._write(f"{table}/date={day.isoformat()}/{name}.parquet", data)

    def read_parts(self, table: str, day: date) -> list[pa.Table]:
        """Every part of a day of a table that is made in parts; none where there is no such day."""
        filesystem, root = open_filesystem(self.root)
        folder = f"{root}/{table}/date={day.isoformat()}"
        names = [name for name, _ in self.part_sizes(table, day)]
        return [pq.read_table(f"{folder}/{name}", filesystem=filesystem, partitioning=None) for name in names]

    def read_day(self, table: str, day: date, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one day of a partitioned table, without listing the others; raises `LakeError` without the day."""
        filesystem, path = self._day_file(table, day)
        selected = list(columns) if columns is not None else None
        try:
            return pq.read_table(path, columns=selected, filesystem=filesystem, partitioning=None)
        except FileNotFoundError as error:
            raise self._missing(table) from error

    def day_schema(self, table: str, day: date) -> pa.Schema:
        """Schema of a stored day; only a footer is read. Raises ``FileNotFoundError`` without the day."""
        filesystem, path = self._day_file(table, day)
        return pq.read_schema(path, filesystem=filesystem)

    def day_metadata(self, table: str, day: date) -> dict[bytes, bytes]:
        """Metadata of `day_schema`."""
        return self.day_schema(table, day).metadata or {}

    def part_sizes(self, table: str, day: date) -> list[tuple[str, int]]:
        """File names and sizes in bytes of the parts of a day, by name."""
        filesystem, root = open_filesystem(self.root)
        selector = pa_fs.FileSelector(f"{root}/{table}/date={day.isoformat()}", allow_not_found=True)
        found = [(info.base_name, int(info.size)) for info in filesystem.get_file_info(selector)]
        return sorted(one for one in found if one[0].endswith(".parquet") and not one[0].startswith("_"))

    def write_file(self, name: str, content: bytes) -> str:
        """Replace a small file below the lake's root; returns its path or URI."""

        def write(path: str, filesystem: pa_fs.FileSystem) -> None:
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)

        return self._replace(name, write)

    def write_batches(self, table: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
        """Replace a whole table by a stream of batches, never holding more than one; returns the file's path or URI."""

        def write(path: str, filesystem: pa_fs.FileSystem) -> None:
            # Dictionaries make the repeated texts of feature tables smaller, but not their numbers.
            texts = [field.name for field in schema if pa.types.is_string(field.type)]
            options: dict[str, Any] = {"compression": "zstd", "filesystem": filesystem, "use_dictionary": texts}
            with pq.ParquetWriter(path, schema, **options) as writer:
                for batch in batches:
                    writer.write_batch(batch)

        return self._replace(f"{table}/part-0.parquet", write)

    def delete_day(self, table: str, day: date) -> None:
        """Remove one day, if it exists."""
        filesystem, root = open_filesystem(self.root)
        folder = f"{root}/{table}/date={day.isoformat()}"
        if filesystem.get_file_info(folder).type != pa_fs.FileType.NotFound:
            filesystem.delete_dir(folder)

    def days(self, table: str) -> list[date]:
        """Days a partitioned table holds, ascending; empty when there is no such table."""
        filesystem, root = open_filesystem(self.root)
        selector = pa_fs.FileSelector(f"{root}/{table}", allow_not_found=True)
        matches = (_DAY_FOLDER.match(info.base_name) for info in filesystem.get_file_info(selector))
        return sorted(date.fromisoformat(match[1]) for match in matches if match)

    def has_table(self, table: str) -> bool:
        """Whether a whole table has been written."""
        filesystem, root = open_filesystem(self.root)
        return bool(filesystem.get_file_info(f"{root}/{table}/part-0.parquet").type == pa_fs.FileType.File)

    def files(self, table: str, start: date | None = None, end: date | None = None) -> list[str]:
        """Files of a table as paths or URIs; of a partitioned one, days with ``start <= day < end`` only."""
        if self.has_table(table):
            return [f"{self.uri(table)}/part-0.parquet"]
        return [
            f"{self.uri(table)}/date={day.isoformat()}/part-0.parquet"
            for day in self.days(table)
            if (start is None or day >= start) and (end is None or day < end)
        ]

    def dataset(self, files: Sequence[str], schema: pa.Schema | None = None) -> pa_ds.Dataset:
        """Files of the lake as an Arrow dataset; ``schema`` in place of that of the first file."""
        filesystem, _ = open_filesystem(self.root)
        paths = [path.removeprefix("s3://") for path in files]
        return pa_ds.dataset(paths, schema=schema, filesystem=filesystem, format="parquet")

    def count_rows(self, table: str, start: date | None = None, end: date | None = None) -> int:
        """Rows of the days from ``start`` on, before ``end``, read from the footers of their files; 0 without one."""
        files = self.files(table, start, end)
        return int(self.dataset(files).count_rows()) if files else 0

    def read(
        self, table: str, columns: Sequence[str] | None = None, start: date | None = None, end: date | None = None
    ) -> pa.Table:
        """Read a table; of a partitioned one, the days with ``start <= day < end``, in day order.

        Raises:
            LakeError: the table, or every day asked for, is missing.
        """
        paths = self.files(table, start, end)
        if not paths:
            raise self._missing(table)
        selected = list(columns) if columns is not None else None
        filesystem, _ = open_filesystem(self.root)
        parts = [
            pq.read_table(path.removeprefix("s3://"), columns=selected, filesystem=filesystem, partitioning=None)
            for path in paths
        ]
        return pa.concat_tables(parts, promote_options="default")

    def _day_file(self, table: str, day: date) -> tuple[pa_fs.FileSystem, str]:
        filesystem, root = open_filesystem(self.root)
        return filesystem, f"{root}/{table}/date={day.isoformat()}/part-0.parquet"

    def _missing(self, table: str) -> LakeError:
        return LakeError(
            f"{self.uri(table)} holds nothing for the days asked for; materialise the asset {table!r} first"
        )

    def _write(self, relative: str, data: pa.Table) -> str:
        def write(path: str, filesystem: pa_fs.FileSystem) -> None:
            options: dict[str, Any] = {"compression": "zstd", "filesystem": filesystem}
            pq.write_table(data, path, **options)

        return self._replace(relative, write)

    def _replace(self, relative: str, write: Callable[[str, pa_fs.FileSystem], None]) -> str:
        """Let ``write`` make the file under a temporary name, then move it into place."""
        filesystem, root = open_filesystem(self.root)
        target = f"{root}/{relative}"
        filesystem.create_dir(posixpath.dirname(target), recursive=True)
        # A leading underscore hides the half-written file from Hive, Spark and DuckDB globs of part-*.parquet.
        temporary = f"{posixpath.dirname(target)}/_writing-{uuid.uuid4().hex}"
        try:
            write(temporary, filesystem)
            filesystem.move(temporary, target)
        except BaseException:
            if filesystem.get_file_info(temporary).type != pa_fs.FileType.NotFound:
                filesystem.delete_file(temporary)
            raise
        return f"{self.root.rstrip('/')}/{relative}"
