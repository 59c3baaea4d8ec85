"""Checks a shop's data in seconds: reads them as ingestion does and collects every problem instead of the first."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dictionary
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.ids_rule import ID_RULE
from lambda_api.interactions import INTERACTION_LABELS
from lambda_api.settings import Settings, make_settings
from recsys_assets.data_check.evaluation import judge_evaluation
from recsys_assets.data_check.formats import describe_formats
from recsys_assets.data_check.report import Problem, Report
from recsys_assets.data_check.unused import hidden_events, shown, unused_columns
from recsys_assets.ingest.apply_mapping import MappedRows
from recsys_assets.ingest.columns import parse_numbers, parse_timestamps, valid_ids
from recsys_assets.ingest.detection import AUTO, find_mapping, mapping_beside
from recsys_assets.ingest.file_heads import FileHead, read_heads
from recsys_assets.ingest.files import CSV_SUFFIXES, Folder, SourceFile, stem_of
from recsys_assets.ingest.layout import find_table_files
from recsys_assets.ingest.mapped_source import MappedSource
from recsys_assets.ingest.mapping import FILE_NAME, Mapping
from recsys_assets.ingest.registry import read_mapping
from recsys_assets.ingest.sample_formats import ambiguous_dates
from recsys_assets.ingest.source import SourceError
from recsys_assets.ingest.tabular import possible_days, read_table
from recsys_assets.schema import CLOCK_SKEW, TIMESTAMP, with_column
from recsys_assets.verdict import ROW_TOLERANCE, refuses_delivery

READ_BYTES: Final = 400_000_000
"""Interactions are read up to about this many bytes; the check of a longer log is about its first files."""

BUSY_SHARE: Final = 0.05
BUSY_EVENTS: Final = 1000
"""A shopper with more than this share and number of the events is probably a bot or a placeholder."""


def check_source(
    data: str,
    mapping: str | Mapping | None = None,
    *,
    source: str = AUTO,
    columns: Dictionary[str, str] | None = None,
    settings: Settings | None = None,
) -> Report:
    """Everything about the data at ``data`` that a person should know before a shop is built from them.

    Args:
        data: local folder or file, or ``s3://`` prefix.
        mapping: a mapping, or the path of a ``mapping.toml``; by default the one beside the data, else the headers.
        source: name of the format, or ``auto``.
        columns: canonical column of the interactions -> column of the file.
        settings: windows of the evaluation; by default those that the project starts with.

    Returns:
        The report. Bad data raise nothing: they are its problems.
    """
    folder, problems = Folder(data), list[Problem]()
    try:
        if isinstance(mapping, str):
            mapping = read_mapping(mapping)
        known = mapping or find_mapping(folder, source, columns)
        known = known.with_columns(columns) if mapping and columns else known
        rows_source = MappedSource(folder, known)
        layout = rows_source.layout()
        if mapping is None:
            problems += _other_mapping(folder)
    except SourceError as error:
        unreadable = _unreadable(folder)
        if str(error) not in map(str, unreadable):
            unreadable.insert(0, _problem_of(error, data))
        return Report(data, problems=tuple(unreadable))
    files = layout.whole or tuple(file for day in layout.by_day.values() for file in day)
    rows, sampled = _read(rows_source, files, problems)
    report = replace(_report_of_files(rows_source, files, problems), sampled=sampled)
    if rows is not None:
        problems += _problems_of_rows(rows, files, folder)
        if layout.whole and not sampled and not problems:
            with suppress(SourceError):  # reading the tables meets it again and reports it
                rows_source.remember(rows, layout.whole)
        listed = _check_tables(rows_source, problems)
        report = _with_facts(report, rows, listed, settings or make_settings({}), problems)
    return replace(report, problems=tuple(sorted(problems, key=lambda problem: not problem.blocking)))


def _report_of_files(source: MappedSource, files: Sequence[SourceFile], problems: list[Problem]) -> Report:
    """What names and heads of the files tell; adds unused columns and dates that may matter to ``problems``."""
    folder, mapping, heads = source.folder, source.mapping, read_heads(source.folder)
    members = {role: find_table_files(folder, mapping, role) for role in ("products", "users")}
    names = {role: tuple(file.name for file in found) for role, found in {"interactions": files, **members}.items()}
    by_table = {role: [head for head in heads if head.file.name in own] for role, own in names.items()}
    unused = {role: unused_columns(found, mapping, role) for role, found in by_table.items()}
    problems += hidden_events(unused["interactions"], mapping, folder)
    problems += _ambiguous_dates(by_table["interactions"], mapping, folder)
    return Report(
        location=folder.uri,
        mapping=mapping,
        files=names,
        unread=tuple(head.file.name for head in heads if head.file.name not in sum(names.values(), ())),
        unused={role: shown(columns) for role, columns in unused.items() if columns},
        formats=describe_formats(mapping.interactions, by_table["interactions"]),
    )


def _problem_of(error: SourceError, where: str) -> Problem:
    return Problem(True, where, str(error).removeprefix(f"{where}: "))


def _other_mapping(folder: Folder) -> list[Problem]:
    """Says that the ``mapping.toml`` in the file's folder is for other files."""
    known, place = mapping_beside(folder)
    if known is not None or place == FILE_NAME:
        return []
    message = f"is for other files than {folder.single_file} and is not used for it"
    remedy = f"the mapping of {folder.single_file} is kept in {place}"
    return [Problem(False, folder.label(FILE_NAME), message, remedy)]


