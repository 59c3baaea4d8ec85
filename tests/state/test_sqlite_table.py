"""What only SQLite can get wrong: processes and threads that race, die, or start together on one file."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Absent, ConditionFailed, Delete, Key, Matches, Put, TableUnavailable
from tests.patience import PATIENCE_S
from tests.state.tables import Clock

POINTER = Key("pointer", "champion")
ROUNDS = 40
WRITERS = 4


def claim_rounds(path: Path, writer: int) -> list[int]:
    """Compete for every round by compare-and-swap on the pointer; returns the rounds this writer won."""
    table = SqliteTable(path, "state")
    won = []
    while True:
        record = table.get(POINTER)
        at = 0 if record is None else record.attributes["round"]
        if at == ROUNDS:
            table.close()
            return won
        condition = Absent() if record is None else Matches({"round": at})
        try:
            table.write(
                [
                    Put(POINTER, {"round": at + 1, "writer": writer}, condition=condition),
                    Put(Key("history", f"{at:04d}"), {"writer": writer}, condition=Absent()),
                ]
            )
        except ConditionFailed:
            continue
        won.append(at)


def _claim_into(path: Path, writer: int, start: object, results: object) -> None:
    start.wait(30)  # type: ignore[attr-defined]
    results.put((writer, claim_rounds(path, writer)))  # type: ignore[attr-defined]


def check_one_winner_per_round(path: Path, won: dict[int, list[int]]) -> None:
    counts = Counter(at for rounds in won.values() for at in rounds)
    assert counts == Counter(range(ROUNDS))
    table = SqliteTable(path, "state")
    history = [record.attributes["writer"] for record in table.query("history")]
    assert history == [next(writer for writer, rounds in won.items() if at in rounds) for at in range(ROUNDS)]
    table.close()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_compare_and_swap_has_one_winner_among_processes(tmp_path: Path, method: str) -> None:
    # The file does not exist yet: the processes also race to make it and its schema.
    path = tmp_path / "new" / "state.sqlite3"
    context = multiprocessing.get_context(method)
    start, results = context.Barrier(WRITERS), context.Queue()
    processes = [context.Process(target=_claim_into, args=(path, n, start, results)) for n in range(WRITERS)]
    for process in processes:
        process.start()
    won = dict(results.get(timeout=PATIENCE_S) for _ in processes)
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * WRITERS
    check_one_winner_per_round(path, won)


def test_compare_and_swap_has_one_winner_among_threads_of_one_table(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    barrier = threading.Barrier(WRITERS)

    def claim(writer: int) -> list[int]:
        barrier.wait()
        return claim_rounds(path, writer)

    with ThreadPoolExecutor(WRITERS) as pool:
        won = dict(enumerate(pool.map(claim, range(WRITERS))))
    check_one_winner_per_round(path, won)


def test_threads_share_one_table_object(tmp_path: Path) -> None:
    table = SqliteTable(tmp_path / "state.sqlite3", "state")

    def add_one(_: int) -> None:
        while True:
            record = table.get(POINTER)
            n = 0 if record is None else record.attributes["n"]
            try:
                table.write([Put(POINTER, {"n": n + 1}, condition=Matches({"n": n}) if record else Absent())])
            except ConditionFailed:
                continue
            return

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add_one, range(120)))
    record = table.get(POINTER)
    assert record is not None
    assert record.attributes == {"n": 120}
    table.close()


def test_a_child_forked_from_a_used_table_opens_its_own_connection(tmp_path: Path) -> None:
    table = SqliteTable(tmp_path / "state.sqlite3", "state")
    table.write([Put(POINTER, {"by": "parent"})])

    def child() -> None:
        # Sharing the parent's connection often goes well, until it corrupts the file: look at what is opened instead.
        connect, opened = sqlite3.connect, []
        sqlite3.connect = lambda *given, **options: opened.append(1) or connect(*given, **options)  # type: ignore
        table.write([Put(POINTER, {"by": "child"}, condition=Matches({"by": "parent"}))])
        table.close()
        os._exit(0 if opened == [1] else 3)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    table.write([Put(POINTER, {"by": "parent again"}, condition=Matches({"by": "child"}))])
    table.close()


KILLED_WRITER = """
    import os, signal, sqlite3, sys
    from lambda_api.state.sqlite_table import SqliteTable
    from lambda_api.state.table import Delete, Key, Put

    statement, nth = sys.argv[2], int(sys.argv[3])
    seen = 0

    def die(sql):
        global seen
        if sql.strip().startswith(statement):
            seen += 1
            if seen == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    connect = sqlite3.connect

    def traced(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_trace_callback(die)
        return connection

    table = SqliteTable(sys.argv[1], "state")
    sqlite3.connect = traced
    # Close to 4 MB: more than SQLite's page cache, so that unfinished pages have reached the log when the end comes.
    big = "new " * 95_000
    table.write([*(Put(Key("p", str(n)), {"x": big}) for n in range(10)), Delete(Key("p", "gone"))])
"""


@pytest.mark.parametrize(
    ("statement", "nth"),
    [("INSERT", 1), ("INSERT", 2), ("INSERT", 10), ("DELETE FROM records WHERE table", 1), ("COMMIT", 1)],
)
def test_kill_in_mid_transaction_leaves_the_old_state(tmp_path: Path, statement: str, nth: int) -> None:
    path = tmp_path / "state.sqlite3"
    table = SqliteTable(path, "state")
    table.write([*(Put(Key("p", str(n)), {"x": "old"}) for n in range(10)), Put(Key("p", "gone"), {"x": "old"})])
    before = table.query("p")
    table.close()
    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED_WRITER), str(path), statement, str(nth)],
        check=False,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        timeout=PATIENCE_S,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert table.query("p") == before
    table.write([Put(Key("p", "0"), {"x": "after"}, condition=Matches({"x": "old"}))])  # no lock was left behind
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    table.close()


def test_a_finished_write_survives_a_kill_right_after(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"

    def write_and_die() -> None:
        SqliteTable(path, "state").write([Put(POINTER, {"n": 1})])
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=write_and_die)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    table = SqliteTable(path, "state")
    record = table.get(POINTER)
    assert record is not None
    assert record.attributes == {"n": 1}
    table.close()


@pytest.fixture
def other_writer(tmp_path: Path) -> sqlite3.Connection:
    """Another process's connection in the middle of a write to ``tmp_path/state.sqlite3``."""
    table = SqliteTable(tmp_path / "state.sqlite3", "state")
    table.write([Put(POINTER, {"n": 1})])
    table.close()
    connection = sqlite3.connect(tmp_path / "state.sqlite3", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE records SET attributes = '{\"n\":2}'")
    return connection


def test_readers_do_not_wait_for_a_writer(tmp_path: Path, other_writer: sqlite3.Connection) -> None:
    table = SqliteTable(tmp_path / "state.sqlite3", "state", busy_timeout_s=0)
    record = table.get(POINTER)
    assert record is not None
    assert record.attributes == {"n": 1}
    other_writer.execute("COMMIT")
    assert [record.attributes for record in table.query("pointer")] == [{"n": 2}]
    other_writer.close()
    table.close()


def test_a_writer_waits_for_its_turn_and_then_says_why_it_gave_up(
    tmp_path: Path, other_writer: sqlite3.Connection
) -> None:
    impatient = SqliteTable(tmp_path / "state.sqlite3", "state", busy_timeout_s=0.05)
    with pytest.raises(TableUnavailable, match=r"stayed locked by another process for 0\.05 s; nothing was written"):
        impatient.write([Put(POINTER, {"n": 3})])
    patient = SqliteTable(tmp_path / "state.sqlite3", "state")
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(patient.write, [Put(POINTER, {"n": 4}, condition=Matches({"n": 2}))])
        other_writer.execute("COMMIT")
        writing.result(timeout=PATIENCE_S)
    impatient.write([Delete(POINTER, condition=Matches({"n": 4}))])  # usable again after its failure
    other_writer.close()
    impatient.close()
    patient.close()


def test_tables_of_one_file_do_not_see_each_other(tmp_path: Path) -> None:
    registry, routing = (SqliteTable(tmp_path / "state.sqlite3", name) for name in ("registry", "routing"))
    registry.write([Put(POINTER, {"of": "registry"})])
    assert routing.get(POINTER) is None
    assert routing.query("pointer") == []
    routing.write([Put(POINTER, {"of": "routing"}, condition=Absent())])
    registry.write([Delete(POINTER)])
    assert [record.attributes for record in routing.query("pointer")] == [{"of": "routing"}]
    registry.close()
    routing.close()


def test_expired_records_leave_the_file(tmp_path: Path) -> None:
    clock = Clock(0.0)
    path = tmp_path / "state.sqlite3"
    table = SqliteTable(path, "state", clock=clock)
    for n in range(20):
        table.write([Put(Key("log", str(n)), {"n": n}, expires_at=10 + n)])
    clock.now = 19.5
    table.write([Put(POINTER, {})])
    connection = sqlite3.connect(path)
    left = connection.execute("SELECT expires_at FROM records WHERE partition = 'log' ORDER BY 1").fetchall()
    connection.close()
    assert left == [(second,) for second in range(20, 30)]
    table.close()


def test_writes_are_flushed_to_disk_through_the_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[sqlite3.Connection] = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def remember(*arguments: object, **options: object) -> sqlite3.Connection:
        connections.append(connect(*arguments, **options))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", remember)
    table = SqliteTable(tmp_path / "state.sqlite3", "state")
    table.write([Put(POINTER, {})])
    table.query("pointer")
    (connection,) = connections  # reused, not reopened
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    table.close()


def test_an_unusable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(TableUnavailable, match=r"state\.sqlite3 cannot be used: file is not a database"):
        SqliteTable(path, "state").get(POINTER)
    with pytest.raises(ValueError, match="needs a name"):
        SqliteTable(path, "")
