"""Columns of the files that the mapping does not use, and which of them may name the events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.data_check.report import Problem
from recsys_assets.ingest.apply_mapping import derived_columns
from recsys_assets.ingest.columns import parse_numbers, parse_timestamps, read_text
from recsys_assets.ingest.file_heads import FileHead
from recsys_assets.ingest.files import Folder
from recsys_assets.ingest.mapping import CANONICAL, GENERIC, Mapping, TableMapping
from recsys_assets.ingest.preset_steps import PREPARE
from recsys_assets.ingest.rows import flatten, normalise
from recsys_assets.ingest.sample_formats import CURRENCY_COLUMNS
from recsys_assets.ingest.vocabulary import EVENT_NAMES

MAX_KINDS: Final = 20
ROWS_PER_KIND: Final = 50
"""A column of few values has at most ``MAX_KINDS`` and, on average, this many rows of each."""

SHOWN_COLUMNS: Final = 12


@dataclass(frozen=True)
class UnusedColumn:
    """A column that nothing reads, as the first rows of its file show it.

    Attributes:
        file: name of the file.
        name: of the column.
        values: its values, the most frequent first, where there are 2 to `MAX_KINDS`; else empty.
        rows: rows of the sample that have a value.
        is_text: whether less than half of the values are numbers or times.
    """

    file: str
    name: str
    values: tuple[str, ...]
    rows: int
    is_text: bool

    def __str__(self) -> str:
        if not self.values:
            return self.name
        more = ", ..." if len(self.values) > 3 else ""
        return f"{self.name} ({len(self.values)} values: {', '.join(self.values[:3])}{more})"


def unused_columns(heads: Sequence[FileHead], mapping: Mapping, role: str) -> list[UnusedColumn]:
    """The columns of these files of one table that are not used; none for formats that code of ours reads."""
    table: TableMapping = getattr(mapping, role)
    if (mapping.preset, role) in PREPARE or table.items or table.header:
        return []
    used = {normalise(name) for name in _used(mapping, role)}
    found: dict[str, UnusedColumn] = {}
    for head in heads:
        sample = flatten(head.sample)
        for name in sample.column_names:
            if normalise(name) not in used and name not in found:
                found[name] = _describe(head.file.name, name, sample[name])
    return list(found.values())


def shown(columns: Sequence[UnusedColumn]) -> str:
    """The columns in one line."""
    more = f" and {len(columns) - SHOWN_COLUMNS} more" if len(columns) > SHOWN_COLUMNS else ""
    return ", ".join(map(str, columns[:SHOWN_COLUMNS])) + more


def hidden_events(columns: Sequence[UnusedColumn], mapping: Mapping, folder: Folder) -> list[Problem]:
    """A warning for columns that may name the events where every event is taken for the same type.

    Columns with a usual name of an event come alone where there are any.
    """
    assumed = mapping.interactions.constants.get("interaction_type")
    if assumed is None or mapping.preset not in (CANONICAL, GENERIC):
        return []
    few = [c for c in columns if c.values and c.is_text and c.rows >= ROWS_PER_KIND * len(c.values)]
    named = [column for column in few if any(value.lower() in EVENT_NAMES for value in column.values)]
    return [
        Problem(
            False,
            f"{folder.label(column.file)}, {column.name}",
            f"every event is taken for {assumed!r}, and this column is not used; it has {len(column.values)} values in "
            f"the first {column.rows:,} rows ({', '.join(map(repr, column.values[:8]))}) and may name the events",
            f'if it does, add interaction_type = "{column.name}" under [interactions.columns] in mapping.toml and '
            f'delete interaction_type = "{assumed}" under [interactions.constants], or check again with '
            f"--map 'interaction_type={column.name}'",
        )
        for column in (named or few)[:3]
    ]


def _used(mapping: Mapping, role: str) -> Iterator[str]:
    table: TableMapping = getattr(mapping, role)
    sources = list(table.columns.values())
    if role == "interactions":
        sources += [names for other in ("products", "users") for names in derived_columns(mapping, other).values()]
    for names in sources:
        yield from names
    yield from (rule.column for rule in table.set_aside)
    yield from (*table.order.split("|"), *table.required, *CURRENCY_COLUMNS)


def _describe(file: str, name: str, column: pa.ChunkedArray) -> UnusedColumn:
    text = read_text(column).drop_null()
    counts = sorted(pc.value_counts(text).to_pylist(), key=lambda item: (-item["counts"], item["values"]))
    values = tuple(item["values"] for item in counts) if 2 <= len(counts) <= MAX_KINDS else ()
    plain = [parse_numbers(text), parse_timestamps(text)] if values else []
    is_text = all(len(read) - read.null_count < len(text) / 2 for read in plain)
    return UnusedColumn(file, name, values, len(text), is_text)
