"""The asset ``interactions``: the rows that passed validation; the other rows go to ``quarantined_interactions``.

The asset checks (``checks``) validate a raw day before this runs. A raw day that changed since, or that no check has
seen, is validated here.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg
import pyarrow as pa

from recsys_assets import data_gate
from recsys_assets.ingest.assets import column_schema, written_beside
from recsys_assets.lake import Lake
from recsys_assets.partitions import DAYS
from recsys_assets.quality.dagster_checks import fail_on_gates
from recsys_assets.quality.row_checks import read_interactions
from recsys_assets.quality.validate_lake import read_raw_day, validate_stored_days
from recsys_assets.schema import INTERACTIONS
from recsys_assets.tags import OWNERS
from recsys_assets.verdict import accepted_rows, quarantined_rows

PROGRESS_DAYS = 50
"""A line is logged each time this many days have been written."""


@dg.asset(
    group_name="quality",
    owners=OWNERS,
    kinds={"parquet", "greatexpectations"},
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=["raw_interactions", "products", "users"],
)
def interactions(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult[None]:
    """Validated interactions, canonical, by UTC day; re-materialising a day replaces it.

    Rows that fail a row rule go to ``quarantined_interactions`` with the rules they fail; the two tables together hold
    every raw row once. A day whose gate is closed fails the run before anything is written.
    """
    asked = {date.fromisoformat(key) for key in context.partition_keys}
    _fail_on(data_gate.closed_gates(lake), asked)
    days = [day for day in lake.days("raw_interactions") if day in asked]
    failures = failing_rows(lake, days)
    reasons: Counter[str] = Counter()
    rows_in = rows_out = 0
    for number, day in enumerate(days, start=1):
        raw = read_raw_day(lake, day)
        accepted, quarantined = publish_day(lake, day, raw, failures[day])
        rows_in += raw.num_rows
        rows_out += accepted
        reasons.update(reason for text in quarantined["reason"].to_pylist() for reason in text.split("; "))
        context.add_asset_metadata({"dagster/partition_row_count": accepted}, partition_key=day.isoformat())
        if number % PROGRESS_DAYS == 0:
            context.log.info(f"{number} of {len(days)} days written, the last being {day}")
    context.log.info(f"{rows_in:,} raw rows = {rows_out:,} accepted + {rows_in - rows_out:,} quarantined")
    by_reason = _reason_table(reasons)
    context.log_event(written_beside(lake, "quarantined_interactions", rows_in - rows_out, by_reason))
    return dg.MaterializeResult(
        metadata={
            "dagster/uri": lake.uri("interactions"),
            "dagster/row_count": lake.count_rows("interactions"),
            "dagster/column_schema": column_schema(INTERACTIONS.schema),
            "dagster/column_lineage": dg.TableColumnLineage(
                {name: [dg.TableColumnDep("raw_interactions", name)] for name in INTERACTIONS.schema.names}
            ),
            "rows_in": rows_in,
            "rows_accepted": rows_out,
            "rows_quarantined": rows_in - rows_out,
            "quarantined_by_reason": by_reason,
            "days": len(days),
        }
    )


quarantined_interactions = dg.AssetSpec(
    "quarantined_interactions",
    group_name="quality",
    owners=OWNERS,
    kinds={"parquet", "greatexpectations"},
    deps=[interactions],
    description="Raw rows that fail a row rule, with the rules they fail. Written together with `interactions`.",
)


def failing_rows(lake: Lake, days: Sequence[date]) -> dict[date, pa.Table]:
    """Failing rows of each of ``days``. A day without a verdict for its present file is validated here.

    Raises:
        dagster.Failure: a day that was validated here may not be used.
    """
    stored = {day: data_gate.stored_failures(lake, day, data_gate.delivery_checksum(lake, day)) for day in days}
    failures = {day: rows for day, rows in stored.items() if rows is not None}
    stale = [day for day in days if day not in failures]
    for verdict in validate_stored_days(lake, stale, datetime.now(UTC)):
        assert isinstance(verdict.subject, date)
        failures[verdict.subject] = verdict.failures
    if stale:
        _fail_on(data_gate.closed_gates(lake), set(stale))
    return failures


def publish_day(lake: Lake, day: date, raw: pa.Table, failures: pa.Table) -> tuple[int, pa.Table]:
    """Write both parts of a day, then open its gate; returns the number of accepted rows and the quarantined ones."""
    accepted = accepted_rows(read_interactions(raw).canonical, failures)
    quarantined = quarantined_rows(day, raw, failures)
    if accepted.num_rows + quarantined.num_rows != raw.num_rows:
        raise RuntimeError(f"{day}: {raw.num_rows} raw rows became {accepted.num_rows} + {quarantined.num_rows}")
    lake.write_day("interactions", day, accepted)
    lake.write_rows("quarantined_interactions", day, quarantined)
    data_gate.open_gate(lake, day)
    return accepted.num_rows, quarantined


def _fail_on(gates: Sequence[data_gate.Gate], days: set[date]) -> None:
    """Fail for closed gates of products, users and ``days``; days that wait for validation are validated next."""
    asked = {day.isoformat() for day in days}
    fail_on_gates([one for one in gates if one.subject in data_gate.TABLES or (one.messages and one.subject in asked)])


def _reason_table(reasons: Counter[str]) -> dg.TableMetadataValue:
    schema = dg.TableSchema([dg.TableColumn("reason", "string"), dg.TableColumn("rows", "int")])
    records = [dg.TableRecord({"reason": reason, "rows": rows}) for reason, rows in reasons.most_common()]
    return dg.MetadataValue.table(records, schema)
