"""Checks a shop's data in seconds: reads them as ingestion does and collects every problem instead of the first."""

import json
from collections import Counter
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from recsys_assets.schema import CLOCK_SKEW
from recsys_assets.verdict import ROW_TOLERANCE, refuses_delivery

READ_BYTES: Final = 400_000_000
"""Interactions are read up to about this many bytes; the check of a longer log is about its first files."""

BUSY_SHARE: Final = 0.05
BUSY_EVENTS: Final = 1000
"""A shopper with more than this share and number of the events is probably a bot or a placeholder."""


@dataclass
class _Findings:
    """What is collected while the files are read."""

    problems: list[Problem] = field(default_factory=list)

    def error(self, error: SourceError, where: str) -> None:
        """A file that cannot be used."""
        message = str(error).removeprefix(f"{where}: ")
        self.problems.append(Problem(True, where, message))


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
    folder, found = Folder(data), _Findings()
    try:
        if isinstance(mapping, str):
            mapping = read_mapping(mapping)
        known = mapping or find_mapping(folder, source, columns)
        known = known.with_columns(columns) if mapping and columns else known
        rows_source = MappedSource(folder, known)
        layout = rows_source.layout()
        if mapping is None:
            _check_other_mapping(folder, found)
    except SourceError as error:
        unreadable = _unreadable(folder)
        if str(error) not in map(str, unreadable):
            unreadable.insert(0, Problem(True, data, str(error).removeprefix(f"{data}: ")))
        return Report(data, problems=tuple(unreadable))
    files = layout.whole or tuple(file for day in layout.by_day.values() for file in day)
    rows, sampled = _read(rows_source, files, found)
    all_heads, names = read_heads(folder), _files(rows_source, files)
    by_table = {table: [head for head in all_heads if head.file.name in members] for table, members in names.items()}
    heads = by_table["interactions"]
    unused = {table: unused_columns(members, known, table) for table, members in by_table.items()}
    found.problems += hidden_events(unused["interactions"], known, folder)
    _check_dates(heads, known, folder, found)
    report = Report(
        location=data,
        mapping=known,
        files=names,
        unread=tuple(head.file.name for head in all_heads if head.file.name not in sum(names.values(), ())),
        unused={table: shown(columns) for table, columns in unused.items() if columns},
        formats=describe_formats(known.interactions, heads),
        sampled=sampled,
    )
    if rows is not None:
        _check_rows(rows, files, folder, found)
        if layout.whole and not sampled and not found.problems:
            with suppress(SourceError):
                rows_source.remember(rows, layout.whole)
        listed = _check_tables(rows_source, found)
        report = _with_facts(report, rows, listed, settings or make_settings({}), found)
    problems = sorted(found.problems, key=lambda problem: not problem.blocking)
    return replace(report, problems=tuple(problems))


def _check_other_mapping(folder: Folder, found: _Findings) -> None:
    """Says that the ``mapping.toml`` in the file's folder is for other files."""
    known, place = mapping_beside(folder)
    if known is None and place != FILE_NAME:
        remedy = f"the mapping of {folder.single_file} is kept in {place}"
        message = f"is for other files than {folder.single_file} and is not used for it"
        found.problems.append(Problem(False, folder.label(FILE_NAME), message, remedy))


def _unreadable(folder: Folder) -> list[Problem]:
    """The files that cannot be read at all, where nothing was recognised."""
    try:
        heads = read_heads(folder)
    except SourceError:
        return []
    return [
        Problem(True, folder.label(head.file.name), str(head.problem).removeprefix(f"{folder.label(head.file.name)}: "))
        for head in heads
        if head.problem
    ]


def _read(source: MappedSource, files: tuple[SourceFile, ...], found: _Findings) -> tuple[MappedRows | None, bool]:
    """The rows of the files that can be read, and whether later files were left out."""
    sizes = np.cumsum([0, *(file.size for file in files[:-1])])
    chosen = tuple(file for file, before in zip(files, sizes, strict=True) if before <= READ_BYTES)
    try:
        rows: MappedRows | None = source.read_events(chosen)
    except SourceError:
        rows = _read_one_by_one(source, chosen, found)
    return rows, len(chosen) < len(files)


def _read_one_by_one(source: MappedSource, files: Sequence[SourceFile], found: _Findings) -> MappedRows | None:
    """The rows of the files that can be read; each file that cannot is a problem."""
    readable: list[SourceFile] = []
    for file in files:
        try:
            source.read_events([file])
            readable.append(file)
        except SourceError as error:
            found.error(error, source.folder.label(file.name))
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


