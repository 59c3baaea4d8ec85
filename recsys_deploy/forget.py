"""Removes one shopper from a home (``recsys forget``), and finds what still names them.

Removed are: the history that serving reads, lists shown and feedback, batch lists, the shopper's rows in every table of
the lake, the shop page's list of shoppers, and pages of reports that name the id. A trained model cannot be changed: a
bundle that holds the id is named, and goes with the next training. The shop's own export is not touched: a row that
stays in it comes back when its day is ingested again.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lambda_api.atomic_files import replaced_file, write_bytes, write_text
from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from lambda_api.state.exposures import InferenceLog
from lambda_api.state.history import HistoryStore
from lambda_api.state.open_table import open_table
from lambda_api.state.table import Delete
from recsys_assets.event_stream import events_root
from recsys_assets.publishing.storefront import SHOPPERS_JSON
from recsys_deploy.batch.results import record_key

USER: Final = "user_id"
PAGES: Final = ("reports", "data_docs", "training", "logs")
"""Folders of files that are made anew by the next run: one that names the shopper is removed."""

BUNDLES: Final = ("models", "bundles", "candidates")


class ForgetRefused(RecsysError):
    """A shopper cannot be removed from here."""


@dataclass(frozen=True)
class Forgotten:
    """What was removed.

    Attributes:
        history: records of the serving history.
        events: lines of the event stream.
        lists: lists shown, and the batch list.
        rows: rows of the lake by table.
        files: files removed because they named the shopper.
        bundles: bundles that still hold the id, until the next training replaces them.
        elsewhere: other files of the home that still name the id.
    """

    history: int
    events: int
    lists: int
    rows: dict[str, int]
    files: tuple[Path, ...]
    bundles: tuple[Path, ...]
    elsewhere: tuple[Path, ...]


def forget(settings: Settings, user_id: str) -> Forgotten:
    """Remove ``user_id`` from the home of ``settings``. May be repeated.

    Raises:
        ForgetRefused: the state is on AWS.
        TableUnavailable: some may be removed; call it again.
    """
    if settings.target != "local":
        raise ForgetRefused(
            "this command works on a home on this machine", remedy="on AWS follow docs/security.md, personal data"
        )
    events, requests = _from_events(Path(events_root(settings)), user_id)
    log = InferenceLog(open_table(settings, "exposures"))
    lists = sum(1 for request_id in requests if log.delete(request_id))
    serving = open_table(settings, "serving")
    if serving.get(record_key(user_id)) is not None:
        serving.write([Delete(record_key(user_id))])
        lists += 1
    store = HistoryStore(open_table(settings, "history"))
    history = store.delete(user_id)
    rows = _from_lake(Path(settings.lake_uri), user_id)
    _from_page(settings.home / "storefront" / SHOPPERS_JSON, user_id)
    files = _remove_pages(settings.home, user_id)
    store.removed(user_id)
    _vacuum(settings.home)
    named = list(places(settings.home, user_id))
    bundles = {_bundle_of(path, settings.home) for path in named if _is_in(path, settings.home, BUNDLES)}
    elsewhere = tuple(path for path in named if not _is_in(path, settings.home, BUNDLES))
    return Forgotten(history, events, lists, rows, files, tuple(sorted(bundles)), elsewhere)


def requested(settings: Settings) -> list[str]:
    """Shoppers whose removal was requested with ``POST /forget`` and is not finished. Raises ``TableUnavailable``."""
    return sorted(HistoryStore(open_table(settings, "history")).removals())


def places(home: Path, user_id: str) -> Iterator[Path]:
    """Every file of ``home`` that holds the id as a value of its own, compressed tables and databases included."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and _names(path, user_id):
            yield path


def _names(path: Path, user_id: str) -> bool:
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
        texts = [column for column in table.columns if pa.types.is_string(column.type)]
        return any(pc.any(pc.equal(column, user_id)).as_py() for column in texts)
    if path.suffix == ".npy":
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
        wanted = user_id.encode() if ids.dtype.kind == "S" else user_id
        return ids.dtype.kind in "SU" and bool(np.any(ids == wanted))
    # An id that is part of a longer one is not this shopper's.
    return _token(user_id).search(path.read_bytes()) is not None


def _token(user_id: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![A-Za-z0-9_.@-])" + re.escape(user_id.encode()) + rb"(?![A-Za-z0-9_.@-])")


def _from_events(root: Path, user_id: str) -> tuple[int, set[str]]:
    """Lines removed from the event stream, and the request ids of the shopper's lists."""
    removed, requests = 0, set()
    for file in sorted(root.rglob("*.jsonl")):
        kept: list[bytes] = []
        mine = 0
        for line in file.read_bytes().splitlines(keepends=True):
            try:
                record = json.loads(line)
            except ValueError:  # a damaged line stays; `places` names its file where it holds the id
                record = {}
            if isinstance(record, dict) and record.get(USER) == user_id:
                mine += 1
                requests.add(str(record.get("request_id") or ""))
            else:
                kept.append(line)
        if mine:
            # A server that has the file open notices that it was replaced, and starts another.
            write_bytes(file, b"".join(kept))
            removed += mine
    return removed, requests - {""}


def _from_lake(root: Path, user_id: str) -> dict[str, int]:
    removed: dict[str, int] = {}
    for file in sorted(root.rglob("*.parquet")):
        if USER not in pq.read_schema(file).names:
            continue
        table = pq.read_table(file, partitioning=None)
        mine = pc.fill_null(pc.equal(table[USER].cast(pa.string()), user_id), False)
        count = pc.sum(mine).as_py() or 0
        if count:
            with replaced_file(file) as partial:
                pq.write_table(table.filter(pc.invert(mine)), partial, compression="zstd")
            name = file.relative_to(root).parts[0]
            removed[name] = removed.get(name, 0) + count
    return removed


def _from_page(file: Path, user_id: str) -> None:
    if not file.is_file():
        return
    content = json.loads(file.read_text(encoding="utf-8"))
    content["shoppers"] = [shopper for shopper in content["shoppers"] if shopper["id"] != user_id]
    write_text(file, json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def _remove_pages(home: Path, user_id: str) -> tuple[Path, ...]:
    found = [path for name in PAGES for path in places(home / name, user_id)]
    for path in found:
        path.unlink()
    return tuple(found)


def _vacuum(home: Path) -> None:
    """Let SQLite overwrite what was deleted, its log included."""
    for file in sorted(home.glob("*.sqlite3")):
        connection = sqlite3.connect(file, timeout=30)
        try:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()


def _is_in(path: Path, home: Path, folders: tuple[str, ...]) -> bool:
    return path.relative_to(home).parts[0] in folders


def _bundle_of(path: Path, home: Path) -> Path:
    return home.joinpath(*path.relative_to(home).parts[:2])
