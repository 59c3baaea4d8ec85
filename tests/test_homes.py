"""Homes: each shop has its own, a home never mixes two shops, and Dagster finds its place."""

import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lambda_api.settings import read_settings
from recsys_assets.ingest.source import SourceError
from recsys_deploy import homes

EVENTS = """interaction_id,user_id,product_id,interaction_type,timestamp
i1,u1,p1,view,2011-01-03T10:00:00Z
i2,u1,p2,purchase,2011-01-05T10:00:00Z
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "My Shop"
    folder.mkdir()
    (folder / "interactions.csv").write_text(EVENTS)
    return folder


def test_each_shop_has_a_home_of_its_own(tmp_path: Path, shop: Path) -> None:
    root = tmp_path / ".recsys"
    ours, theirs = {}, {}
    assert homes.choose_home(root, None, ours) == (root / "synthetic").resolve()
    assert homes.choose_home(root, str(shop), theirs) == (root / "my-shop").resolve()
    assert homes.choose_home(root, str(shop), {"RECSYS_HOME": str(tmp_path / "x")}) == tmp_path / "x"


def test_a_second_folder_of_the_same_name_has_a_home_of_its_own(tmp_path: Path, shop: Path) -> None:
    root, other = tmp_path / ".recsys", tmp_path / "other" / "My Shop"
    shutil.copytree(shop, other)
    first: dict[str, str] = {}
    homes.choose_home(root, str(shop), first)
    homes.open_shop(str(shop), first)
    home = homes.choose_home(root, str(other), {})
    assert home.parent == root and home.name.startswith("my-shop-") and homes.choose_home(root, str(other), {}) == home
    assert homes.choose_home(root, str(shop), {}) == root / "my-shop"
    shutil.rmtree(shop)
    assert homes.choose_home(root, str(other), {}) == root / "my-shop", "moved, so the same shop"


def test_commands_without_a_home_work_on_the_last_demo(tmp_path: Path, shop: Path) -> None:
    root = tmp_path / ".recsys"
    environment: dict[str, str] = {}
    home = homes.choose_home(root, str(shop), environment)
    homes.open_shop(str(shop), environment)
    homes.note_last_home(root, home)
    later: dict[str, str] = {}
    assert homes.use_last_home(root, later) == home
    assert read_settings(later).data == str(shop)


def test_of_several_shops_a_command_says_which_it_works_on(
    tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for data in (None, str(shop)):
        environment: dict[str, str] = {}
        home = homes.choose_home(tmp_path / ".recsys", data, environment)
        homes.open_shop(data, environment)
        homes.note_last_home(tmp_path / ".recsys", home)
        assert homes.settings_of_last_home({}).home == home
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("shop: my-shop ") and said.err.count("\n") == 1
    homes.settings_of_last_home({"RECSYS_HOME": str(tmp_path / ".recsys" / "synthetic")})
    assert capsys.readouterr().err == ""


def test_the_first_day_is_found_once_and_kept(tmp_path: Path, shop: Path) -> None:
    environment = {"RECSYS_HOME": str(tmp_path / "home")}
    assert homes.open_shop(str(shop), environment).first_day == date(2011, 1, 3)
    (shop / "interactions.csv").write_text(EVENTS.replace("2011-01-03", "2011-01-02"))
    assert homes.open_shop(str(shop), environment).first_day == date(2011, 1, 3)


def test_the_synthetic_shop_opened_a_while_ago(tmp_path: Path) -> None:
    settings = homes.open_shop(None, {"RECSYS_HOME": str(tmp_path)})
    assert settings.first_day == datetime.now(UTC).date() - timedelta(days=homes.SYNTHETIC_DAYS)


def test_a_home_refuses_another_shop(tmp_path: Path, shop: Path) -> None:
    environment = {"RECSYS_HOME": str(tmp_path / "home")}
    homes.open_shop(str(shop), environment)
    other = shutil.copytree(shop, tmp_path / "other")
    with pytest.raises(homes.HomeTaken, match="choose another RECSYS_HOME"):
        homes.open_shop(str(other), environment)


def test_a_mistyped_home_is_refused_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".recsys" / "shop").mkdir(parents=True)
    (tmp_path / ".recsys" / "shop" / "recsys.toml").touch()
    monkeypatch.chdir(tmp_path)
    mistyped = tmp_path / ".recsys" / "shpo"
    with pytest.raises(
        homes.NoHome, match=r"shpo, and there is no such folder; shops here: \.recsys/shop; `recsys run`"
    ):
        homes.settings_of_last_home({"RECSYS_HOME": str(mistyped)})
    assert not mistyped.exists()
    places = {f"RECSYS_{name}_URI": f"s3://shop/{name.lower()}" for name in ("LAKE", "MODELS", "CATALOGUE")}
    on_aws = {"RECSYS_HOME": str(mistyped), "RECSYS_TARGET": "aws"} | places
    assert homes.settings_of_last_home(on_aws).home == mistyped, "there the home is a cache that a task makes"


def test_data_nobody_understands_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("hello")
    with pytest.raises(SourceError):
        homes.open_shop(str(tmp_path / "data"), {"RECSYS_HOME": str(tmp_path / "home")})
    assert not (tmp_path / "home").exists()


def test_dagster_gets_its_place_and_keeps_its_configuration(tmp_path: Path) -> None:
    environment = {"RECSYS_HOME": str(tmp_path)}
    settings = homes.open_shop(None, environment)
    folder = homes.prepare_dagster(settings, environment)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    homes.prepare_dagster(settings, environment)
    assert environment["DAGSTER_HOME"] == str(folder)
    assert (folder / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


@pytest.mark.slow
def test_processes_that_open_an_empty_home_at_once_all_find_dagster_ready(tmp_path: Path) -> None:
    """`recsys ui` in one terminal while `recsys run` begins in another."""
    program = f"""
import os, sys
import dagster as dg
from pathlib import Path
from recsys_deploy import homes
settings = homes.open_shop(None, {{"RECSYS_HOME": {str(tmp_path)!r}}})
print("ready", flush=True)
sys.stdin.read()
homes.prepare_dagster(settings, os.environ)
with dg.DagsterInstance.get() as instance:
    instance.get_runs()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) for _ in range(4)]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.close()
        problems = [process.stderr.read() for process in processes]
        assert [process.wait() for process in processes] == [0] * 4, problems
    finally:
        for process in processes:
            process.kill()
            process.wait()
