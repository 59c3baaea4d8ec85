"""Everything a disk and its other users do to a SQLite file must surface as `TableUnavailable`, and pass again."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_api.settings import make_settings
from lambda_api.state.open_table import open_table
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Absent, Key, Put, TableUnavailable
from tests.patience import PATIENCE_S

KEY = Key("p", "s")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one record, and nobody connected."""
    table = SqliteTable(tmp_path / "state.sqlite3", "state")
    table.write([Put(KEY, {"n": 1})])
    table.close()
    return tmp_path / "state.sqlite3"


def attributes(table: SqliteTable) -> object:
    record = table.get(KEY)
    return None if record is None else record.attributes


LOCK = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("PRAGMA locking_mode = " + sys.argv[2])
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE records SET sort = sort")
    if sys.argv[2] == "EXCLUSIVE":
        connection.execute("COMMIT")
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def locked_by(path: Path) -> Iterator[object]:
    """Starts another process that holds the file in the given locking mode until the test ends."""
    processes = []

    def lock(mode: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(LOCK), str(path), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        return process

    yield lock
    for process in processes:
        process.kill()
        process.communicate()


def test_a_write_waits_for_the_patience_it_was_given_and_no_longer(path: Path, locked_by: object) -> None:
    holder = locked_by("NORMAL")  # type: ignore[operator]
    settings = make_settings({"home": path.parent})
    table = open_table(settings, "state", patience_s=0.2)
    assert attributes(table) == {"n": 1}  # type: ignore[arg-type]
    began = time.monotonic()
    with pytest.raises(TableUnavailable, match=r"stayed locked by another process for 0\.2 s; nothing was written"):
        table.write([Put(KEY, {"n": 2})])
    assert time.monotonic() - began < 25  # and not the half minute that suits a pipeline
    holder.communicate()
    table.write([Put(KEY, {"n": 3})])
    assert attributes(table) == {"n": 3}  # type: ignore[arg-type]


def test_a_file_locked_as_a_whole_fails_reads_too(path: Path, locked_by: object) -> None:
    holder = locked_by("EXCLUSIVE")  # type: ignore[operator]
    table = SqliteTable(path, "state", busy_timeout_s=0.1)
    for call in (lambda: table.get(KEY), lambda: table.query("p"), lambda: table.write([Put(KEY, {})])):
        with pytest.raises(TableUnavailable, match="locked by another process"):
            call()
    holder.communicate()
    assert attributes(table) == {"n": 1}


def test_by_default_a_pipeline_waits_half_a_minute(tmp_path: Path) -> None:
    settings = make_settings({"home": tmp_path})
    assert open_table(settings, "t")._busy_timeout_s == 30  # type: ignore[attr-defined]
    assert open_table(settings, "t", patience_s=0.5)._busy_timeout_s == 0.5  # type: ignore[attr-defined]


def test_patience_limits_calls_to_dynamodb_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    uris = {name: f"s3://b/{name}" for name in ("lake_uri", "models_uri", "catalogue_uri")}
    settings = make_settings({"target": "aws", **uris})
    limits = []
    for patience_s in (None, 0.5, 2.0):
        config = open_table(settings, "t", patience_s=patience_s)._client.meta.config  # type: ignore[attr-defined]
        limits.append((config.connect_timeout, config.read_timeout))
    assert limits == [(1, 3), (0.5, 0.5), (1, 2)]


FILL = """
    import resource, sys
    from lambda_api.state.sqlite_table import SqliteTable
    from lambda_api.state.table import Key, Put, TableUnavailable

    table = SqliteTable(sys.argv[1], "state")
    table.get(Key("p", "s"))
    if sys.argv[2] == "pages":
        import sqlite3
        (connection,) = table._idle
        connection.execute("PRAGMA max_page_count = 20")
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    stored, failures = [], set()
    for n in range(40):
        try:
            table.write([Put(Key("fill", str(n)), {"x": "x" * 9_000})])
            stored.append(n)
        except TableUnavailable as error:
            failures.add(str(error).rsplit(": ", 1)[1])
    print(failures, file=sys.stderr)
    assert failures, "the disk never became full"
    assert stored, "nothing fitted"
    assert {int(record.key.sort) for record in table.query("fill")} == set(stored)
    assert table.get(Key("p", "s")).attributes == {"n": 1}
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    table.close()
    table.write([Put(Key("p", "s"), {"n": 2})])
    print(len(stored))
"""


@pytest.mark.parametrize("quota", ["pages", "bytes"])
def test_a_full_disk_refuses_writes_and_keeps_what_was_confirmed(path: Path, quota: str) -> None:
    filled = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FILL), str(path), quota],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert filled.returncode == 0, filled.stderr.decode()
    assert ("disk is full" if quota == "pages" else "disk") in filled.stderr.decode()
    table = SqliteTable(path, "state")
    assert attributes(table) == {"n": 2}
    assert len(table.query("fill")) == int(filled.stdout)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_file_removed_while_in_use_does_not_swallow_writes(path: Path) -> None:
    table = SqliteTable(path, "state")
    assert attributes(table) == {"n": 1}
    kept = path.with_suffix(".kept")
    path.rename(kept)
    for call in (lambda: table.get(KEY), lambda: table.query("p"), lambda: table.write([Put(KEY, {})])):
        with pytest.raises(
            TableUnavailable, match=r"state\.sqlite3, which holds table 'state', was removed while in use"
        ):
            call()
    assert not path.exists()
    kept.rename(path)
    assert attributes(table) == {"n": 1}


