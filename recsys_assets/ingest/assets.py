"""Dagster assets of the raw tables: products, users, and each day's events as the source delivers them.

Every write closes the delivery's gate first (``recsys_assets.data_gate``), so nothing downstream reads data that has
not been validated.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets import data_gate
from recsys_assets.ingest.derived import merge_catalogue
from recsys_assets.ingest.source import DayOfEvents, Source, SourceError
from recsys_assets.lake import Lake
from recsys_assets.partitions import DAYS
from recsys_assets.schema import CLOCK_SKEW, PRODUCTS, USERS, TableContract
from recsys_assets.tags import OWNERS

PROGRESS_DAYS = 25
"""A line is logged each time this many days have been read."""

LISTED = 20
"""Days or errors listed in one message or metadata entry."""


@dg.asset(group_name="ingest", owners=OWNERS, kinds={"parquet"})
def products(
    context: dg.AssetExecutionContext, source: dg.ResourceParam[Source], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult[None]:
    """The shop's catalogue: every product that events may name."""
    return _ingest_table(context, PRODUCTS, source, lake)


@dg.asset(group_name="ingest", owners=OWNERS, kinds={"parquet"})
def users(
    context: dg.AssetExecutionContext, source: dg.ResourceParam[Source], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult[None]:
    """The shop's known users."""
    return _ingest_table(context, USERS, source, lake)


@dg.asset(
    group_name="ingest",
    owners=OWNERS,
    kinds={"parquet"},
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def raw_interactions(
    context: dg.AssetExecutionContext, source: dg.ResourceParam[Source], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult[None]:
    """Each UTC day's events as delivered, not validated yet; re-materialising a day replaces it.

    Rows that the source's rules exclude go to ``set_aside_interactions`` with the reason. A day without a file keeps
    what is stored. A file that cannot be read leaves the stored day alone, closes its gate and fails the run after the
    other days have been read.
    """
    asked = [date.fromisoformat(key) for key in context.partition_keys]
    try:
        offered = source.days()
    except SourceError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    problems = _close_future_days(lake, offered, datetime.now(UTC))
    counts = _ReadCounts()
    with_drop = sorted(set(asked) & set(offered))
    _reset_withdrawn_days(context, lake, sorted(set(asked) - set(offered)))
    for number, day in enumerate(with_drop, start=1):
        try:
            delivered = source.read_day(day)
        except SourceError as error:
            data_gate.mark_unreadable(lake, day, str(error))
            problems.append(str(error))
            continue
        store_day(lake, day, delivered)
        counts.add(delivered)
        context.add_asset_metadata(
            {"dagster/partition_row_count": delivered.interactions.num_rows}, partition_key=day.isoformat()
        )
        if number % PROGRESS_DAYS == 0:
            context.log.info(f"{number} of {len(with_drop)} days read, {counts.read:,} rows, the last being {day}")
    if problems:
        raise dg.Failure(_unreadable(problems), allow_retries=False)
    outside = [day for day in offered if day.isoformat() < DAYS.get_first_partition_key()]  # type: ignore[operator]
    if outside:
        context.log.warning(
            f"the source has {len(outside)} days before the first partition {DAYS.get_first_partition_key()}, from "
            f"{outside[0]}; set RECSYS_FIRST_DAY to bring them in"
        )
    without = [day for day in asked if day not in set(with_drop)]
    by_reason = dict(counts.reasons.most_common())
    context.log_event(written_beside(lake, "set_aside_interactions", counts.reasons.total(), by_reason))
    return dg.MaterializeResult(metadata=counts.metadata(lake, with_drop, without, outside))


set_aside_interactions = dg.AssetSpec(
    "set_aside_interactions",
    group_name="ingest",
    owners=OWNERS,
    kinds={"parquet"},
    deps=[raw_interactions],
    description="Rows that the rules of the source exclude (cancellations, guests, test orders), with the reason. "
    "Written together with `raw_interactions`.",
)


@dataclass
class _ReadCounts:
    """Counts of one run."""

    read: int = 0
    delivered: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    schema: pa.Schema | None = None

    def add(self, events: DayOfEvents) -> None:
        self.read += events.rows_read
        self.delivered += events.interactions.num_rows
        self.schema = events.interactions.schema
        for item in pc.value_counts(events.set_aside["reason"]).to_pylist():
            self.reasons[str(item["values"])] += int(item["counts"])

    def metadata(
        self, lake: Lake, days: Sequence[date], without: Sequence[date], outside: Sequence[date]
    ) -> dict[str, Any]:
        return {
            "dagster/uri": lake.uri("raw_interactions"),
            "dagster/row_count": lake.count_rows("raw_interactions"),
            "rows_read": self.read,
            "rows_delivered": self.delivered,
            "rows_set_aside": self.reasons.total(),
            "set_aside_by_reason": dict(self.reasons.most_common()),
            "days": len(days),
            "days_without_drop": len(without),
            "days_without_drop_listed": _listed(without),
            "days_before_first_partition": _listed(outside),
            **({"dagster/column_schema": column_schema(self.schema)} if self.schema is not None else {}),
        }


def written_beside(lake: Lake, table: str, rows: int, by_reason: Any) -> dg.AssetMaterialization:
    """The event of a table that the step of another asset writes; ``rows`` of this run."""
    metadata: dict[str, Any] = {
        "dagster/uri": lake.uri(table),
        "dagster/row_count": lake.count_rows(table),
        "rows_of_this_run": rows,
        "by_reason": by_reason,
    }
    return dg.AssetMaterialization(table, metadata=metadata)


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """An Arrow schema as Dagster shows it."""
    return dg.TableSchema([dg.TableColumn(name=column.name, type=str(column.type)) for column in schema])


def _ingest_table(
    context: dg.AssetExecutionContext, contract: TableContract, source: Source, lake: Lake
) -> dg.MaterializeResult[None]:
    try:
        delivered = source.products() if contract is PRODUCTS else source.users()
        table = _with_known(lake, contract, contract.conform(delivered))
    except (SourceError, ValueError) as error:
        data_gate.mark_unreadable(lake, contract.name, str(error))
        raise dg.Failure(f"{contract.name}: {error}", allow_retries=False) from error
    data_gate.mark_waiting(lake, contract.name)
    uri = lake.write_table(contract.name, table)
    context.log.info(f"{table.num_rows:,} {contract.name} written to {uri}")
    return dg.MaterializeResult(
        metadata={
            "dagster/uri": uri,
            "dagster/row_count": table.num_rows,
            "dagster/column_schema": column_schema(table.schema),
        }
    )


def _with_known(lake: Lake, contract: TableContract, delivered: pa.Table) -> pa.Table:
    """``delivered`` and the rows of earlier deliveries that it lacks; such products are not available any more.

    Without them, events of a product that has just left the catalogue would refuse the day.
    """
    (key,) = contract.required
    if not lake.has_table(contract.name) or delivered[key].null_count:
        return delivered
    return merge_catalogue(delivered, contract.conform(lake.read(contract.name)), contract)


def store_day(lake: Lake, day: date, delivered: DayOfEvents) -> None:
    """Replace one day of ``raw_interactions`` and of what the source set aside; its gate waits for validation."""
    data_gate.mark_waiting(lake, day)
    lake.write_day("raw_interactions", day, delivered.interactions)
    lake.write_rows("set_aside_interactions", day, delivered.set_aside)


def _reset_withdrawn_days(context: dg.AssetExecutionContext, lake: Lake, days: Sequence[date]) -> None:
    """Reset the gates of bad deliveries that are gone from the source.

    A day that could not be read falls back to what is stored, which is validated again; a day that was refused is
    removed from ``raw_interactions``. An earlier, good delivery of that day in ``interactions`` is used again.
    """
    closed = {gate.subject: gate for gate in data_gate.closed_gates(lake) if gate.messages}
    stored = set(lake.days("raw_interactions"))
    for day in days:
        gate = closed.get(day.isoformat())
        if gate is None:
            continue
        if gate.state == "unreadable" and day in stored:
            data_gate.mark_waiting(lake, day)
        else:
            for table in ("raw_interactions", "set_aside_interactions", data_gate.VERDICTS):
                lake.delete_day(table, day)
            data_gate.open_gate(lake, day)
        context.log.warning(f"{day}: the refused delivery is gone from the source, so it no longer blocks")


def _close_future_days(lake: Lake, offered: Sequence[date], now: datetime) -> list[str]:
    """Close a gate for each offered day in the future: no partition covers it, so its events would be ignored."""
    latest = (now + CLOCK_SKEW).date()
    ahead = [day for day in offered if day > latest]
    for found in data_gate.closed_gates(lake):
        is_ahead = found.subject not in data_gate.TABLES and found.subject > latest.isoformat()
        if is_ahead and date.fromisoformat(found.subject) not in ahead:
            data_gate.open_gate(lake, found.subject)
    problems = []
    for day in ahead:
        problem = (
            f"timestamp_not_in_future: the source delivers events dated {day}, and today is {now.date()}; check the "
            "clock and the time zone of the system that wrote them, and correct or remove these rows."
        )
        data_gate.mark_unreadable(lake, day, problem)
        problems.append(problem)
    return problems


def _unreadable(problems: Sequence[str]) -> str:
    shown = "\n - ".join(problems[:LISTED])
    more = f"\n - and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    return f"{len(problems)} deliver{'y' if len(problems) == 1 else 'ies'} cannot be used:\n - {shown}{more}"


def _listed(days: Sequence[date]) -> str:
    shown = ", ".join(day.isoformat() for day in days[:LISTED])
    return shown + (f" and {len(days) - LISTED} more" if len(days) > LISTED else "")