def _unreadable(folder: Folder) -> list[Problem]:
    """The files that cannot be read at all, where nothing was recognised."""
    try:
        heads = read_heads(folder)
    except SourceError:
        return []  # the folder cannot be listed, which is what the caller reports
    return [_problem_of(head.problem, folder.label(head.file.name)) for head in heads if head.problem]


def _read(
    source: MappedSource, files: tuple[SourceFile, ...], problems: list[Problem]
) -> tuple[MappedRows | None, bool]:
    """The rows of the files that can be read, and whether later files were left out; adds to ``problems``."""
    sizes = np.cumsum([0, *(file.size for file in files[:-1])])
    chosen = tuple(file for file, before in zip(files, sizes, strict=True) if before <= READ_BYTES)
    try:
        rows: MappedRows | None = source.read_events(chosen)
    except SourceError:
        rows = _read_one_by_one(source, chosen, problems)
    return rows, len(chosen) < len(files)


def _read_one_by_one(source: MappedSource, files: Sequence[SourceFile], problems: list[Problem]) -> MappedRows | None:
    """The rows of the files that can be read; adds each file that cannot to ``problems``."""
    readable: list[SourceFile] = []
    for file in files:
        try:
            source.read_events([file])
            readable.append(file)
        except SourceError as error:
            problems.append(_problem_of(error, source.folder.label(file.name)))
    if not readable:
        return None
    rows = source.read_events(readable)
    positions = np.array([files.index(file) for file in readable])
    return replace(rows, files=positions[rows.files])


@dataclass(frozen=True)
class _RowProblem:
    column: str
    bad: npt.NDArray[np.bool_]
    applies: npt.NDArray[np.bool_]
    message: str
    remedy: str


def _problems_of_rows(rows: MappedRows, files: Sequence[SourceFile], folder: Folder) -> Iterator[Problem]:
    for check in _row_checks(rows.table):
        failed, checked = int(check.bad.sum()), int(check.applies.sum())
        if not failed:
            continue
        first = int(np.flatnonzero(check.bad)[0])
        value = rows.table[check.column][first].as_py()
        blocks = refuses_delivery(failed, checked, rows.table.num_rows, ROW_TOLERANCE)
        shown = "empty" if value is None else repr(str(value))
        fate = "more than 5 % refuse the data" if blocks else "these rows are quarantined"
        where = f"{_row(folder, files[rows.files[first]].name, int(rows.numbers[first]))}, {check.column}"
        message = f"{failed:,} of {checked:,} rows {check.message}, the first is {shown} ({fate})"
        yield Problem(blocks, where, message, check.remedy)
    yield from _malformed(rows.set_aside.filter(pc.starts_with(rows.set_aside["reason"], "malformed row")), folder)