def _check_rows(rows: MappedRows, files: Sequence[SourceFile], folder: Folder, found: _Findings) -> None:
    for check in _row_problems(rows.table):
        failed, checked = int(check.bad.sum()), int(check.applies.sum())
        if not failed:
            continue
        first = int(np.flatnonzero(check.bad)[0])
        value = rows.table[check.column][first].as_py()
        blocks = refuses_delivery(failed, checked, rows.table.num_rows, ROW_TOLERANCE)
        fate = "more than 5 % refuse the data" if blocks else "these rows are quarantined"
        found.problems.append(
            Problem(
                blocks,
                f"{_row(folder, files[rows.files[first]].name, int(rows.numbers[first]))}, {check.column}",
                f"{failed:,} of {checked:,} rows {check.message}, the first is "
                f"{'empty' if value is None else repr(str(value))} ({fate})",
                check.remedy,
            )
        )
    _check_malformed(rows.set_aside.filter(pc.starts_with(rows.set_aside["reason"], "malformed row")), folder, found)


def _check_malformed(malformed: pa.Table, folder: Folder, found: _Findings) -> None:
    if not malformed.num_rows:
        return
    first = malformed.slice(0, 1).to_pylist()[0]
    count = f"{malformed.num_rows:,} malformed rows are" if malformed.num_rows > 1 else "1 malformed row is"
    found.problems.append(
        Problem(
            False,
            _row(folder, first["source_file"], first["source_row"]),
            f"{count} set aside ({first['reason']}: {first['raw'][:80]})",
            "quote fields that contain the delimiter",
        )
    )


def _row(folder: Folder, name: str, number: int) -> str:
    below = " below the header" if stem_of(name.lower(), CSV_SUFFIXES) is not None else ""
    return f"{folder.label(name)}, row {number}{below}"


def _row_problems(table: pa.Table) -> list[_RowProblem]:
    """One entry per check; the same rules as in validation, over all rows at once."""
    everything = np.ones(table.num_rows, dtype=bool)
    checks = []
    now = pa.scalar(datetime.now(UTC) + CLOCK_SKEW, pa.timestamp("us", tz="UTC"))
    if "timestamp" in table.column_names:
        times = parse_timestamps(table["timestamp"])
        future = _mask(pc.greater(times, now))
        no_day = _mask(pc.is_null(possible_days(times))) & ~future
        checks.append(
            _RowProblem("timestamp", no_day, everything, "have no usable timestamp",
                        "write ISO 8601 such as 2024-12-31T10:00:00Z; 31/12/2024 needs day_first in mapping.toml")
        )  # fmt: skip
        checks.append(
            _RowProblem("timestamp", future, everything, "lie in the future", "check the clock and the time zone")
        )
    for column in ("user_id", "product_id"):
        if column not in table.column_names:
            continue
        missing = _mask(pc.is_null(table[column]))
        remedy = "fill it in, or set such rows aside in mapping.toml: [[interactions.set_aside]] missing = true"
        checks.append(_RowProblem(column, missing, everything, f"have no {column}", remedy))
        invalid = _mask(pc.invert(valid_ids(table[column])))
        remedy = f"an id {ID_RULE}; tabs, line ends and NUL are control characters"
        checks.append(_RowProblem(column, invalid, ~missing, f"have a {column} that cannot be used", remedy))
    if "interaction_type" in table.column_names:
        kinds = table["interaction_type"]
        unknown = _mask(pc.invert(pc.is_in(kinds, pa.array(INTERACTION_LABELS)))) | _mask(pc.is_null(kinds))
        names = Counter(kinds.filter(pa.array(unknown)).to_pylist()) if unknown.any() else Counter()
        listed = ", ".join(f"{name!r} ({count:,})" for name, count in names.most_common(8))
        remedy = (
            f"map each to {', '.join(INTERACTION_LABELS)} or ignore under [interactions.event_names] in mapping.toml, "
            f'for example {_toml_line(names)} = "ignore"'
        )
        checks.append(_RowProblem("interaction_type", unknown, everything, f"have an unknown type: {listed}", remedy))
    for column in ("price", "quantity", "rating"):
        if column not in table.column_names:
            continue
        typed = pa.types.is_floating(table[column].type) or pa.types.is_integer(table[column].type)
        numbers = table[column] if typed else parse_numbers(table[column])
        given = _mask(pc.is_valid(table[column]))
        unread = given & ~_mask(pc.is_finite(numbers))
        remedy = 'write plain numbers such as 12.50; 12,50 needs decimal = "," in mapping.toml'
        checks.append(_RowProblem(column, unread, given, "are no number", remedy))
        remedy = "returns are no interactions: set them aside in mapping.toml with not_positive = true"
        checks.append(_RowProblem(column, _mask(pc.less(numbers, 0)), given, "are negative", remedy))
    return checks


