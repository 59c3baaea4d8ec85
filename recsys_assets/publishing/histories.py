"""Copies each shopper's newest events from the lake into the history store, which serving reads.

A run writes only shoppers whose newest events changed since the last run: the lake table `PUBLISHED` holds one digest
per shopper. The same random generation id is in that table and beside the store; when they differ (the store was
emptied or replaced), everything is written again.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa

from lambda_api.interactions import INTERACTION_LABELS, InteractionType
from lambda_api.state.history import HistoryStore, StoredEvent
from lambda_api.state.table import Key, Put, Table
from recsys_assets.data_gate import require_open
from recsys_assets.features.engine import duckdb_engine, end_of_log, read_lake
from recsys_assets.lake import Lake

HISTORY_LENGTH: Final = 200
"""Newest events per shopper; a request reads no more."""

HISTORY_DAYS: Final = 400
"""As long as the store keeps events: more than a year, so that last season counts in this one."""

PUBLISHED: Final = "published_histories"
"""Lake table: ``user_id`` and ``digest`` of what the last finished run left in the store."""

GENERATION: Final = Key("publishing", "shopper_histories")
"""Record in the serving table: ``generation``, the name of the content `PUBLISHED` describes."""

BATCH: Final = 500
"""Shoppers handed to the store at once."""

_GENERATION_KEY: Final = b"recsys_generation"

_NEWEST: Final = """
    CREATE TEMP TABLE newest AS
    SELECT user_id, interaction_id, product_id, interaction_type, epoch_us(timestamp) // 1000000 AS seconds
    FROM interactions
    WHERE timestamp >= ?
    QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY timestamp DESC, interaction_id DESC) <= ?
"""
# The hash of every event, order-free: a shopper's events are a set, and ids make its members differ.
_DIGESTS: Final = """
    SELECT user_id, printf('%016x-%d', bit_xor(hash(interaction_id, product_id, interaction_type, seconds)), count(*))
        AS digest
    FROM newest GROUP BY user_id ORDER BY user_id
"""
_EVENTS: Final = """
    SELECT user_id, interaction_id, product_id, interaction_type, seconds
    FROM newest {only}
    ORDER BY user_id, seconds, interaction_id