def test_a_file_replaced_while_in_use_is_opened_anew(path: Path) -> None:
    table = SqliteTable(path, "state")
    assert attributes(table) == {"n": 1}
    backup = SqliteTable(path.with_suffix(".backup"), "state")
    backup.write([Put(KEY, {"n": "restored"})])
    backup.close()
    for part in path.parent.glob("state.sqlite3*"):
        part.unlink()
    path.with_suffix(".backup").rename(path)
    assert attributes(table) == {"n": "restored"}
    table.write([Put(Key("p", "new"), {}, condition=Absent())])
    assert len(SqliteTable(path, "state").query("p")) == 2


def test_a_write_into_a_file_just_removed_is_not_confirmed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = SqliteTable(path, "state")

    def remove_meanwhile() -> float:  # the clock is read once the transaction has begun
        path.unlink()
        return 0.0

    monkeypatch.setattr(table, "_clock", remove_meanwhile)
    with pytest.raises(TableUnavailable, match="was removed or replaced while table 'state' was written: not stored"):
        table.write([Put(KEY, {"n": 2})])


def test_a_damaged_file_is_unavailable(path: Path) -> None:
    table = SqliteTable(path, "state")
    table.write([Put(Key("p", f"{n:03d}"), {"x": "x" * 2_000}) for n in range(90)])
    table.close()
    content = bytearray(path.read_bytes())
    content[4096 : len(content) - 4096] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    for call in (lambda: table.query("p"), lambda: table.write([Put(KEY, {})])):
        with pytest.raises(TableUnavailable, match=r"state\.sqlite3 cannot be used"):
            call()


def test_a_damaged_value_is_unavailable(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE records SET attributes = '{\"n\":'")
    connection.close()
    table = SqliteTable(path, "state")
    for call in (lambda: table.get(KEY), lambda: table.query("p")):
        with pytest.raises(TableUnavailable, match="cannot be used: Expecting value"):
            call()


def test_a_home_that_is_no_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(TableUnavailable, match="cannot be used"):
        SqliteTable(tmp_path / "home" / "state.sqlite3", "state").get(KEY)


READ_ONLY = """
    import os, sys
    from lambda_api.state.sqlite_table import SqliteTable
    from lambda_api.state.table import Key, Put, TableUnavailable
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)  # permissions mean nothing to root
    table = SqliteTable(sys.argv[1], "state", busy_timeout_s=0.1)
    try:
        table.write([Put(Key("p", "s"), {"n": 2})])
    except TableUnavailable as error:
        print(error)
"""


def test_a_read_only_file_is_unavailable_to_writers() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        path = folder / "state.sqlite3"
        table = SqliteTable(path, "state")
        table.write([Put(KEY, {"n": 1})])
        table.close()
        path.chmod(0o444)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(READ_ONLY), str(path)],
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )
        folder.chmod(0o755)
        path.chmod(0o644)
        assert done.returncode == 0, done.stderr.decode()
        assert "cannot be used" in done.stdout.decode()
        assert attributes(table) == {"n": 1}
        table.close()
