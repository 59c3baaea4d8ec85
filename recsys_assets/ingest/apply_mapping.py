"""Applies a `Mapping` to the rows of one file: columns, event names, rows to set aside, and values in plain form."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import (
    UnusableIds,
    cast_where_clean,
    is_text,
    parse_booleans,
    parse_numbers,
    parse_timestamps,
    plain_numbers,
    read_ids,
    read_text,
)
from recsys_assets.ingest.mapping import CANONICAL, GENERIC, IGNORE, Mapping, SetAside, TableMapping
from recsys_assets.ingest.preset_steps import PREPARE
from recsys_assets.ingest.rows import add_generated_ids, explode_items, fill_from_first_line, lookup
from recsys_assets.ingest.source import SourceError
from recsys_assets.ingest.tabular import Rows, set_aside_rows
from recsys_assets.ingest.vocabulary import EVENT_NAMES
from recsys_assets.schema import INTERACTIONS, TableContract, with_column
from recsys_assets.verdict import ROW_TOLERANCE, refuses_delivery

IGNORED: Final = "the event is no interaction"

_CANONICAL_DERIVED = {
    "name": ("name", "product_name", "product_title", "title"),
    "category": ("category", "product_category", "category_name"),
    "brand": ("brand",),
    "price": ("price",),
}
"""Columns of canonical interactions from which products are derived where there is no catalogue."""

_NUMBERS = tuple(field.name for field in INTERACTIONS.schema if pa.types.is_floating(field.type))


@dataclass(frozen=True)
class MappedRows:
    """Rows of one or several files after the mapping.

    Attributes:
        table: canonical columns where the files have them, and columns ``products.<name>`` and ``users.<name>`` from
            which products and users are derived. Values that could be read are plain text or typed.
        files, numbers: int [table.num_rows], position of the file in the list that was read, and row number in it.
        set_aside: the other rows, with ``SET_ASIDE_SCHEMA``.
    """

    table: pa.Table
    files: np.ndarray[Any, np.dtype[np.int64]]
    numbers: np.ndarray[Any, np.dtype[np.int64]]
    set_aside: pa.Table


def map_events(rows: Rows, mapping: Mapping, base_name: str, label: str) -> MappedRows:
    """One file's interactions as canonical columns; ``label`` names the file in messages. Raises `SourceError`."""
    table = mapping.interactions
    raw, numbers = explode_items(rows.table, rows.numbers, table, label)
    if table.fill_from_first_line:
        raw = fill_from_first_line(raw, table.order)
    prepare = PREPARE.get((mapping.preset, "interactions"))
    delivered, raw = raw, prepare(raw) if prepare else raw
    selected = _select(raw, INTERACTIONS, table, label, strict=mapping.preset != CANONICAL)
    selected = _with_event_names(selected, table)
    reasons = _reasons(raw, selected, table)
    mapped = _read_values(selected, table, label, numbers)
    mapped = add_generated_ids(mapped, lookup(raw, table.order.split("|")) if table.order else None)
    for role in ("products", "users"):
        for name, columns in derived_columns(mapping, role).items():
            if (column := lookup(raw, columns)) is not None:
                mapped = mapped.append_column(f"{role}.{name}", column)
    kept = np.asarray(pc.is_null(reasons))
    excluded = delivered.filter(pa.array(~kept)).to_pylist()
    aside = set_aside_rows(
        base_name, zip(numbers[~kept].tolist(), reasons.drop_null().to_pylist(), excluded, strict=True)
    )
    files = np.zeros(int(kept.sum()), np.int64)
    return MappedRows(mapped.filter(pa.array(kept)), files, numbers[kept], pa.concat_tables([aside, rows.malformed]))


def map_entities(rows: Rows, mapping: Mapping, contract: TableContract, label: str) -> pa.Table:
    """The well formed rows of one catalogue or user file with all canonical columns; `recsys check` names the others.

    Raises:
        SourceError: no id column, or too many rows (`ROW_TOLERANCE`) that are malformed or whose values do not fit
            their column.
    """
    (key,) = contract.required
    table: TableMapping = getattr(mapping, contract.name)
    prepare = PREPARE.get((mapping.preset, contract.name))
    if refuses_delivery(rows.malformed.num_rows, rows.count, rows.count, ROW_TOLERANCE):
        first = rows.malformed.slice(0, 1).to_pylist()[0]
        raise SourceError(
            f"{label}: {rows.malformed.num_rows:,} of {rows.count:,} rows are malformed, the first is row "
            f"{first['source_row']} ({first['reason']}: {first['raw']}); repair them and deliver the file again"
        )
    raw = prepare(rows.table) if prepare else rows.table
    selected = _select(raw, contract, table, label, strict=False)
    if key not in selected.column_names:
        raise SourceError(f"{label}: required column(s) missing: {key}; add it")
    return _typed(selected, contract, table, label, rows.numbers)


