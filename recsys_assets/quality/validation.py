"""Applies the rules to a delivery: which rules hold, which rows fail and why.

One Great Expectations run takes 0.1 s however few rows it has, so many days are validated in one run. The days of a run
have the same columns and are all empty or all not empty, so a rule about the table holds for all of them or for none.
Rules about rows return row numbers, which are assigned to the days again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.quality.row_checks import ValidationContext, interactions_frame, table_frame
from recsys_assets.quality.suites import RULES, Rule, build_suite
from recsys_assets.verdict import FAILURE_SCHEMA, Outcome, Verdict, refuses_delivery

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.batch_definition import BatchDefinition

ROWS_PER_RUN = 250_000
"""Days are gathered into one run up to about this many rows, which bounds memory."""

RowNumbers = npt.NDArray[np.int64]


def validate_days(deliveries: Iterable[tuple[date, pa.Table, ValidationContext]]) -> Iterator[Verdict]:
    """Validate many days as a source delivers them, several per Great Expectations run; bad data raises nothing.

    Verdicts are not always in day order.
    """
    waiting: dict[tuple[frozenset[str], bool], list[_Prepared]] = {}
    for day, table, context in deliveries:
        prepared = _Prepared(day, table, interactions_frame(day, table, context))
        group = waiting.setdefault((frozenset(prepared.frame.columns), table.num_rows == 0), [])
        group.append(prepared)
        if sum(len(member.frame) for member in group) >= ROWS_PER_RUN:
            yield from _validate("interactions", group)
            group.clear()
    for group in waiting.values():
        if group:
            yield from _validate("interactions", group)


def validate_table(name: str, table: pa.Table, now: datetime) -> Verdict:
    """Validate the ``products`` or ``users`` table (canonical, as stored) at the moment ``now``."""
    return next(iter(_validate(name, [_Prepared(name, table, table_frame(name, table, now))])))


def run_suite(table: str, frame: "pd.DataFrame") -> "ExpectationSuiteValidationResult":
    """The raw Great Expectations result for one checked frame, with ten examples per rule; for Data Docs."""
    settings = {"result_format": "SUMMARY", "partial_unexpected_count": 10}
    batch = _batch_definition().get_batch({"dataframe": frame})
    return batch.validate(build_suite(table), result_format=settings)


@dataclass(frozen=True, slots=True)
class _Prepared:
    subject: date | str
    delivered: pa.Table
    frame: "pd.DataFrame"


@lru_cache(maxsize=1)
def _batch_definition() -> "BatchDefinition[Any]":
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("delivered").add_dataframe_asset("delivery")
    return asset.add_batch_definition_whole_dataframe("whole")


def _validate(table: str, group: Sequence[_Prepared]) -> list[Verdict]:
    """One Great Expectations run over deliveries with the same columns; returns one verdict for each delivery."""
    import pandas as pd

    frame = pd.concat([member.frame for member in group], ignore_index=True) if len(group) > 1 else group[0].frame
    complete = {"result_format": "COMPLETE", "return_unexpected_index_query": False, "partial_unexpected_count": 1}
    result = _batch_definition().get_batch({"dataframe": frame}).validate(build_suite(table), result_format=complete)
    findings = {str(item.expectation_config.meta["check"]): item for item in result.results}
    failing = {rule.check: _failing_rows(rule, findings[rule.check], frame) for rule in RULES[table]}
    held = {check: bool(finding.success) for check, finding in findings.items()}
    ends = np.cumsum([len(member.frame) for member in group]).tolist()
    return [
        _verdict(table, member, {check: _slice(rows, start, end) for check, rows in failing.items()}, held)
        for member, start, end in zip(group, [0, *ends], ends, strict=False)
    ]


def _failing_rows(rule: Rule, finding: Any, frame: "pd.DataFrame") -> RowNumbers | None:
    """Row numbers that fail a rule, ascending; ``None`` when the rule is not about rows or its column is absent."""
    if rule.checked_column and rule.checked_column not in frame.columns:
        return None
    info = finding.exception_info or {}
    details = [info] if "raised_exception" in info else list(info.values())
    for detail in details:
        if detail["raised_exception"]:
            raise RuntimeError(f"Great Expectations could not apply {rule.check}: {detail['exception_message']}")
    if not rule.by_row:
        return None
    return np.sort(np.asarray(finding.result.get("unexpected_index_list") or [], dtype=np.int64))


def _slice(rows: RowNumbers | None, start: int, end: int) -> RowNumbers | None:
    if rows is None:
        return None
    low, high = np.searchsorted(rows, [start, end])
    return rows[low:high] - start


def _verdict(table: str, member: _Prepared, failing: dict[str, RowNumbers | None], held: dict[str, bool]) -> Verdict:
    outcomes = []
    reasons: dict[int, list[str]] = {}
    for rule in RULES[table]:
        rows = failing[rule.check]
        outcomes.append(_outcome(rule, member, rows, held[rule.check]))
        if rule.scope == "batch":
            failed = range(member.delivered.num_rows) if outcomes[-1].blocks else ()
        else:
            failed = rows.tolist() if rows is not None else ()
        for row in failed:
            reasons.setdefault(row, []).append(rule.check)
    ordered = sorted(reasons)
    failures = pa.table([ordered, ["; ".join(reasons[row]) for row in ordered]], schema=FAILURE_SCHEMA)
    return Verdict(member.subject, tuple(outcomes), failures)


def _outcome(rule: Rule, member: _Prepared, rows: RowNumbers | None, held: bool) -> Outcome:
    total = member.delivered.num_rows
    if not rule.by_row:
        return _table_outcome(rule, member, held)
    if rows is None:
        message = f"{rule.check} could not be checked for {member.subject}: the column {rule.column} is missing."
        return Outcome(rule.check, rule.severity, False, total, total, "", message)
    frame_column = member.frame[rule.checked_column]
    checked = total if rule.expectation.endswith("NotBeNull") else int(frame_column.notna().sum())
    failed = len(rows)
    passed = not refuses_delivery(failed, checked, total, rule.tolerance)
    example = _example(rule, member, int(rows[0])) if failed else ""
    message = _row_message(rule, member.subject, passed, failed, checked, example)
    return Outcome(rule.check, rule.severity, passed, failed, checked, example, message)


def _table_outcome(rule: Rule, member: _Prepared, held: bool) -> Outcome:
    total = member.delivered.num_rows
    if held:
        message = f"{rule.check} holds for {member.subject}."
        return Outcome(rule.check, rule.severity, True, 0, total, "", message)
    example = f"columns delivered: {', '.join(member.delivered.column_names) or 'none'}"
    message = (
        f"{rule.check} fails for {member.subject}, all {total:,} rows. Rule: {rule.description} "
        f"For example {example}. Remedy: {rule.remedy}."
    )
    return Outcome(rule.check, rule.severity, False, total, total, example, message)


def _row_message(rule: Rule, name: date | str, passed: bool, failed: int, checked: int, example: str) -> str:
    if not failed:
        return f"{rule.check} holds for all {checked:,} rows of {name} it applies to."
    limit = f"limit {rule.tolerance:.0%}" if rule.tolerance else "none may"
    what = f"fail{'' if failed > 1 else 's'} {rule.check}"
    action = "quarantined" if rule.scope == "row" and rule.tolerance else "tolerated"
    consequence = f"; {action}, the rest is used" if passed else ""
    return (
        f"{failed:,} of {checked:,} rows of {name} {what} ({failed / checked:.1%}, {limit}){consequence}. "
        f"Rule: {rule.description} For example {example}. Remedy: {rule.remedy}."
    )


def _example(rule: Rule, member: _Prepared, row: int) -> str:
    table = member.delivered
    names = ["interaction_id"] if "interaction_id" in table.column_names else table.column_names[:1]
    shown = {name: table[name][row].as_py() for name in names}
    if rule.column in table.column_names:
        shown[rule.column] = table[rule.column][row].as_py()
    return f"row {row}: " + ", ".join(f"{name}={_shown(value)}" for name, value in shown.items())


def _shown(value: Any) -> str:
    text = value.isoformat() if isinstance(value, date | datetime) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
