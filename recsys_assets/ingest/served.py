"""Lists that were shown, and what followed from them, as daily tables: one row per shown product.

``served_lists`` holds what the shopper saw and by what chance; ``list_outcomes`` what they did with each product in
answer to that list within `ATTRIBUTION_S`. Both are made from the event stream and may be made again at any time; a day
of which files have arrived or grown since is found by its fingerprint.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from lambda_api.interactions import InteractionType
from lambda_api.state.exposures import Exposure
from lambda_api.state.history import StoredEvent
from recsys_assets.event_stream import (
    ATTRIBUTION_S,
    FINGERPRINT,
    StreamFile,
    by_day,
    event_of,
    exposure_of,
    fingerprint,
    read_records,
    stream_files,
)
from recsys_assets.lake import Lake
from recsys_assets.schema import TIMESTAMP

LATE_DAYS: Final = 14
"""Feedback that arrives so many days after its list is still counted."""

LISTS_UNTIL: Final = 1
"""Lists of a day arrive on it or, where a reply crossed midnight, this many days later."""

Files = Mapping[date, Sequence[StreamFile]]

_SHOWN: Final = [
    ("request_id", pa.string()),
    ("user_id", pa.string()),
    ("shown_at", TIMESTAMP),
    ("list_kind", pa.string()),
    ("experiment", pa.string()),
    ("revision", pa.int64()),
    ("variant", pa.string()),
    ("model_version", pa.string()),
    ("page", pa.string()),
    ("place", pa.int32()),
    ("product_id", pa.string()),
    ("propensity", pa.float64()),
    ("reason", pa.string()),
]

SERVED_LISTS = pa.schema(
    [*_SHOWN, ("score", pa.float64()), ("stage", pa.string()), ("cause", pa.string()), ("latency_ms", pa.float64())]
)
"""A row per shown product. ``propensity``: the chance of exploration putting it there; null where nothing was drawn."""

LIST_OUTCOMES = pa.schema(
    [
        *_SHOWN,
        ("views", pa.int32()),
        ("carts", pa.int32()),
        ("purchases", pa.int32()),
        ("revenue", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
"""A row per shown product; ``seconds`` from the list to the first event that answers it, null without one."""


def served_lists(root: str, day: date) -> pa.Table:
    """Lists shown on ``day`` (UTC), every request once, by moment, request and place."""
    return _table(_exposures(root, day), SERVED_LISTS, _list_row)


def list_outcomes(root: str, day: date) -> pa.Table:
    """What followed from the lists of ``day``; complete once a day has passed, and made again when more arrives."""
    exposures = _exposures(root, day)
    answers: dict[tuple[str, str, str], list[StoredEvent]] = defaultdict(list)
    wanted, seen = {exposure.request_id for exposure in exposures}, set()
    for record in read_records(root, "feedback", day, day + timedelta(days=LATE_DAYS)):
        event = event_of(record)
        if event is not None and event.request_id in wanted and event.event_id not in seen:
            seen.add(event.event_id)
            answers[event.request_id or "", event.user_id, event.product_id].append(event)

    def row(exposure: Exposure, item: Any) -> dict[str, Any]:
        shown = exposure.at_ms / 1000
        found = [
            event
            for event in answers.get((exposure.request_id, exposure.user_id, item.product_id), ())
            if shown - 1 < event.timestamp <= shown + ATTRIBUTION_S
        ]
        kinds = [event.interaction_type for event in found]
        bought = [event for event in found if event.interaction_type is InteractionType.PURCHASE]
        return {
            **_shown_row(exposure, item),
            "views": kinds.count(InteractionType.VIEW),
            "carts": kinds.count(InteractionType.ADD_TO_CART),
            "purchases": len(bought),
            "revenue": sum((event.price or 0.0) * (event.quantity or 1) for event in bought),
            "seconds": max(0.0, min(event.timestamp for event in found) - shown) if found else None,
        }

    return _table(exposures, LIST_OUTCOMES, row)


def fingerprint_of(root: str, day: date) -> str:
    """Changes when files that the tables of ``day`` are made of arrive or grow."""
    lists = stream_files(root, "exposure", day, day + timedelta(days=LISTS_UNTIL))
    feedback = stream_files(root, "feedback", day, day + timedelta(days=LATE_DAYS))
    return _fingerprint(by_day(lists), by_day(feedback), day)


def days_to_make(root: str, lake: Lake) -> list[date]:
    """Days with lists whose tables are missing or older than the stream, ascending."""
    stored, found = set(lake.days("list_outcomes")), []
    lists, feedback = by_day(stream_files(root, "exposure")), by_day(stream_files(root, "feedback"))
    for day in sorted(lists):
        metadata = lake.day_metadata("list_outcomes", day) if day in stored else {}
        if metadata.get(FINGERPRINT, b"").decode() != _fingerprint(lists, feedback, day):
            found.append(day)
    return found


def _fingerprint(lists: Files, feedback: Files, day: date) -> str:
    """Of the files among these that the tables of ``day`` are made of."""
    return fingerprint(
        (file.name, file.stamp)
        for files, last in ((lists, LISTS_UNTIL), (feedback, LATE_DAYS))
        for offset in range(last + 1)
        for file in files.get(day + timedelta(days=offset), ())
    )


def _exposures(root: str, day: date) -> list[Exposure]:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    found: dict[str, Exposure] = {}
    for record in read_records(root, "exposure", day, day + timedelta(days=LISTS_UNTIL)):
        exposure = exposure_of(record)
        if exposure is not None and start <= exposure.at_ms < start + 86_400_000:
            found.setdefault(exposure.request_id, exposure)
    return sorted(found.values(), key=lambda one: (one.at_ms, one.request_id))


def _table(exposures: list[Exposure], schema: pa.Schema, row: Any) -> pa.Table:
    rows = [row(exposure, item) for exposure in exposures for item in sorted(exposure.items, key=lambda one: one.rank)]
    return pa.Table.from_pylist(rows, schema)


def _shown_row(exposure: Exposure, item: Any) -> dict[str, Any]:
    return {
        "request_id": exposure.request_id,
        "user_id": exposure.user_id,
        "shown_at": datetime.fromtimestamp(exposure.at_ms / 1000, UTC),
        "list_kind": exposure.list_kind,
        "experiment": exposure.experiment,
        "revision": exposure.revision,
        "variant": exposure.variant,
        "model_version": exposure.model_version,
        "page": exposure.context.get("page"),
        "place": item.rank,
        "product_id": item.product_id,
        "propensity": item.propensity,
        "reason": item.reason,
    }


def _list_row(exposure: Exposure, item: Any) -> dict[str, Any]:
    return {
        **_shown_row(exposure, item),
        "score": item.score,
        "stage": exposure.stage,
        "cause": exposure.cause,
        "latency_ms": exposure.latency_ms,
    }