def derived_columns(mapping: Mapping, role: str) -> dict[str, tuple[str, ...]]:
    """Columns of the events from which a table without files is derived: canonical column -> columns.

    Without a line in the mapping, the price of a product is that of its events, except in the formats of shop systems,
    where that can be the price of a line. Canonical files also give products the name, category and brand of events.
    """
    table: TableMapping = getattr(mapping, role)
    if table.files:
        return {}
    canonical = mapping.preset == CANONICAL
    usual = _CANONICAL_DERIVED if canonical else {}
    if mapping.preset in (CANONICAL, GENERIC) and "price" in mapping.interactions.columns:
        usual = {**usual, "price": mapping.interactions.columns["price"]}
    # A canonical mapping names every column of a catalogue as itself: that says nothing about the events.
    given = {name: columns for name, columns in table.columns.items() if not (canonical and columns == (name,))}
    found = {**usual, **given} if role == "products" else given
    return {name: columns for name, columns in found.items() if name not in ("product_id", "user_id", "available")}


def _select(raw: pa.Table, contract: TableContract, table: TableMapping, label: str, *, strict: bool) -> pa.Table:
    """The mapped columns and constants in the contract's order.

    Raises:
        SourceError: a required column is missing, or with ``strict`` any mapped one.
    """
    columns: dict[str, Any] = {}
    absent = []
    for name in contract.schema.names:
        if name in table.constants:
            columns[name] = pa.chunked_array([pa.repeat(pa.scalar(table.constants[name]), raw.num_rows)])
        elif name in table.columns:
            column = lookup(raw, table.columns[name])
            if column is not None:
                columns[name] = column
            else:
                absent.append(" or ".join(table.columns[name]))
    absent += [name for name in table.required if lookup(raw, (name,)) is None and name not in absent]
    if absent and strict:
        raise SourceError(
            f"{label}: column(s) missing: {', '.join(absent)}; the file has {', '.join(raw.column_names)}",
            remedy="deliver the file with them, or correct [columns] in mapping.toml",
        )
    if not columns:
        raise SourceError(
            f"{label}: none of its columns ({', '.join(raw.column_names)}) is a column of {contract.name}; the "
            f"file needs a header and the canonical names: {', '.join(contract.schema.names)}",
            remedy="or name its columns with --map, for example --map user_id=customer",
        )
    return pa.table(columns)


def _read_values(
    mapped: pa.Table, table: TableMapping, label: str, numbers: np.ndarray[Any, np.dtype[np.int64]]
) -> pa.Table:
    """Values in plain form: ids trimmed, numbers with a point, times in UTC; what cannot be read stays as it is."""
    columns = {}
    for name in mapped.column_names:
        column = mapped[name]
        if name in _NUMBERS:
            column = _read_numbers(column, table.decimal)
        elif name == "timestamp":
            column = _read_times(column, table)
        elif pa.types.is_nested(column.type):
            column = read_text(column)
        else:
            try:
                column = read_ids(column)
                if name == "user_id":  # e-mail addresses do not distinguish upper case
                    column = pc.if_else(pc.match_substring(column, "@"), pc.utf8_lower(column), column)
            except UnusableIds as error:
                raise SourceError(
                    f"{label}: row {numbers[error.row]}, column {name}: {error}", remedy="export the ids as text"
                ) from error
        columns[name] = column
    return pa.table(columns)


