"""Reads a shop from one or a few files into canonical tables; optional columns may be missing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.interactions import INTERACTION_LABELS, InteractionType
from recsys_assets.ingest.columns import cast_where_clean, parse_numbers, parse_timestamps
from recsys_assets.ingest.detection import find_mapping
from recsys_assets.ingest.files import Folder, SourceFile, stem_of
from recsys_assets.ingest.mapped_source import MappedSource
from recsys_assets.ingest.source import SourceError
from recsys_assets.ingest.tabular import NO_ROWS_SET_ASIDE, read_table, stack_tables
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS, TableContract

TABLE_SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")

NEEDED: Final = ("user_id", "product_id", "timestamp")
"""The columns of interactions without which nothing can be learned; the others may be missing."""


@dataclass(frozen=True)
class ShopTables:
    """What the files hold.

    Attributes:
        interactions, products, users: canonical tables; ``users`` is ``None`` where no file was given.
        notes: what was missing, assumed or left out, in sentences.
    """

    interactions: pa.Table = field(repr=False)
    products: pa.Table = field(repr=False)
    users: pa.Table | None = field(repr=False)
    notes: tuple[str, ...]


def read_shop(interactions: Path, products: Path, users: Path | None = None) -> ShopTables:
    """Read a shop. Each path is a CSV or Parquet file, or a folder of such files.

    Interactions need `NEEDED`. Without ``interaction_type`` a row with a rating is a ``rating`` and any other a
    ``purchase``. Rows without user, product or a timestamp that can be understood, and rows of an unknown type, are
    left out and counted in the notes; so are values of optional columns that do not have the canonical type.

    Raises:
        SourceError: a file cannot be read, lacks a needed column, or has no usable row; the message names the file,
            the rule and the remedy.
    """
    notes: list[str] = []
    return ShopTables(
        interactions=_interactions(interactions, notes.append),
        products=_entities(products, PRODUCTS, notes.append),
        users=None if users is None else _entities(users, USERS, notes.append),
        notes=tuple(notes),
    )


Note = Callable[[str], None]


def _read(path: Path, contract: TableContract, needed: tuple[str, ...], note: Note) -> pa.Table:
    if path.is_dir():
        folder = Folder(str(path))
        files = [file for file in folder.entries(recursive=True)[0] if stem_of(file.name, TABLE_SUFFIXES) is not None]
        if not files:
            raise SourceError(
                f"{path}: holds no {', '.join(TABLE_SUFFIXES)} file; give a file or a folder of such files"
            )
    elif not path.is_file():
        raise SourceError(f"{path}: there is no such file; give the {contract.name} as CSV or Parquet")
    else:
        folder = Folder(str(path.parent))
        files = [SourceFile(str(path.resolve()), path.name, path.stat().st_size, path.stat().st_mtime_ns)]
        if stem_of(path.name, TABLE_SUFFIXES) is None:
            raise SourceError(f"{path}: is neither of {', '.join(TABLE_SUFFIXES)}; write the {contract.name} as one")
    parts = [read_table(folder, file) for file in files]
    tables, malformed = [part.table for part in parts], [part.malformed for part in parts]
    known = [name for name in contract.schema.names if any(name in table.column_names for table in tables)]
    if not sum(part.count for part in parts):
        raise SourceError(f"{path}: a header but no rows; deliver the rows, or delete the file if there were none")
    table = stack_tables(
        [table.select([name for name in known if name in table.column_names]) for table in tables], str(path)
    )
    refused = pa.concat_tables([NO_ROWS_SET_ASIDE, *malformed]).num_rows
    absent = [name for name in needed if name not in known]
    if absent and contract is INTERACTIONS and (other := _another_format(path, note)) is not None:
        return other
    if absent:
        raise SourceError(
            f"{path}: required column(s) missing: {', '.join(absent)}; of the canonical names the file has "
            f"{', '.join(known) or 'none'}; rename or add the columns"
        )
    if refused:
        note(f"{path.name}: {refused:,} rows with too few or too many fields left out")
    return table


def _another_format(path: Path, note: Note) -> pa.Table | None:
    """The interactions of an export that is recognised by its header; ``None`` for one that is not."""
    folder = Folder(str(path))
    try:
        source = MappedSource(folder, find_mapping(folder))
        layout = source.layout()
    except SourceError:
        return None
    rows = source.read_events(layout.whole or [file for files in layout.by_day.values() for file in files])
    note(f"{path.name}: taken for {source.name}; {rows.set_aside.num_rows:,} rows set aside")
    return rows.table.select([name for name in INTERACTIONS.schema.names if name in rows.table.column_names])


def _interactions(path: Path, note: Note) -> pa.Table:
    table = _read(path, INTERACTIONS, NEEDED, note)
    if "interaction_type" not in table.column_names:
        table = table.append_column("interaction_type", _assumed_types(table))
        kinds = ", ".join(pc.unique(table["interaction_type"]).to_pylist())
        note(f"{path.name}: no column interaction_type; every row is taken for: {kinds}")
    table = table.set_column(table.column_names.index("timestamp"), "timestamp", parse_timestamps(table["timestamp"]))
    if "interaction_id" not in table.column_names:
        table = table.append_column("interaction_id", pa.nulls(table.num_rows, pa.string()))
    table = _typed(table, INTERACTIONS, path, note)
    reasons = {
        "without user_id": _empty(table["user_id"]),
        "without product_id": _empty(table["product_id"]),
        "without a timestamp that can be understood": pc.is_null(table["timestamp"]),
        "of an unknown interaction_type": pc.invert(pc.is_in(table["interaction_type"], pa.array(INTERACTION_LABELS))),
    }
    unfit = pa.chunked_array([pa.repeat(pa.scalar(False), table.num_rows)])
    for reason, rows in reasons.items():
        count = pc.sum(rows).as_py() or 0
        if count:
            note(f"{path.name}: {count:,} of {table.num_rows:,} rows {reason} left out")
        unfit = pc.or_(unfit, rows)
    fit = table.filter(pc.invert(unfit))
    if fit.num_rows == 0:
        found = ", ".join(reason for reason, rows in reasons.items() if pc.any(rows).as_py())
        raise SourceError(
            f"{path}: no usable row among {table.num_rows:,} ({found}); timestamps are ISO 8601 or unix seconds or "
            f"milliseconds, types one of {', '.join(INTERACTION_LABELS)}"
        )
    return fit


def _entities(path: Path, contract: TableContract, note: Note) -> pa.Table:
    table = _typed(_read(path, contract, contract.required, note), contract, path, note)
    (key,) = contract.required
    empty = _empty(table[key])
    if pc.any(empty).as_py():
        note(f"{path.name}: {pc.sum(empty).as_py():,} of {table.num_rows:,} rows without {key} left out")
        table = table.filter(pc.invert(empty))
    return table


def _typed(table: pa.Table, contract: TableContract, path: Path, note: Note) -> pa.Table:
    """All canonical columns with their types; single values that do not fit become null and are counted."""
    table = cast_where_clean(table, contract)
    for index, name in enumerate(table.column_names):
        wanted = contract.schema.field(name).type
        if table[name].type == wanted or name == "timestamp":
            continue
        numbers = _numbers(table[name], wanted)
        lost = numbers.null_count - table[name].null_count
        note(f"{path.name}: {lost:,} of {table.num_rows:,} values of {name} are no {wanted} and count as missing")
        table = table.set_column(index, name, numbers)
    return contract.conform(table)


def _numbers(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if not pa.types.is_floating(wanted) and not pa.types.is_integer(wanted):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    try:
        numbers = parse_numbers(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # a list or struct has no text form
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    return pc.round(numbers).cast(wanted) if pa.types.is_integer(wanted) else numbers


def _empty(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    # Ids with a NUL character cannot be indexed (`IdMap`); no shop has them, broken exports do.
    return pc.fill_null(pc.or_(pc.equal(ids, ""), pc.match_substring(ids, "\0")), True)


def _assumed_types(table: pa.Table) -> pa.ChunkedArray:
    purchase, rating = InteractionType.PURCHASE.label, InteractionType.RATING.label
    if "rating" not in table.column_names:
        return pa.chunked_array([pa.repeat(pa.scalar(purchase), table.num_rows)])
    return pc.if_else(pc.is_valid(table["rating"]), rating, purchase)
