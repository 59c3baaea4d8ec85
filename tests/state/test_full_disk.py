"""A real full disk: a file system of one megabyte, mounted for one process, filled to the last byte by another file."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

MOUNT = "mount -t tmpfs -o size=1m none {folder} && exec {python} -c '{program}' {folder}"

PROGRAM = """
    import os, sys
    from pathlib import Path
    from lambda_api.interactions import InteractionType
    from lambda_api.state.event_sink import JsonLinesSink, SinkFull
    from tests.json_lines import read_json_lines
    from lambda_api.state.history import HistoryStore, StoredEvent
    from lambda_api.state.sqlite_table import SqliteTable
    from lambda_api.state.table import TableUnavailable

    folder = Path(sys.argv[1])
    store, sink = HistoryStore(SqliteTable(folder / "state.sqlite3", "history")), JsonLinesSink(folder / "events")

    def event(n):
        return StoredEvent(f"e{n}", "u", f"product {n}", InteractionType.VIEW, 1_700_000_000 + n)

    store.record([event(-1)])
    sink.emit("feedback", [{"event_id": "e-1"}])
    filler = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(filler, b"x" * 4096):
            pass
    except OSError:
        pass
    stored, emitted, refused = [-1], [-1], set()
    for n in range(400):
        try:
            store.record([event(n)])
            stored.append(n)
        except TableUnavailable as error:
            refused.add("table")
        try:
            sink.emit("feedback", [{"event_id": f"e{n}"}])
            emitted.append(n)
        except SinkFull as error:
            refused.add("sink")
    assert refused == {"table", "sink"}, refused
    shown = [e.product_id for e in store.recent("u", 1000)]
    assert shown == [f"product {n}" for n in stored], shown
    assert [r["event_id"] for r in read_json_lines(folder / "events", "feedback")] == [f"e{n}" for n in emitted]
    os.ftruncate(filler, 0)
    outcome = store.record([event(n) for n in range(-1, 400)])
    assert len(outcome.accepted) == 401 - len(stored) and len(outcome.duplicates) == len(stored)
    sink.emit("feedback", [{"event_id": "room again"}])
    found = [r["event_id"] for r in read_json_lines(folder / "events", "feedback")]
    assert found == [*(f"e{n}" for n in emitted), "room again"]
    print("held", len(stored), len(emitted))
"""


def test_a_full_disk_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare to mount a small file system")
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {probe.stderr.decode()}")
    program = textwrap.dedent(PROGRAM)
    assert "'" not in program
    script = MOUNT.format(folder=tmp_path, python=sys.executable, program=program)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().startswith("held")