def _malformed(rows: pa.Table, folder: Folder) -> Iterator[Problem]:
    if rows.num_rows:
        first = rows.slice(0, 1).to_pylist()[0]
        count = f"{rows.num_rows:,} malformed rows are" if rows.num_rows > 1 else "1 malformed row is"
        where = _row(folder, first["source_file"], first["source_row"])
        message = f"{count} set aside ({first['reason']}: {first['raw'][:80]})"
        yield Problem(False, where, message, "quote fields that contain the delimiter")


def _row(folder: Folder, name: str, number: int) -> str:
    below = " below the header" if stem_of(name.lower(), CSV_SUFFIXES) is not None else ""
    return f"{folder.label(name)}, row {number}{below}"


def _row_checks(table: pa.Table) -> Iterator[_RowProblem]:
    """One entry per check; the same rules as in validation, over all rows at once."""
    everything = np.ones(table.num_rows, dtype=bool)
    now = pa.scalar(datetime.now(UTC) + CLOCK_SKEW, TIMESTAMP)
    if "timestamp" in table.column_names:
        times = parse_timestamps(table["timestamp"])
        future = _mask(pc.greater(times, now))
        no_day = _mask(pc.is_null(possible_days(times))) & ~future
        remedy = "write ISO 8601 such as 2024-12-31T10:00:00Z; 31/12/2024 needs day_first in mapping.toml"
        yield _RowProblem("timestamp", no_day, everything, "have no usable timestamp", remedy)
        yield _RowProblem("timestamp", future, everything, "lie in the future", "check the clock and the time zone")
    for column in ("user_id", "product_id"):
        if column not in table.column_names:
            continue
        missing = _mask(pc.is_null(table[column]))
        remedy = "fill it in, or set such rows aside in mapping.toml: [[interactions.set_aside]] missing = true"
        yield _RowProblem(column, missing, everything, f"have no {column}", remedy)
        invalid = _mask(pc.invert(valid_ids(table[column])))
        remedy = f"an id {ID_RULE}; tabs, line ends and NUL are control characters"
        yield _RowProblem(column, invalid, ~missing, f"have a {column} that cannot be used", remedy)
    if "interaction_type" in table.column_names:
        kinds = table["interaction_type"]
        unknown = _mask(pc.invert(pc.is_in(kinds, pa.array(INTERACTION_LABELS)))) | _mask(pc.is_null(kinds))
        names = Counter(kinds.filter(pa.array(unknown)).to_pylist())
        listed = ", ".join(f"{name!r} ({count:,})" for name, count in names.most_common(8))
        example = json.dumps(next((str(name) for name in names if name is not None), "name"), ensure_ascii=False)
        remedy = (
            f"map each to {', '.join(INTERACTION_LABELS)} or ignore under [interactions.event_names] in mapping.toml, "
            f'for example {example} = "ignore"'
        )
        yield _RowProblem("interaction_type", unknown, everything, f"have an unknown type: {listed}", remedy)
    for column in ("price", "quantity", "rating"):
        if column not in table.column_names:
            continue
        typed = pa.types.is_floating(table[column].type) or pa.types.is_integer(table[column].type)
        numbers = table[column] if typed else parse_numbers(table[column])
        given = _mask(pc.is_valid(table[column]))
        unread = given & ~_mask(pc.is_finite(numbers))
        remedy = 'write plain numbers such as 12.50; 12,50 needs decimal = "," in mapping.toml'
        yield _RowProblem(column, unread, given, "are no number", remedy)
        remedy = "returns are no interactions: set them aside in mapping.toml with not_positive = true"
        yield _RowProblem(column, _mask(pc.less(numbers, 0)), given, "are negative", remedy)


