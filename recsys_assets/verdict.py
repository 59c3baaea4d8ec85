"""The result of validating one delivery: the outcome of each rule, and the rows that fail."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from recsys_assets.schema import SET_ASIDE_SCHEMA

Severity = Literal["critical", "warning", "info"]

FAILURE_SCHEMA = pa.schema([pa.field("row", pa.int64()), pa.field("reason", pa.string())])
"""Rows of a delivery (numbered from 0) that may not be used, and the checks they fail, joined by ``; ``."""

ROW_TOLERANCE = 0.05
"""Share of the checked rows that may fail a row rule. Up to it, the failing rows are quarantined and the rest is used;
above it, the whole delivery is refused: one bad row should not stop a shop, one in twenty points to a broken export."""

BLOCKING_ROWS = 3
"""Fewer failing rows than this do not block unless they are the whole delivery: one bad row of ten is 10 %, but it is
one row. Great Expectations cannot express this, so Data Docs may show such a rule as failed."""


def refuses_delivery(failed: int, checked: int, total: int, tolerance: float) -> bool:
    """Whether so many rows fail that the whole delivery is refused.

    Args:
        failed: rows that fail the rule.
        checked: rows the rule applies to.
        total: rows of the delivery.
        tolerance: share of the checked rows that may fail. 0 tolerates nothing, however few the rows.
    """
    if not failed:
        return False
    if tolerance == 0:
        return True
    return failed > tolerance * checked and (failed >= BLOCKING_ROWS or failed == total)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one rule on one delivery.

    Attributes:
        check: name of the rule.
        severity: of the rule; only a failed ``critical`` one blocks.
        passed: whether this rule allows the delivery to be used (single failing rows may be quarantined).
        failed_rows: rows that fail; for a failed rule about the table, every row.
        rows: rows the rule applied to.
        example: one failing row's id and value, empty when there is none.
        message: which rule, how many rows, an example and the remedy, as a sentence.
    """

    check: str
    severity: Severity
    passed: bool
    failed_rows: int
    rows: int
    example: str
    message: str

    @property
    def blocks(self) -> bool:
        """Whether this outcome stops everything downstream."""
        return not self.passed and self.severity == "critical"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of validating one delivery.

    Attributes:
        subject: the day of interactions, or the name of a table.
        outcomes: one per rule, in the order of the rules.
        failures: rows that may not be used, ``FAILURE_SCHEMA``, ascending by row.
    """

    subject: date | str
    outcomes: tuple[Outcome, ...]
    failures: pa.Table

    @property
    def blocking(self) -> tuple[Outcome, ...]:
        """The outcomes that stop everything downstream; empty for a delivery that may be used."""
        return tuple(outcome for outcome in self.outcomes if outcome.blocks)


def accepted_rows(canonical: pa.Table, failures: pa.Table) -> pa.Table:
    """Rows of ``canonical`` that are not listed in ``failures``."""
    keep = np.ones(canonical.num_rows, dtype=bool)
    keep[failures["row"].to_numpy()] = False
    return canonical.filter(pa.array(keep))


def quarantined_rows(day: date, delivered: pa.Table, failures: pa.Table) -> pa.Table:
    """Rows of ``delivered`` listed in ``failures`` as ``SET_ASIDE_SCHEMA``; ``source_row`` counts from 0."""
    rows = failures["row"].to_pylist()
    columns = [[str(day)] * len(rows), failures["row"], failures["reason"], row_as_json(delivered, rows)]
    return pa.table(columns, schema=SET_ASIDE_SCHEMA)


def row_as_json(table: pa.Table, rows: Sequence[int]) -> list[str]:
    """Rows as delivered, as JSON objects; values that JSON cannot express become text."""
    picked = table.take(pa.array(rows, type=pa.int64())).to_pylist()
    return [json.dumps({k: _jsonable(v) for k, v in row.items()}, ensure_ascii=False, default=str) for row in picked]


def _jsonable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
