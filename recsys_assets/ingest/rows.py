"""Steps on the rows of one file: finding columns, one row per item, values of an order's first line, generated ids."""

import fnmatch
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import occurrence_numbers, read_text
from recsys_assets.ingest.mapping import TableMapping
from recsys_assets.ingest.source import SourceError
from recsys_assets.schema import INTERACTIONS

_PAIR: Final = re.compile(r"(?:^|\|)\s*([A-Za-z_ ]+?)\s*:([^|]*)")
"""One ``name:value`` of items written as text, such as ``name:Mug|product_id:12|quantity:2``."""


def normalise(name: str) -> str:
    """A column name in lower case without accents, and ``_`` for everything that is no letter or digit.

    ``Order #`` is ``order``, ``Stückpreis`` is ``stuckpreis``.
    """
    plain = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[\W_]+", "_", "".join(c for c in plain if not unicodedata.combining(c))).strip("_")


def lookup(raw: pa.Table, names: Iterable[str]) -> pa.ChunkedArray | None:
    """The column with one of ``names``, compared as `normalise` does; of several, per row the first with a value.

    ``None`` when the table has none of them.
    """
    by_name = {normalise(name): name for name in reversed(raw.column_names)}
    found = [raw[by_name[normalise(name)]] for name in dict.fromkeys(names) if normalise(name) in by_name]
    if not found:
        return None
    if len(found) == 1:
        return found[0]
    return pc.coalesce(*(read_text(column) for column in found))


def flatten(raw: pa.Table) -> pa.Table:
    """Structures become columns named ``outer.inner``; lists stay."""
    while any(pa.types.is_struct(field.type) for field in raw.schema):
        raw = raw.flatten()
    return raw


def explode_items(
    raw: pa.Table, numbers: npt.NDArray[np.int64], table: TableMapping, label: str
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """One row per item, and the row numbers repeated alike; a row without items stays one row.

    Fields of an item become columns ``items.<field>``. ``table.items`` names a nested column, or text columns whose
    items are ``name:value|name:value`` (several separated by ``;``) or match ``table.item_pattern``.
    """
    raw = flatten(raw)
    if not table.items:
        return raw, numbers
    names = [name for name in raw.column_names if fnmatch.fnmatchcase(normalise(name), normalise_pattern(table.items))]
    if not names:
        raise SourceError(
            f"{label}: no column {table.items} with the items; the file has {', '.join(raw.column_names)}",
            remedy="correct items in mapping.toml",
        )
    column = raw[names[0]]
    if len(names) == 1 and pa.types.is_list(column.type):
        parents, items = _nested_items(column)
    else:
        parents, items = _text_items([raw[name].to_pylist() for name in names], table.item_pattern)
    rest = raw.drop_columns(names).take(pa.array(parents))
    for name in items.column_names:
        rest = rest.append_column(f"items.{name}", items[name])
    return rest, numbers[parents]


def normalise_pattern(pattern: str) -> str:
    """`normalise` for each part of a pattern with ``*``."""
    return "*".join(normalise(part) + ("_" if part.endswith("_") else "") for part in pattern.split("*"))


def fill_from_first_line(raw: pa.Table, order: str) -> pa.Table:
    """Missing values of a line become those of the first line with the same value in the column ``order``."""
    key = lookup(raw, order.split("|"))
    if key is None:
        return raw
    codes = read_text(key).combine_chunks().dictionary_encode(null_encoding="encode").indices
    numbers = codes.to_numpy(zero_copy_only=False)
    _, first, back = np.unique(numbers, return_index=True, return_inverse=True)
    first_line = pa.array(first[back])
    columns = {}
    for name in raw.column_names:
        text = read_text(raw[name]) if not pa.types.is_nested(raw[name].type) else raw[name]
        columns[name] = pc.coalesce(text, text.take(first_line)) if text is not raw[name] else text
    return pa.table(columns)


def add_generated_ids(mapped: pa.Table, order: pa.ChunkedArray | None) -> pa.Table:
    """``mapped`` with an ``interaction_id`` made from the content where it has none.

    The id is a hash of the canonical columns and the order, and a number that counts equal rows: delivering a file
    again gives the same ids, and a line that an order repeats stays two events.
    """
    if "interaction_id" in mapped.column_names:
        return mapped
    import pandas as pd

    names = [name for name in INTERACTIONS.schema.names if name in mapped.column_names]
    content = mapped.select(names)
    content = content if order is None else content.append_column("order", order.cast(pa.string()))
    columns = {name: _hashable(content[name]) for name in content.column_names}
    hashes = pa.array(pd.util.hash_pandas_object(pd.DataFrame(columns), index=False).to_numpy())
    numbers = pa.array(occurrence_numbers(hashes))
    ids = pc.binary_join_element_wise(hashes.cast(pa.string()), numbers.cast(pa.string()), "-")
    return mapped.add_column(0, "interaction_id", pa.chunked_array([ids]))


def _hashable(column: pa.ChunkedArray) -> Any:
    """A column as NumPy values that do not depend on the other rows: floats, microseconds, or text."""
    if pa.types.is_timestamp(column.type):
        return pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    if pa.types.is_floating(column.type):
        return pc.fill_null(column, 0.0).to_numpy()
    return pc.fill_null(column.cast(pa.string()), "").to_pandas().to_numpy(dtype=object)


def _nested_items(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.Table]:
    lists = column.combine_chunks()
    empty = pc.fill_null(pc.equal(pc.list_value_length(lists), 0), True)
    # A list with one null keeps the row of an event without items.
    lists = pc.if_else(empty, pa.scalar([None], lists.type), lists)
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    items = pc.list_flatten(lists)
    table = pa.table({"value": items}) if not pa.types.is_struct(items.type) else None
    if table is None:
        table = pa.table({field.name: pc.struct_field(items, field.name) for field in items.type})
    return parents, flatten(table)


def _text_items(columns: list[list[Any]], pattern: str) -> tuple[npt.NDArray[np.int64], pa.Table]:
    parents: list[int] = []
    items: list[dict[str, str]] = []
    compiled = re.compile(pattern) if pattern else None
    for row, texts in enumerate(zip(*columns, strict=True)):
        before = len(items)
        for text in filter(None, texts):
            if compiled:
                items += [match.groupdict() for match in compiled.finditer(text)]
            else:
                items += [found for part in text.split(";") if (found := dict(_PAIR.findall(part)))]
        if len(items) == before:
            items.append({})
        parents += [row] * (len(items) - before)
    names = dict.fromkeys(name for item in items for name in item)
    found = {name: pa.array([item.get(name) for item in items], pa.string()) for name in names}
    return np.array(parents, dtype=np.int64), pa.table(found)
