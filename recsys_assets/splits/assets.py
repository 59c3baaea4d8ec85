"""The asset ``temporal_splits``, and how later stages read the stored split."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC
from itertools import pairwise
from typing import Any

import dagster as dg
import pyarrow as pa

from lambda_api.settings import Settings
from recsys_assets.asset_metadata import wide_table
from recsys_assets.data_gate import require_open
from recsys_assets.lake import Lake, LakeError
from recsys_assets.schema import TIMESTAMP
from recsys_assets.splits.choice import choose_split
from recsys_assets.splits.description import PartStats, as_markdown, describe_split
from recsys_assets.splits.temporal import PARTS, Fold, TemporalSplit, most_folds, rolling_origin_folds
from recsys_assets.tags import OWNERS

SPLITS_TABLE = "temporal_splits"
FOLDS_TABLE = "rolling_origin_folds"

MAX_FOLDS = 3
"""Rolling-origin folds to make where the log is long enough; each is as long as the validation period."""

SPLITS_SCHEMA = pa.schema(
    [
        pa.field("part", pa.string()),
        pa.field("start", TIMESTAMP),
        pa.field("end", TIMESTAMP),
        pa.field("interactions", pa.int64()),
        pa.field("users", pa.int64()),
        pa.field("products", pa.int64()),
        pa.field("cold_user_share", pa.float64()),
        pa.field("cold_product_share", pa.float64()),
    ]
)
FOLDS_SCHEMA = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("train_start", TIMESTAMP),
        pa.field("train_end", TIMESTAMP),
        pa.field("test_start", TIMESTAMP),
        pa.field("test_end", TIMESTAMP),
    ]
)

_DESCRIPTIONS = {
    "part": "train, validation or test",
    "start": "First moment of the part, UTC",
    "end": "First moment after the part, UTC",
    "interactions": "Events in the part, count",
    "users": "Different shoppers in the part, count",
    "products": "Different products in the part, count",
    "cold_user_share": "Share (0 to 1) of its shoppers without an event in an earlier part. Null: train",
    "cold_product_share": "Share (0 to 1) of its products without an event in an earlier part. Null: train",
}
_LINEAGE = {
    "users": ("timestamp", "user_id"),
    "cold_user_share": ("timestamp", "user_id"),
    "products": ("timestamp", "product_id"),
    "cold_product_share": ("timestamp", "product_id"),
}

PARTS_IN_ORDER = "parts_in_order"


@dg.asset(
    group_name="splits",
    owners=OWNERS,
    deps=["interactions"],
    kinds={"parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            PARTS_IN_ORDER,
            asset="temporal_splits",
            description="Train, validation and test follow each other, none empty.",
        )
    ],
)
def temporal_splits(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult[None]]:
    """Train, validation and test periods, the same for every shopper, and rolling-origin folds before the test."""
    require_open(lake)
    events = lake.read("interactions", ("user_id", "product_id", "timestamp"))
    split = choose_split(events["timestamp"], settings)
    stats, folds = describe_split(events, split), folds_before_test(split)
    uri = lake.write_table(SPLITS_TABLE, pa.Table.from_pylist([asdict(part) for part in stats], schema=SPLITS_SCHEMA))
    lake.write_table(FOLDS_TABLE, pa.Table.from_pylist([asdict(fold) for fold in folds], schema=FOLDS_SCHEMA))
    context.log.info(f"{len(folds)} rolling-origin folds; split:\n{as_markdown(stats)}")
    yield dg.MaterializeResult(metadata=_metadata(uri, stats, folds), check_results=[_check_parts(stats)])


def _check_parts(stats: Sequence[PartStats]) -> dg.AssetCheckResult:
    follows = all(before.end == after.start for before, after in pairwise(stats))
    return dg.AssetCheckResult(
        passed=follows and all(part.start < part.end and part.interactions > 0 for part in stats),
        check_name=PARTS_IN_ORDER,
        metadata={part.part: part.interactions for part in stats},
    )


def folds_before_test(split: TemporalSplit) -> list[Fold]:
    """Up to `MAX_FOLDS` folds over train and validation, the last being the validation period; fewer on a short log.

    The test period is never part of a fold: what is tuned on folds must not have seen it.
    """
    window = split.test_start - split.validation_start
    count = most_folds(split.train_start, split.test_start, window, MAX_FOLDS)
    return rolling_origin_folds(split.train_start, split.test_start, count, window) if count else []


def load_split(lake: Lake) -> TemporalSplit:
    """The stored split. Raises `LakeError` when it has not been made, or does not hold the three parts."""
    if not lake.has_table(SPLITS_TABLE):
        raise LakeError(f"{lake.uri(SPLITS_TABLE)} is not there; materialise the asset 'temporal_splits' first")
    rows = {row["part"]: row for row in lake.read(SPLITS_TABLE, ("part", "start", "end")).to_pylist()}
    if set(rows) != set(PARTS):
        raise LakeError(
            f"{lake.uri(SPLITS_TABLE)} holds {sorted(rows)} instead of {list(PARTS)}; materialise 'temporal_splits'"
        )
    train, validation, test = (rows[part] for part in PARTS)
    moments = (train["start"], validation["start"], test["start"], test["end"])
    return TemporalSplit(*(moment.astimezone(UTC) for moment in moments))


def _metadata(uri: str, stats: list[PartStats], folds: list[Fold]) -> dict[str, Any]:
    columns = [
        dg.TableColumn(field.name, type=str(field.type), description=_DESCRIPTIONS[field.name])
        for field in SPLITS_SCHEMA
    ]
    lineage = {
        name: [dg.TableColumnDep(dg.AssetKey("interactions"), column) for column in _LINEAGE.get(name, ("timestamp",))]
        for name in SPLITS_SCHEMA.names
    }
    fold_lines = ["| fold | train from (UTC) | train to | test from | test to |", "|--:|---|---|---|---|"]
    for fold in folds:
        moments = (fold.train_start, fold.train_end, fold.test_start, fold.test_end)
        fold_lines.append(f"| {fold.number} | " + " | ".join(f"{moment:%Y-%m-%d %H:%M}" for moment in moments) + " |")
    return {
        "dagster/uri": dg.MetadataValue.text(uri),
        "dagster/row_count": dg.MetadataValue.int(len(stats)),
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
        "split": wide_table(as_markdown(stats)),
        "folds": wide_table("\n".join(fold_lines)),
    }