def _toml_line(names: Counter[Any]) -> str:
    name = next((str(name) for name in names if name is not None), "name")
    return json.dumps(name, ensure_ascii=False)


def _check_dates(heads: Sequence[FileHead], mapping: Mapping, folder: Folder, found: _Findings) -> None:
    text = ambiguous_dates(heads, mapping.interactions)
    if text is not None:
        where = f"{folder.label(heads[0].file.name)}, {' or '.join(mapping.interactions.columns['timestamp'])}"
        found.problems.append(
            Problem(
                True, where, f"{text!r} can be day or month first, and no date in the sample tells",
                "set day_first = true or false under [interactions] in mapping.toml",
            )
        )  # fmt: skip


def _check_tables(source: MappedSource, found: _Findings) -> int:
    """Problems of the catalogue and the users; returns the number of listed products."""
    listed = 0
    for read, role, key in ((source.products, "products", "product_id"), (source.users, "users", "user_id")):
        try:
            table = read()
        except SourceError as error:
            if not any(problem.blocking for problem in found.problems) or key.removesuffix("_id") in str(error):
                found.error(error, source.folder.uri)
            continue
        for file in find_table_files(source.folder, source.mapping, role):
            malformed = read_table(source.folder, file, getattr(source.mapping, role)).malformed
            _check_malformed(malformed, source.folder, found)
        listed = table.num_rows if key == "product_id" else listed
        counts = pc.value_counts(table[key])
        repeated = [item for item in counts.to_pylist() if item["counts"] > 1]
        if repeated:
            found.problems.append(
                Problem(True, f"{key.removesuffix('_id')}s, {key}",
                        f"{len(repeated):,} ids stand in more than one row, such as {repeated[0]['values']!r}",
                        "keep one row for each id")
            )  # fmt: skip
    return listed


def _with_facts(report: Report, rows: MappedRows, listed: int, settings: Settings, found: _Findings) -> Report:
    table = rows.table
    users = pc.value_counts(table["user_id"].drop_null()) if "user_id" in table.column_names else None
    if users is not None and len(users):
        busiest = max(users.to_pylist(), key=lambda item: item["counts"])
        share = busiest["counts"] / table.num_rows
        if len(users) > 20 and share > BUSY_SHARE and busiest["counts"] > BUSY_EVENTS:
            found.problems.append(
                Problem(
                    False, f"user_id {busiest['values']!r}",
                    f"one shopper has {busiest['counts']:,} of {table.num_rows:,} events ({share:.0%}): a bot, a test "
                    "account or a placeholder makes training slow and lists worse",
                    'set it aside in mapping.toml: [[interactions.set_aside]] column = "user_id", values = '
                    f'["{busiest["values"]}"]',
                )
            )  # fmt: skip
    if "timestamp" in table.column_names:
        times = parse_timestamps(table["timestamp"])
        table = table.set_column(table.column_names.index("timestamp"), "timestamp", times)
    days = possible_days(table["timestamp"]).drop_null() if "timestamp" in table.column_names else None
    known = pc.unique(days).sort() if days is not None and len(days) else None
    kinds = table["interaction_type"] if "interaction_type" in table.column_names else None
    evaluation, windows = judge_evaluation(table, settings)
    if evaluation.startswith("no"):
        remedy = "bring in a log of several days with users, products and times"
        found.problems.append(Problem(True, "evaluation", f"no model can be evaluated: {evaluation[4:]}", remedy))
    if windows:
        chosen = " ".join(f"{name}={value}" for name, value in windows.items())
        remedy = f"the first `recsys run` of a shop sets {chosen}"
        found.problems.append(Problem(False, "evaluation", evaluation, remedy))
    return replace(
        report,
        rows=table.num_rows,
        days=(known[0].as_py(), known[-1].as_py(), len(known)) if known is not None else None,
        shoppers=len(users) if users is not None else 0,
        products=len(pc.unique(table["product_id"].drop_null())) if "product_id" in table.column_names else 0,
        listed_products=listed,
        event_counts=Counter(kinds.to_pylist()) if kinds is not None else {},
        set_aside=dict(Counter(rows.set_aside["reason"].to_pylist()).most_common()),
        evaluation=evaluation,
        settings=windows,
    )


def _files(source: MappedSource, files: Sequence[SourceFile]) -> dict[str, tuple[str, ...]]:
    tables = {role: find_table_files(source.folder, source.mapping, role) for role in ("products", "users")}
    return {name: tuple(file.name for file in members) for name, members in {"interactions": files, **tables}.items()}


def _mask(values: Any) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=bool)
    return mask