def _typed(
    mapped: pa.Table, contract: TableContract, table: TableMapping, label: str,
    numbers: np.ndarray[Any, np.dtype[np.int64]],
) -> pa.Table:  # fmt: skip
    """All columns of ``contract`` with their types; up to `ROW_TOLERANCE` of a column's values may not fit."""
    plain = _read_values(mapped.select([contract.required[0]]), table, label, numbers)
    for name in mapped.column_names:
        if name == contract.required[0]:
            continue
        kind, column = contract.schema.field(name).type, mapped[name]
        given = read_text(column)
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            read = parse_numbers(column, table.decimal)
            read = pc.if_else(pc.is_finite(read), read, None)
            read = pc.round(read).cast(kind) if pa.types.is_integer(kind) else read
        elif pa.types.is_date(kind):
            read = parse_timestamps(_read_times(column, table)).cast(kind)
        else:
            read = cast_where_clean(pa.table({name: column}), contract)[name]
            if read.type != kind:
                read = parse_booleans(column) if pa.types.is_boolean(kind) else given
        bad = pc.and_(pc.is_valid(given), pc.is_null(read)).to_numpy(zero_copy_only=False)
        if refuses_delivery(int(bad.sum()), len(bad) - given.null_count, len(bad), ROW_TOLERANCE):
            first = int(np.flatnonzero(bad)[0])
            raise SourceError(
                f"{label}: {contract.name}.{name}: {int(bad.sum()):,} of {len(bad):,} values are no {kind}; "
                f"the first is {given[first].as_py()!r} in row {numbers[first]}",
                remedy="correct the values, or leave them empty",
            )
        plain = plain.append_column(name, read)
    return contract.conform(plain)


def _read_numbers(column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    """Numbers where every value is one; otherwise text, in plain form where a value can be read."""
    if not is_text(column.type):
        return column
    plain = plain_numbers(column, decimal)
    text = read_text(column)
    return plain.cast(pa.float64()) if plain.null_count == text.null_count else pc.coalesce(plain, text)


def _read_times(column: pa.ChunkedArray, table: TableMapping) -> pa.ChunkedArray:
    """Times in UTC where all can be read; text, with those that can be read in ISO 8601, where some cannot."""
    moments = parse_timestamps(column, day_first=table.day_first, timezone=table.timezone)
    given = read_text(column)
    if moments.null_count == given.null_count:
        return moments
    if table.day_first is None and table.timezone == "UTC":
        return given
    return pc.coalesce(pc.strftime(moments, format="%Y-%m-%dT%H:%M:%SZ"), given)


def _with_event_names(mapped: pa.Table, table: TableMapping) -> pa.Table:
    if "interaction_type" not in mapped.column_names:
        return mapped
    names = read_text(mapped["interaction_type"])
    usual = {} if table.other_events == "ignore" else EVENT_NAMES
    known = {**usual, **{name.strip().lower(): kind for name, kind in table.event_names.items()}}
    keys = pa.array(known)
    position = pc.index_in(pc.utf8_lower(names), keys)
    translated = pa.chunked_array([pa.array(list(known.values())).take(position.combine_chunks())])
    rest = pa.scalar(IGNORE) if table.other_events == "ignore" else names
    return with_column(mapped, "interaction_type", pc.if_else(pc.is_valid(translated), translated, rest))


def _reasons(raw: pa.Table, mapped: pa.Table, table: TableMapping) -> pa.ChunkedArray:
    """For each row the first reason to set it aside, or null."""
    reasons: pa.ChunkedArray = pa.chunked_array([pa.nulls(raw.num_rows, pa.string())])
    for rule in reversed(table.set_aside):
        column = mapped[rule.column] if rule.column in mapped.column_names else lookup(raw, (rule.column,))
        if column is not None:
            reasons = pc.if_else(_applies(rule, column, table.decimal), rule.reason, reasons)
    if "interaction_type" in mapped.column_names:
        ignored = pc.fill_null(pc.equal(read_text(mapped["interaction_type"]), IGNORE), False)
        reasons = pc.if_else(ignored, IGNORED, reasons)
    return reasons


def _applies(rule: SetAside, column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    text = read_text(column)
    found = pa.chunked_array([pa.repeat(pa.scalar(False), len(text))])
    if rule.missing:
        found = pc.or_(found, pc.is_null(text))
    if rule.values:
        found = pc.or_(found, pc.is_in(pc.utf8_lower(text), pa.array([value.lower() for value in rule.values])))
    if rule.pattern:
        found = pc.or_(found, pc.fill_null(pc.match_substring_regex(text, rule.pattern), False))
    if rule.not_positive:
        found = pc.or_(found, pc.fill_null(pc.less_equal(parse_numbers(column, decimal), 0), False))
    return found
