"""The table port on one SQLite file: for any number of threads and processes of one machine.

The file must not be on a network share, because write-ahead logging needs shared memory.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lambda_api.state.encoding import EncodedWrite, check_key, check_query, encode_writes
from lambda_api.state.table import ConditionFailed, Key, Record, TableUnavailable, Write

_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS records (
        table_name TEXT NOT NULL,
        partition TEXT NOT NULL,
        sort TEXT NOT NULL,
        attributes TEXT NOT NULL,
        expires_at INTEGER,
        PRIMARY KEY (table_name, partition, sort)
    )
    """,
    "CREATE INDEX IF NOT EXISTS records_by_expiry ON records (expires_at) WHERE expires_at IS NOT NULL",
)
_GET = """
    SELECT attributes FROM records
    WHERE table_name = ? AND partition = ? AND sort = ? AND (expires_at IS NULL OR expires_at > ?)
"""
_PUT = """
    INSERT INTO records (table_name, partition, sort, attributes, expires_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (table_name, partition, sort)
    DO UPDATE SET attributes = excluded.attributes, expires_at = excluded.expires_at
"""
_DELETE = "DELETE FROM records WHERE table_name = ? AND partition = ? AND sort = ?"
# A few at a time, so that no single write is slow.
_PURGE = "DELETE FROM records WHERE rowid IN (SELECT rowid FROM records WHERE expires_at <= ? LIMIT 50)"
# An upper bound above every text: comparisons of TEXT with BLOB rank every BLOB higher.
_QUERY = """
    SELECT sort, attributes FROM records
    WHERE table_name = ? AND partition = ? AND sort >= ? AND sort < coalesce(?, x'')
      AND (expires_at IS NULL OR expires_at > ?)
    ORDER BY sort {direction} LIMIT ?
"""
_QUERIES = {newest_first: _QUERY.format(direction="DESC" if newest_first else "ASC") for newest_first in (False, True)}


class _Connection(sqlite3.Connection):
    """A connection with device and inode of its file."""

    identity: tuple[int, int] | None = None


