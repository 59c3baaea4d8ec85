"""The table port on one SQLite file: the embedded default, for any number of threads and processes of one machine.

Put here only what is SQLite's own: connections, locking, SQL. Keep rules about values in
``lambda_api.state.encoding``, and keep the file off network shares (write-ahead logging needs shared memory).
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
# A few at a time, so that no single write pays for a backlog.
_PURGE = "DELETE FROM records WHERE rowid IN (SELECT rowid FROM records WHERE expires_at <= ? LIMIT 50)"
# An upper bound above every text: comparisons of TEXT with BLOB rank every BLOB higher.
_QUERY = """
    SELECT sort, attributes FROM records
    WHERE table_name = ? AND partition = ? AND sort >= ? AND sort < coalesce(?, x'')
      AND (expires_at IS NULL OR expires_at > ?)
    ORDER BY sort {direction} LIMIT ?
"""
_QUERIES = {newest_first: _QUERY.format(direction="DESC" if newest_first else "ASC") for newest_first in (False, True)}


class SqliteTable:
    """One table of the port (`lambda_api.state.table.Table`) in the SQLite file ``path``.

    The file and its schema are made on first use. Several tables share a file, told apart by ``name``. Writers queue
    (``BEGIN IMMEDIATE``); readers never wait for them (write-ahead log). Expired records are removed by later writes.

    Args:
        path: the database file; its folder is made if need be.
        name: the table's name within the file.
        clock: seconds since 1970 UTC, for expiry.
        busy_timeout_s: how long a write waits for another's before `TableUnavailable`.
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
        self._idle: list[sqlite3.Connection] = []
        self._owner = os.getpid()
        self._inherited: list[sqlite3.Connection] = []

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
        with self._connection() as connection, _immediate_transaction(connection):
            now = self._clock()
            for write in encoded:
                found = self._live_attributes(connection, write.key, now)
                if not write.holds(found):
                    raise ConditionFailed(write.key, found)
            connection.execute(_PURGE, (now,))
            for write in encoded:
                self._apply(connection, write)

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
        return [Record(Key(partition, sort), json.loads(attributes)) for sort, attributes in rows]

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

    def _apply(self, connection: sqlite3.Connection, write: EncodedWrite) -> None:
        address = (self.name, write.key.partition, write.key.sort)
        if write.attributes is None:
            connection.execute(_DELETE, address)
            return
        members = (f"{json.dumps(name, ensure_ascii=False)}:{text}" for name, text in sorted(write.attributes.items()))
        connection.execute(_PUT, (*address, "{" + ",".join(members) + "}", write.expires_at))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = self._borrow()
        try:
            yield connection
        except sqlite3.Error as error:
            connection.close()
            raise self._explain(error) from error
        except BaseException:
            self._give_back(connection)
            raise
        self._give_back(connection)

    def _borrow(self) -> sqlite3.Connection:
        with self._lock:
            if self._owner != os.getpid():
                # SQLite forbids using, and even closing, a connection carried over a fork: keep it and open another.
                self._inherited += self._idle
                self._idle = []
                self._owner = os.getpid()
            if self._idle:
                return self._idle.pop()
        try:
            return self._open()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
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
                # Turning the log on takes an exclusive lock for which SQLite does not wait: processes that start
                # together must try again themselves.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                if (
                    connection.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'records%'").fetchone()[0]
                    < 2
                ):
                    with _immediate_transaction(connection):
                        for statement in _SCHEMA:
                            connection.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)

    def _explain(self, error: sqlite3.Error) -> Exception:
        if _is_busy(error):
            return TableUnavailable(
                f"table {self.name!r} in {self.path} stayed locked by another process for {self._busy_timeout_s:g} s; "
                "nothing was written. End the process that holds it, or try again"
            )
        return TableUnavailable(f"table {self.name!r} in {self.path} cannot be used: {error}")


@contextmanager
def _immediate_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _after_prefix(prefix: str) -> str | None:
    """The smallest text above every text that starts with ``prefix``; ``None`` when there is no such text."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    # U+D800..U+DFFF are no characters; UTF-8 order and code point order agree on all others.
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)