"""

DIGESTS_SCHEMA = pa.schema([pa.field("user_id", pa.string()), pa.field("digest", pa.string())])


@dataclass(frozen=True)
class PublishedHistories:
    """Counts of one run.

    Attributes:
        shoppers, events: in the store after this run, from the lake.
        written_shoppers, written_events: by this run.
        forgotten_shoppers: with a history before this run and none after it.
    """

    shoppers: int
    events: int
    written_shoppers: int
    written_events: int
    forgotten_shoppers: int


def publish_histories(
    lake: Lake, store: HistoryStore, serving: Table, *, days: int = HISTORY_DAYS, everything: bool = False
) -> PublishedHistories:
    """Bring the store up to the lake's newest events of each shopper of the last ``days`` of the log.

    An interrupted run can be repeated.

    Args:
        lake: where the validated interactions are.
        store: where histories go.
        serving: keeps `GENERATION`.
        days: shoppers without an event for so many days are removed.
        everything: write every shopper, changed or not.

    Raises:
        GateClosed: a delivery may not be used.
        LakeError: there are no interactions.
        TableUnavailable: the store cannot be written.
    """
    with _newest_events(lake, days) as connection:
        digests = connection.sql(_DIGESTS).to_arrow_table().cast(DIGESTS_SCHEMA)
        known = _published(lake, serving)
        pairs = zip(digests["user_id"].to_pylist(), digests["digest"].to_pylist(), strict=True)
        changed = [user_id for user_id, digest in pairs if everything or known.get(user_id) != digest]
        connection.register("changed", pa.table({"user_id": pa.array(changed, pa.string())}))
        written = 0
        # Shoppers who left the log are removed now, before the store's own expiry.
        gone = sorted(known.keys() - set(digests["user_id"].to_pylist()))
        batch: dict[str, list[StoredEvent]] = {user_id: [] for user_id in gone}
        changes = connection.sql(_EVENTS.format(only="SEMI JOIN changed USING (user_id)"))
        for user_id, events in _histories(changes.to_arrow_reader(100_000)):
            batch[user_id] = events
            written += len(events)
            if len(batch) >= BATCH:
                store.seed_many(batch)
                batch = {}
        if batch:
            store.seed_many(batch)
        total = int(connection.sql("SELECT count(*) FROM newest").fetchall()[0][0])
    if changed or gone:
        _remember(lake, serving, digests)
    return PublishedHistories(digests.num_rows, total, len(changed), written, len(gone))


def newest_histories(lake: Lake) -> Iterator[tuple[str, list[StoredEvent]]]:
    """Every shopper of the last `HISTORY_DAYS` of the log, ordered by id, with what `publish_histories` gives them.

    Raises:
        GateClosed, LakeError: as `publish_histories`.
    """
    with _newest_events(lake, HISTORY_DAYS) as connection:
        yield from _histories(connection.sql(_EVENTS.format(only="")).to_arrow_reader(100_000))


@contextmanager
def _newest_events(lake: Lake, days: int) -> Iterator[Any]:
    """A DuckDB connection with the table ``newest``: the newest `HISTORY_LENGTH` events of each shopper."""
    require_open(lake)
    as_of = end_of_log(lake)
    with duckdb_engine() as engine:
        read_lake(engine, lake, as_of)
        engine.con.execute(_NEWEST, [as_of - timedelta(days=days), HISTORY_LENGTH])
        yield engine.con


def unreadable_histories(lake: Lake, store: HistoryStore, sample: int) -> tuple[list[str], int]:
    """Shoppers of the newest day whose newest event the store lacks, of about ``sample`` asked, and how many were.

    A newer event from the live shop may take its place.
    """
    log = lake.read("interactions", ("user_id", "product_id", "timestamp"), start=lake.days("interactions")[-1])
    newest = log.group_by("user_id").aggregate([("timestamp", "max")]).sort_by("user_id")
    step = max(1, newest.num_rows // sample)
    asked = newest.take(pa.array(range(0, newest.num_rows, step), pa.int64())).to_pylist()
    failed = []
    for row in asked:
        seconds = int(row["timestamp_max"].timestamp())
        history = store.recent(row["user_id"], HISTORY_LENGTH)
        if not history or history[-1].timestamp < seconds:
            failed.append(row["user_id"])
    return failed, len(asked)


def _histories(reader: pa.RecordBatchReader) -> Iterator[tuple[str, list[StoredEvent]]]:
    """Shoppers one by one from rows ordered by shopper and time."""
    kinds = {label: InteractionType.from_label(label) for label in INTERACTION_LABELS}
    for user_id, rows in groupby(_rows(reader), key=itemgetter(0)):
        yield (
            user_id,
            [
                StoredEvent(
                    event_id=event_id,
                    user_id=user_id,
                    product_id=product_id,
                    interaction_type=kinds[label],
                    timestamp=seconds,
                    # A history is what recommending reads of it; amounts stay in the lake.
                    rating=None,
                    price=None,
                    quantity=None,
                    request_id=None,
                    variant=None,
                )
                for _, event_id, product_id, label, seconds in rows
            ],
        )


def _rows(reader: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    for batch in reader:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _published(lake: Lake, serving: Table) -> dict[str, str]:
    """Digest by shopper of what is in the store; empty when the generations differ."""
    record = serving.get(GENERATION)
    if record is None or not lake.has_table(PUBLISHED):
        return {}
    table = lake.read(PUBLISHED)
    if (table.schema.metadata or {}).get(_GENERATION_KEY, b"").decode() != record.attributes["generation"]:
        return {}
    return dict(zip(table["user_id"].to_pylist(), table["digest"].to_pylist(), strict=True))


def _remember(lake: Lake, serving: Table, digests: pa.Table) -> None:
    generation = uuid.uuid4().hex
    lake.write_table(PUBLISHED, digests.replace_schema_metadata({_GENERATION_KEY: generation.encode()}))
    # Written last: until then a next run finds different generations and writes everything.
    serving.write([Put(GENERATION, {"generation": generation, "shoppers": digests.num_rows})])
