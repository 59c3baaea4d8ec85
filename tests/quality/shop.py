"""A tiny shop on disk and the real Dagster graph over it, for the tests of this folder."""

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from lambda_api.settings import Settings, make_settings
from recsys_assets.data_gate import require_open
from recsys_assets.ingest import assets as ingest_assets
from recsys_assets.ingest.registry import open_source
from recsys_assets.lake import Lake
from recsys_assets.quality import assets as quality_assets
from recsys_assets.quality import checks
from recsys_assets.quality.row_checks import ValidationContext
from recsys_assets.quality.validation import validate_days
from recsys_assets.verdict import Verdict

DAY = date(2011, 3, 1)
NEXT = DAY + timedelta(days=1)
ROWS = 40
COLUMNS = ("interaction_id", "user_id", "product_id", "interaction_type", "timestamp", "price", "quantity")
KINDS = ("view", "view", "add_to_cart", "purchase")

Row = dict[str, Any]


def good_rows(day: date = DAY, count: int = ROWS) -> list[Row]:
    """Rows that pass every rule."""
    start = datetime.combine(day, time(8), tzinfo=UTC)
    return [
        {
            "interaction_id": f"{day}-{i}",
            "user_id": f"u{i % 7}",
            "product_id": f"p{i % 11}",
            "interaction_type": KINDS[i % len(KINDS)],
            "timestamp": (start + timedelta(minutes=i)).isoformat(),
            "price": f"{1 + i % 5}.5",
            "quantity": "1",
        }
        for i in range(count)
    ]


def as_csv(rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> bytes:
    """CSV text of ``rows``."""
    lines = [",".join(columns), *(",".join(str(row.get(name, "")) for name in columns) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


@dataclass
class Shop:
    """Files of a shop, its lake, and the ways to run the graph."""

    root: Path

    def __post_init__(self) -> None:
        (self.root / "data" / "interactions").mkdir(parents=True)
        self.write_table(
            "products", ["product_id", "name", "price"], [[f"p{i}", f"thing {i}", i + 0.5] for i in range(11)]
        )
        self.write_table("users", ["user_id", "age"], [[f"u{i}", 20 + i] for i in range(7)])

    @property
    def settings(self) -> Settings:
        return make_settings({"home": str(self.root / "home"), "data": str(self.root / "data")})

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_uri)

    def write_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        with (self.root / "data" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])

    def deliver(self, day: date, content: bytes) -> Path:
        """Replace the day's drop by a file of these bytes (compressed as they are, not here)."""
        self.withdraw(day)
        suffix = ".csv.gz" if content[:2] == b"\x1f\x8b" else ".csv"
        file = self.root / "data" / "interactions" / f"{day}{suffix}"
        file.write_bytes(content)
        return file

    def withdraw(self, day: date) -> None:
        """Delete the day's drop."""
        for file in (self.root / "data" / "interactions").glob(f"{day}.*"):
            file.unlink()

    def run(self, *days: date, only: Sequence[str] | None = None) -> dg.ExecuteInProcessResult:
        """Materialise the graph, or the assets named ``only`` without any check, for a day or from day to day.

        Each run has a Dagster instance of its own, so nothing a run knows of an earlier one comes from Dagster.
        """
        tags = {}
        if len(days) > 1:
            tags = {
                "dagster/asset_partition_range_start": str(days[0]),
                "dagster/asset_partition_range_end": str(days[-1]),
            }
        graph: list[Any] = [
            ingest_assets.products,
            ingest_assets.users,
            ingest_assets.raw_interactions,
            quality_assets.interactions,
            checks.raw_interactions_checks,
            checks.products_checks,
            checks.users_checks,
            downstream,
        ]
        return dg.materialize(
            graph,
            partition_key=str(days[0]) if len(days) == 1 else None,
            tags=tags,
            instance=dg.DagsterInstance.ephemeral(),
            selection=dg.AssetSelection.assets(*only).without_checks() if only else None,
            resources={
                "settings": self.settings,
                "lake": self.lake,
                "source": open_source("canonical", str(self.root / "data")),
            },
            raise_on_error=False,
        )

    def count(self, table: str, day: date = DAY) -> int:
        """Rows of one stored day; 0 when it is not stored."""
        if day not in self.lake.days(table):
            return 0
        return self.lake.read_day(table, day).num_rows


@dg.asset(deps=["interactions"])
def downstream(lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """What every reader of validated data does first."""
    require_open(lake)
    return dg.MaterializeResult(metadata={"rows": lake.read("interactions").num_rows})


def materialised(result: dg.ExecuteInProcessResult) -> set[str]:
    """Assets that the run materialised."""
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """What a person reads about the steps that failed, and about the checks that did."""
    texts = []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None:
                texts.append(error.message)
                error = error.cause
            if event.step_failure_data.user_failure_data:
                texts.append(str(event.step_failure_data.user_failure_data.description))
    texts += [check.description or "" for check in result.get_asset_check_evaluations() if not check.passed]
    return "\n".join(texts)


def truncated_gzip(rows: Sequence[Row]) -> bytes:
    """A gzip file whose upload broke off."""
    whole = gzip.compress(as_csv(rows))
    return whole[: len(whole) * 2 // 3]


def validate_day(day: date, table: pa.Table, context: ValidationContext) -> Verdict:
    """The verdict on one delivered day."""
    return next(validate_days([(day, table, context)]))


def changed(change: Callable[[int, Row], None], every: int = 1, count: int = ROWS) -> list[Row]:
    """Good rows, each ``every``-th of them changed."""
    rows = good_rows(count=count)
    for i, row in enumerate(rows):
        if i % every == 0:
            change(i, row)
    return rows
