"""What the files of the interactions look like, in words."""

import re
from bisect import bisect
from collections.abc import Sequence

from recsys_assets.ingest.file_heads import FileHead
from recsys_assets.ingest.mapping import TableMapping
from recsys_assets.ingest.rows import lookup


def describe_formats(table: TableMapping, heads: Sequence[FileHead]) -> dict[str, str]:
    """What the interaction files look like: delimiter, decimal sign, encoding, times and ids; name -> value."""
    times = next((texts for head in heads if (texts := _texts(head, table, "timestamp"))), [])
    names = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
    return {
        "delimiter": names.get(table.delimiter, table.delimiter),
        "decimal sign": "comma" if table.decimal == "," else "point",
        "encoding": table.encoding,
        "times": _time_format(times, table),
        "ids": "made from the content of each row" if "interaction_id" not in _given(heads, table) else "from the file",
    }


def _given(heads: Sequence[FileHead], table: TableMapping) -> set[str]:
    names = {name for head in heads for name in head.names}
    return {column for column, sources in table.columns.items() if set(sources) & names}


def _texts(head: FileHead, table: TableMapping, name: str) -> list[str]:
    column = lookup(head.sample, table.columns.get(name, ()))
    return [] if column is None else [str(value) for value in column.slice(0, 50).to_pylist() if value is not None]


def _time_format(texts: Sequence[str], table: TableMapping) -> str:
    if not texts:
        return "unknown"
    text = texts[0].strip()
    zone = f"read as {table.timezone}"
    if re.fullmatch(r"\d{9,19}(\.\d+)?", text):
        units = ("seconds", "milliseconds", "microseconds", "nanoseconds")
        return f"unix {units[bisect((12, 15, 18), len(text.partition('.')[0]))]} ({text})"
    if re.search(r"(Z|UTC|GMT|[+-]\d{2}:?\d{2})$", text):
        zone = "with a zone"
    form = "ISO 8601" if re.match(r"\d{4}-\d{2}-\d{2}", text) else "day first" if table.day_first else "month first"
    form = "text" if form == "month first" and table.day_first is None else form
    return f"{form}, {zone} ({text})"
