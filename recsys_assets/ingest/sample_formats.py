"""What a shop's files show beyond their headers: delimiter, decimal sign, dates, encoding, currency, guests."""

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from recsys_assets.ingest.columns import read_text
from recsys_assets.ingest.file_heads import WINDOWS, FileHead, find_encoding
from recsys_assets.ingest.files import CSV_SUFFIXES, Folder, SourceFile, stem_of
from recsys_assets.ingest.layout import find_layout, find_table_files, is_canonical_name, matches
from recsys_assets.ingest.mapping import CONTRACTS, Mapping, SetAside, TableMapping
from recsys_assets.ingest.rows import lookup
from recsys_assets.ingest.source import SourceError
from recsys_assets.verdict import ROW_TOLERANCE, refuses_delivery

GUEST: Final = "no user: a guest or a visitor without an id"

CURRENCY_COLUMNS: Final = (
    "currency", "order_currency", "currency_code", "order_currency_code", "currencycode", "wahrung", "waehrung",
    "devise", "moneda",
)  # fmt: skip

SCANNED_BYTES: Final = 64 << 20
"""Files of a table of at most this size are read whole to find their encoding; of larger ones, the start tells."""


def with_formats(folder: Folder, mapping: Mapping, heads: Sequence[FileHead]) -> Mapping:
    """``mapping`` with what the rows of the files show; ``heads`` are the starts of all files of ``folder``."""
    return _with_encodings(folder, _with_guests(folder, with_sample_formats(mapping, heads), heads), heads)


def with_sample_formats(mapping: Mapping, heads: Sequence[FileHead]) -> Mapping:
    """``mapping`` with the currency, and the delimiter, decimal sign and order of dates that the samples show."""
    changed: dict[str, object] = {} if mapping.currency else {"currency": _currency(heads)}
    for role in CONTRACTS:
        table: TableMapping = getattr(mapping, role)
        members = [head for head in heads if head.names and _belongs(head.file, role, table)]
        if not members or table.header:
            continue
        updates: dict[str, object] = {"delimiter": members[0].delimiter}
        texts = _sample_texts(members, table, [f.name for f in CONTRACTS[role].schema if pa.types.is_floating(f.type)])
        commas = sum(bool(re.search(r"\d,(\d{1,2}|\d{4,})\D*$", text)) for text in texts)
        points = sum(bool(re.search(r"\d\.(\d{1,2}|\d{4,})\D*$", text)) for text in texts)
        if commas > points:
            updates["decimal"] = ","
        times = _sample_texts(members, table, ["timestamp", "join_date"])
        day_first = find_day_first(times)
        if day_first is not None:
            updates["day_first"] = day_first
        changed[role] = table.model_copy(update=updates)
    return mapping.model_copy(update=changed)


def _currency(heads: Sequence[FileHead]) -> str:
    """The one ISO code in the columns of currencies; empty where there is none, or more than one."""
    columns = [column for head in heads if (column := lookup(head.sample, CURRENCY_COLUMNS)) is not None]
    codes = {str(code).strip() for column in columns for code in column.drop_null().to_pylist()} - {""}
    return codes.pop() if len(codes) == 1 and all(re.fullmatch("[A-Z]{3}", code) for code in codes) else ""


def _with_encodings(folder: Folder, mapping: Mapping, heads: Sequence[FileHead]) -> Mapping:
    """``mapping`` with the encoding of files that are not UTF-8; ``utf-8|cp1252`` where some are.

    Files that are delivered day by day stay UTF-8: there, another encoding is a fault of one delivery.
    """
    try:
        layout = find_layout(folder, mapping)
        members = {role: find_table_files(folder, mapping, role) for role in ("products", "users")}
    except SourceError:
        return mapping  # reading the files says what is wrong with them
    changed = {}
    for role, files in {"interactions": layout.whole, **members}.items():
        table: TableMapping = getattr(mapping, role)
        texts = [file for file in files if stem_of(file.name.lower(), CSV_SUFFIXES) is not None]
        if table.encoding != TableMapping().encoding or not texts:
            continue
        if sum(file.size for file in texts) <= SCANNED_BYTES:
            found = {_encoding_of(folder, file) for file in texts}
        else:
            found = {head.encoding for head in heads if head.file in texts}
        if WINDOWS in found and "" not in found:
            encoding = f"utf-8|{WINDOWS}" if "utf-8" in found else WINDOWS
            changed[role] = table.model_copy(update={"encoding": encoding})
    return mapping.model_copy(update=changed)


def _encoding_of(folder: Folder, file: SourceFile) -> str:
    try:
        return find_encoding(folder.read(file))
    except SourceError:
        return "ascii"  # nothing to read; the error comes when the rows are read


def _with_guests(folder: Folder, mapping: Mapping, heads: Sequence[FileHead]) -> Mapping:
    """``mapping`` with a rule for guests where a whole log has so many rows without a user that they are no mistake.

    Files that are delivered day by day get no such rule: there, users that are suddenly missing are a fault.
    """
    table = mapping.interactions
    members = [head for head in heads if head.names and _belongs(head.file, "interactions", table)]
    columns = [lookup(head.sample, table.columns.get("user_id", ())) for head in members]
    users = [read_text(column) for column in columns if column is not None and not pa.types.is_floating(column.type)]
    rows, missing = sum(map(len, users)), sum(int(column.null_count) for column in users)
    known = any(rule.missing for rule in table.set_aside)
    if known or not refuses_delivery(missing, rows, rows, ROW_TOLERANCE) or find_layout(folder, mapping).by_day:
        return mapping
    rules = (*table.set_aside, SetAside(reason=GUEST, column="user_id", missing=True))
    return mapping.model_copy(update={"interactions": table.model_copy(update={"set_aside": rules})})


def _belongs(file: SourceFile, role: str, table: TableMapping) -> bool:
    if table.files:
        return matches(file, table.files)
    if role == "interactions":
        return is_canonical_name(file)
    return stem_of(file.base_name) == role or file.name.startswith(f"{role}/")


def _sample_texts(heads: Sequence[FileHead], table: TableMapping, names: Sequence[str]) -> list[str]:
    texts: list[str] = []
    for head in heads[:5]:
        for name in names:
            column = lookup(head.sample, table.columns.get(name, ()))
            if column is not None and pa.types.is_string(column.type):
                texts += read_text(column.slice(0, 2000)).drop_null().to_pylist()
    return texts


def find_day_first(texts: Sequence[str]) -> bool | None:
    """Whether dates such as 31/12/2024 in ``texts`` have the day first; ``None`` when nothing tells."""
    dates = [m for text in texts if (m := re.match(r"\s*(\d{1,2})[/-](\d{1,2})[/-]\d{4}", text))]
    if any(int(found[1]) > 12 for found in dates):
        return True
    return False if any(int(found[2]) > 12 for found in dates) else None


def ambiguous_dates(heads: Sequence[FileHead], table: TableMapping) -> str | None:
    """A date of the samples that could be day or month first, when nothing tells; ``None`` otherwise."""
    texts = _sample_texts(heads, table, ["timestamp"])
    if table.day_first is not None:
        return None
    return next((text for text in texts if re.match(r"\s*\d{1,2}[/-]\d{1,2}[/-]\d{4}", text)), None)