def _ambiguous_dates(heads: Sequence[FileHead], mapping: Mapping, folder: Folder) -> Iterator[Problem]:
    text = ambiguous_dates(heads, mapping.interactions)
    if text is not None:
        where = f"{folder.label(heads[0].file.name)}, {' or '.join(mapping.interactions.columns['timestamp'])}"
        remedy = "set day_first = true or false under [interactions] in mapping.toml"
        yield Problem(True, where, f"{text!r} can be day or month first, and no date in the sample tells", remedy)


def _check_tables(source: MappedSource, problems: list[Problem]) -> int:
    """Adds the problems of the catalogue and the users to ``problems``; returns the number of listed products."""
    listed = 0
    for read, role, key in ((source.products, "products", "product_id"), (source.users, "users", "user_id")):
        try:
            table = read()
        except SourceError as error:
            if not any(problem.blocking for problem in problems) or key.removesuffix("_id") in str(error):
                problems.append(_problem_of(error, source.folder.uri))
            continue
        for file in find_table_files(source.folder, source.mapping, role):
            malformed = read_table(source.folder, file, getattr(source.mapping, role)).malformed
            problems += _malformed(malformed, source.folder)
        listed = table.num_rows if role == "products" else listed
        repeated = [item["values"] for item in pc.value_counts(table[key]).to_pylist() if item["counts"] > 1]
        if repeated:
            message = f"{len(repeated):,} ids stand in more than one row, such as {repeated[0]!r}"
            problems.append(Problem(True, f"{role}, {key}", message, "keep one row for each id"))
    return listed


def _with_facts(report: Report, rows: MappedRows, listed: int, settings: Settings, problems: list[Problem]) -> Report:
    """``report`` with the counts of ``rows``; adds what they tell about shoppers and the evaluation to ``problems``."""
    table = rows.table
    users, products = (_given(table, name) for name in ("user_id", "product_id"))
    problems += _busy_shopper(pc.value_counts(users).to_pylist(), table.num_rows)
    if "timestamp" in table.column_names:
        table = with_column(table, "timestamp", parse_timestamps(table["timestamp"]))
    days = pc.unique(possible_days(_given(table, "timestamp")).drop_null()).sort()
    kinds = table["interaction_type"].to_pylist() if "interaction_type" in table.column_names else ()
    evaluation, windows = judge_evaluation(table, settings)
    if evaluation.startswith("no"):
        remedy = "bring in a log of several days with users, products and times"
        problems.append(Problem(True, "evaluation", f"no model can be evaluated: {evaluation[4:]}", remedy))
    if windows:
        chosen = " ".join(f"{name}={value}" for name, value in windows.items())
        remedy = f"the first `recsys run` of a shop sets {chosen}"
        problems.append(Problem(False, "evaluation", evaluation, remedy))
    return replace(
        report,
        rows=table.num_rows,
        days=(days[0].as_py(), days[-1].as_py(), len(days)) if len(days) else None,
        shoppers=len(pc.unique(users)),
        products=len(pc.unique(products)),
        listed_products=listed,
        event_counts=Counter(kinds),
        set_aside=dict(Counter(rows.set_aside["reason"].to_pylist()).most_common()),
        evaluation=evaluation,
        settings=windows,
    )


def _given(table: pa.Table, name: str) -> pa.ChunkedArray:
    """The values of a column, without nulls; none where there is no such column."""
    return table[name].drop_null() if name in table.column_names else pa.chunked_array([], pa.string())


def _busy_shopper(users: Sequence[dict[str, Any]], events: int) -> Iterator[Problem]:
    """A warning of a shopper with very many events; ``users``: ``values`` (id) and ``counts`` of each."""
    busiest = max(users, key=lambda item: item["counts"], default={"counts": 0})
    count = busiest["counts"]
    if len(users) > 20 and count > BUSY_EVENTS and count / events > BUSY_SHARE:
        name = busiest["values"]
        yield Problem(
            False,
            f"user_id {name!r}",
            f"one shopper has {count:,} of {events:,} events ({count / events:.0%}): a bot, a test account or a "
            "placeholder makes training slow and lists worse",
            f'set it aside in mapping.toml: [[interactions.set_aside]] column = "user_id", values = ["{name}"]',
        )


def _mask(values: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False), dtype=bool)
