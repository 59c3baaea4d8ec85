"""The command line itself: what it imports, how it lists commands, and what it says when the machine is at fault."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import typer

from recsys_deploy import homes
from recsys_deploy.child_processes import ServerProcess
from recsys_deploy.cli import COMMANDS, app
from recsys_deploy.console.system_errors import sentence_of
from tests.local_server.processes import free_port
from tests.patience import PATIENCE_S, wait_until
from tests.recsys_command import in_a_process, right_here

HEAVY = {"dagster", "pandas", "pyarrow", "torch", "sklearn", "lightgbm", "duckdb", "boto3", "great_expectations"}


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("run", "--help"), ("models",), ("runs",), ("keys", "list")]
)
def test_light_commands_import_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    script = (
        "import sys\nfrom recsys_deploy import cli\nsys.argv = ['recsys', *sys.argv[1:]]\n"
        f"try:\n    cli.main()\nfinally:\n    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=kept | {"RECSYS_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"


def test_every_command_can_be_loaded_and_says_what_the_list_says() -> None:
    group = typer.main.get_command(app)
    assert list(group.commands) == [name for entries in COMMANDS.values() for name in entries]  # type: ignore[attr-defined]
    for name, entry in group.commands.items():  # type: ignore[attr-defined]
        assert entry.loaded().help, name
    listed = right_here("--help").stdout
    places = [listed.index(f" {name} ") for name in ("run", "demo", "up", "serve", "recommend", "deploy")]
    assert places == sorted(places)
    assert all(len(line) <= 80 for line in listed.splitlines())


def test_the_version_is_that_of_the_distribution() -> None:
    assert right_here("--version").stdout.startswith("recsys 0.")


def test_brackets_of_a_path_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "shop [red]new [x]"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    refused = right_here("run", "--data", str(folder), environment={"RECSYS_HOME": str(tmp_path / "home")})
    assert refused.returncode == 2
    assert str(folder) in refused.stderr.replace("\n", "")


def test_a_character_that_the_terminal_lacks_does_not_end_a_command(tmp_path: Path) -> None:
    environment = {"RECSYS_HOME": str(tmp_path), "PYTHONIOENCODING": "ascii"}
    assert in_a_process("keys", "create", "Łódź 店", environment=environment).returncode == 0
    listed = in_a_process("keys", "list", environment=environment)
    assert listed.returncode == 0, listed.stderr
    assert "d?" in listed.stdout


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/lake"), "/x/lake: the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "permission denied"),
        (sqlite3.OperationalError("database or disk is full"), "the disk is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "read-only"),
        (ValueError("no"), None),
        (OSError(errno.ENOENT, "gone"), None),
    ],
)
def test_errors_of_the_disk_are_one_sentence_wherever_they_came_from(error: Exception, said: str | None) -> None:
    def wrapped() -> None:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("a layer above") from cause

    with pytest.raises(RuntimeError) as caught:
        wrapped()
    sentence = sentence_of(caught.value)
    assert sentence is None if said is None else sentence is not None and said in sentence


def test_a_home_that_cannot_be_written_ends_in_a_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "home"
    with mock.patch.object(homes, "write_settings", side_effect=OSError(errno.EROFS, "Read-only", str(blocked))):
        done = right_here("run", environment={"RECSYS_HOME": str(blocked)})
    assert done.returncode == 2
    assert "read-only" in done.stderr and "RECSYS_HOME" in done.stderr and "Traceback" not in done.stderr


def test_two_builds_of_one_home_do_not_meet(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys, time\nfrom pathlib import Path\nfrom recsys_deploy.homes import locked\n"
            "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(120)\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(homes.HomeBusy, match="wait until it has ended"), homes.locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    with homes.locked(tmp_path):  # a killed process holds nothing
        pass


def test_servers_of_this_machine_are_reached_without_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    port = free_port()
    arguments = ["-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    server = ServerProcess.start("files", arguments, tmp_path / "log", f"http://127.0.0.1:{port}/")
    try:
        server.wait_until_ready(30)
    finally:
        server.stop(10)


def test_a_closed_terminal_stops_the_servers(tmp_path: Path) -> None:
    """The process gets SIGHUP, as from a terminal that closes; no server may stay."""
    port = free_port()
    child = tmp_path / "child"
    script = (
        "import sys\nfrom pathlib import Path\nfrom unittest import mock\nfrom rich.console import Console\n"
        "from recsys_deploy import up\nfrom recsys_deploy.child_processes import ServerProcess\n"
        "def start(settings, options):\n"
        "    arguments = ['-m', 'http.server', str(options.port), '--bind', '127.0.0.1']\n"
        "    url = f'http://127.0.0.1:{options.port}/'\n"
        f"    one = ServerProcess.start('files', arguments, Path({str(tmp_path / 'log')!r}), url)\n"
        f"    Path({str(child)!r}).write_text(str(one.process.pid))\n"
        "    return [one]\n"
        "mock.patch.object(up, '_start', start).start()\n"
        "mock.patch.object(up, '_print_addresses', lambda *given: print('ready', flush=True)).start()\n"
        f"up.serve(None, up.UpOptions({port}, None, 1), 'key', Console())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "ready" not in (line := process.stdout.readline()):
        assert line or process.poll() is None
    process.send_signal(signal.SIGHUP)
    assert process.wait(PATIENCE_S) == 0
    pid = int(child.read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the child ended")