class SqliteTable:
    """One table of the port (`lambda_api.state.table.Table`) in the SQLite file ``path``.

    The file and its schema are created on first use. Several tables share a file, distinguished by ``name``. Writers
    queue (``BEGIN IMMEDIATE``); readers do not wait for them (write-ahead log). Later writes remove expired records.

    SQLite continues to use a file that has been deleted, and its writes are then lost. Therefore the file is compared
    with the one that was opened before each call and after each write. A replaced file is opened; while there is none,
    calls fail (a new process would create one).

    Args:
        path: the database file; its folder is created.
        name: the table's name within the file.
        clock: seconds since 1970 UTC, for expiry.
        busy_timeout_s: longest wait for the lock before `TableUnavailable`.
    """

    def __init__(
        self, path: Path | str, name: str, *, clock: Callable[[], float] = time.time, busy_timeout_s: float = 30.0
    ) -> None:
        if not name:
            raise ValueError("a table needs a name")
        self.path = Path(path)
        self.name = name
        self._clock = clock
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._used = False
        self._owner = os.getpid()
        self._inherited: list[_Connection] = []

    def get(self, key: Key) -> Record | None:
        """See `lambda_api.state.table.Table.get`."""
        check_key(key)
        with self._connection() as connection:
            attributes = self._live_attributes(connection, key, self._clock())
        return None if attributes is None else Record(key, attributes)

    def write(self, writes: Sequence[Write]) -> None:
        """See `lambda_api.state.table.Table.write`."""
        encoded = encode_writes(writes)
        if not encoded:
            return
        # Encoded before the file's only write lock is taken.
        deletes, puts = self._rows(encoded)
        with self._connection() as connection, _immediate_transaction(connection, self._busy_timeout_s):
            now = self._clock()
            failed = []
            for write in encoded:
                if write.must_be_absent or write.matches is not None:
                    found = self._live_attributes(connection, write.key, now)
                    if not write.holds(found):
                        failed.append((write.key, found))
            if failed:
                raise ConditionFailed(*failed[0], keys=[key for key, _ in failed])
            connection.execute(_PURGE, (now,))
            # No two writes are on one key, so their order does not matter.
            connection.executemany(_DELETE, deletes)
            connection.executemany(_PUT, puts)
        if self._identity() != connection.identity:
            raise TableUnavailable(
                f"{self.path} was removed or replaced while table {self.name!r} was written: not stored"
            )

    def query(
        self, partition: str, *, prefix: str = "", newest_first: bool = False, limit: int | None = None
    ) -> list[Record]:
        """See `lambda_api.state.table.Table.query`."""
        check_query(partition, prefix, limit)
        bounds = (prefix, _after_prefix(prefix))
        with self._connection() as connection:
            rows = connection.execute(
                _QUERIES[newest_first],
                (self.name, partition, *bounds, self._clock(), -1 if limit is None else limit),
            ).fetchall()
            # One text for all: parsing many small ones takes twice as long.
            parsed = json.loads(f"[{','.join(attributes for _, attributes in rows)}]")
            return [Record(Key(partition, sort), found) for (sort, _), found in zip(rows, parsed, strict=True)]

    def close(self) -> None:
        """Close idle connections. The table may be used again afterwards."""
        with self._lock:
            idle, self._idle = self._idle, []
        if self._owner == os.getpid():
            for connection in idle:
                connection.close()

    def _live_attributes(self, connection: sqlite3.Connection, key: Key, now: float) -> dict[str, Any] | None:
        row = connection.execute(_GET, (self.name, key.partition, key.sort, now)).fetchone()
        if row is None:
            return None
        attributes: dict[str, Any] = json.loads(row[0])
        return attributes

    def _rows(self, writes: Sequence[EncodedWrite]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Parameters of `_DELETE` and of `_PUT`."""
        deletes: list[tuple[Any, ...]] = []
        puts: list[tuple[Any, ...]] = []
        for write in writes:
            address = (self.name, write.key.partition, write.key.sort)
            if write.attributes is None:
                deletes.append(address)
                continue
            members = sorted(write.attributes.items())
            text = ",".join(f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in members)
            puts.append((*address, "{" + text + "}", write.expires_at))
        return deletes, puts

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        connection = self._borrow()
        try:
            yield connection
        except (sqlite3.Error, json.JSONDecodeError) as error:  # the latter for a damaged page
            connection.close()
            raise self._explain(error) from error
        except BaseException:
            self._give_back(connection)
            raise
        self._give_back(connection)

    def _borrow(self) -> _Connection:
        try:
            identity = self._identity()
            with self._lock:
                if self._owner != os.getpid():
                    # SQLite forbids to use or close a connection after a fork: keep it and open another.
                    self._inherited += self._idle
                    self._idle = []
                    self._owner = os.getpid()
                if self._used and identity is None:
                    raise TableUnavailable(
                        f"{self.path}, which holds table {self.name!r}, was removed while in use; put it back, or "
                        "restart this process to begin an empty one"
                    )
                while self._idle:
                    connection = self._idle.pop()
                    if connection.identity == identity:
                        return connection
                    connection.close()
            connection = self._open()
            connection.identity = self._identity()
            self._used = True
            return connection
        except (sqlite3.Error, OSError) as error:
            raise self._explain(error) from error

    def _identity(self) -> tuple[int, int] | None:
        """Device and inode of the file at the path."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            self._idle.append(connection)

    def _open(self) -> _Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                # Enabling the log takes an exclusive lock for which SQLite does not wait, so it is retried here.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                made = connection.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'records%'").fetchone()
                if made[0] < 2:
                    with _immediate_transaction(connection, self._busy_timeout_s):
                        for statement in _SCHEMA:
                            connection.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)

    def _explain(self, error: Exception) -> Exception:
        if _is_busy(error):
            return TableUnavailable(
                f"table {self.name!r} in {self.path} stayed locked by another process for {self._busy_timeout_s:g} s; "
                "nothing was written. End the process that holds it, or try again"
            )
        return TableUnavailable(f"table {self.name!r} in {self.path} cannot be used: {error}")


@contextmanager
def _immediate_transaction(connection: sqlite3.Connection, patience_s: float) -> Iterator[None]:
    _begin(connection, patience_s)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection, patience_s: float) -> None:
    """Take the write lock, retrying every few milliseconds.

    SQLite's own busy handler retries ever less often, which makes the longest waiting writer the least likely to be
    next: the 99th percentile of writes was 55 ms instead of 17 ms (two processes with four threads each).
    """
    began = time.monotonic()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - began
                if not _is_busy(error) or waited >= patience_s:
                    raise
                time.sleep(min(0.02, 0.001 + 0.02 * waited, patience_s - waited))
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * patience_s)}")


def _is_busy(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _after_prefix(prefix: str) -> str | None:
    """The smallest text above all texts that start with ``prefix``; ``None`` if there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    # U+D800..U+DFFF are no characters; UTF-8 order and code point order agree on all others.
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)
