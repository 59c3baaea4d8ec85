"""The start of a data file: its columns, a sample of its rows, and its delimiter."""

import csv
import re
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.ingest.files import JSON_SUFFIXES, Folder, SourceFile, stem_of
from recsys_assets.ingest.rows import flatten, normalise
from recsys_assets.ingest.source import SourceError
from recsys_assets.ingest.tabular import parse_csv, read_header, read_json_text

HEAD_BYTES: Final = 1 << 18
SAMPLED_FILES: Final = 20
"""Files of one kind (names that differ in digits only) that are opened to recognise the format."""

WINDOWS: Final = "cp1252"

_DELIMITERS = (",", ";", "\t", "|")
_VALUE = r"^\s*(-?\d[\d.,:]*|\d{4}-\d{2}-\d{2}.*)\s*$"


@dataclass(frozen=True)
class FileHead:
    """The start of a file.

    Attributes:
        names: column names; empty when the file cannot be read or has no header.
        sample: its first rows; text columns from CSV.
        delimiter: of a CSV file.
        encoding: of a CSV file, as far as this start tells; see `find_encoding`.
        problem: why it cannot be read.
    """

    file: SourceFile
    names: tuple[str, ...] = ()
    sample: pa.Table = field(default_factory=lambda: pa.table({}))
    delimiter: str = ","
    encoding: str = "ascii"
    problem: SourceError | None = None

    @property
    def normalised(self) -> frozenset[str]:
        """The column names as `rows.normalise` writes them; nested columns also as ``outer_inner``."""
        return frozenset(normalise(name) for name in (*self.names, *flatten(self.sample).column_names))


def find_encoding(data: bytes) -> str:
    """``ascii``, ``utf-8``, ``cp1252`` (Windows; Latin-1 text is nearly always valid in it), or empty: none of them.

    UTF-8 that is damaged in a few places is none of them: as cp1252 all its letters with accents would be wrong.
    """
    if data.isascii():
        return "ascii"
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    if not damaged:
        return "utf-8"
    if len(re.findall(r"[^\x00-\x7f]", text)) >= 2 * damaged:
        return ""
    try:
        data.decode(WINDOWS)
    except UnicodeDecodeError:
        return ""
    return WINDOWS


def read_heads(folder: Folder) -> list[FileHead]:
    """The heads of the folder's data files; of files whose names differ in digits only, the first `SAMPLED_FILES`."""
    files, _ = folder.entries(recursive=True)
    seen: dict[str, int] = {}
    heads = []
    for file in files:
        if stem_of(file.name.lower()) is None:
            continue
        kind = re.sub(r"\d+", "*", file.name)
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= SAMPLED_FILES:
            heads.append(_read_head(folder, file))
    return heads


def _read_head(folder: Folder, file: SourceFile) -> FileHead:
    label, name = folder.label(file.name), file.name.lower()
    try:
        if name.endswith(".parquet"):
            parquet = pq.ParquetFile(pa.BufferReader(folder.read(file)))
            batch = next(parquet.iter_batches(batch_size=2000), None)
            rows = pa.table(batch) if batch is not None else parquet.schema_arrow.empty_table()
            return FileHead(file, tuple(rows.column_names), rows)
        head = folder.head(file, HEAD_BYTES)
        if not head:
            folder.read(file)  # says what is wrong with an empty file
        whole_lines = head if len(head) < HEAD_BYTES else head[: head.rfind(b"\n") + 1]
        if stem_of(name, JSON_SUFFIXES) is not None:
            sample = read_json_text(whole_lines.decode("utf-8", "replace"), file.name).table
            return FileHead(file, tuple(filter(None, sample.column_names)), sample)
        return _csv_head(file, whole_lines, label)
    except SourceError as error:
        return FileHead(file, problem=error)
    except (OSError, pa.ArrowException) as error:
        return FileHead(file, problem=SourceError(f"{label}: not a readable Parquet file ({error}); deliver it again"))


def _csv_head(file: SourceFile, head: bytes, label: str) -> FileHead:
    encoding = find_encoding(head)
    text = head.decode(WINDOWS).encode() if encoding == WINDOWS else head.removeprefix(b"\xef\xbb\xbf")
    line = re.split(r"[\r\n]", text.decode("utf-8", "replace"), maxsplit=1)[0]
    fields = {sign: next(csv.reader([line], delimiter=sign), []) for sign in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda sign: len(fields[sign]))
    if any(re.match(_VALUE, value) for value in fields[delimiter]):
        return FileHead(file, delimiter=delimiter, encoding=encoding)
    names = read_header(text, label, delimiter)
    try:
        rows = parse_csv(
            text.decode("utf-8", "replace").encode(), names, label=label, base_name=file.name, skip_rows=1,
            delimiter=delimiter,
        )  # fmt: skip
    except SourceError:
        # A quoted field may lie across the end of the head; the header is enough.
        empty = pa.table({name: pa.array([], pa.string()) for name in names})
        return FileHead(file, tuple(names), empty, delimiter, encoding)
    return FileHead(file, tuple(names), rows.table, delimiter, encoding)
