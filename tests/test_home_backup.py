"""A home can be moved, copied, backed up and restored, and serves as before."""

import io
import shutil
import sqlite3
import tarfile
from pathlib import Path

import pytest

from lambda_api.serving.question import Question
from lambda_api.settings import Settings, read_settings, write_settings
from recsys_deploy import homes
from recsys_deploy.home_backup import BackupError, backup, restore
from tests.patience import patient
from tests.recsys_command import right_here
from tests.serving_home import ServedHome, make_home


@pytest.fixture
def served(tmp_path: Path) -> ServedHome:
    made = make_home(tmp_path / "home", products=60, shoppers=5)
    write_settings(made.settings)
    return made


def lists(home: Path, shoppers: tuple[str, ...]) -> dict[str, list[str]]:
    """What a fresh process would answer from ``home``, by shopper."""
    serving = patient(read_settings({"RECSYS_HOME": str(home)}))
    try:
        found = {}
        for user_id in shoppers:
            answer = serving.service.recommend(Question(user_id, (), 0, 5), (), f"r-{user_id}")
            assert (answer.cause, answer.variant) == (None, "champion"), answer.cause
            found[user_id] = [item.product_id for item in answer.ranking.items]
        return found
    finally:
        serving.close()


def test_a_moved_home_answers_as_before(served: ServedHome, tmp_path: Path) -> None:
    home = served.settings.home
    before = lists(home, served.shoppers)
    for cache in ("bundles", "catalogues"):  # copies made while serving would hide what is tested
        shutil.rmtree(home / cache)
    moved = home.rename(tmp_path / "somewhere else")
    assert lists(moved, served.shoppers) == before
    assert not home.exists()


def test_a_copied_home_needs_nothing_of_the_first(served: ServedHome, tmp_path: Path) -> None:
    home = served.settings.home
    before = lists(home, served.shoppers)
    copy = shutil.copytree(home, tmp_path / "copy", ignore=shutil.ignore_patterns("bundles", "catalogues"))
    shutil.rmtree(home)
    assert lists(copy, served.shoppers) == before


def test_a_backup_made_while_somebody_writes_is_restored_whole(served: ServedHome, tmp_path: Path) -> None:
    home = served.settings.home
    before = lists(home, served.shoppers)
    writer = sqlite3.connect(home / "state.sqlite3")
    writer.execute("CREATE TABLE probe (x)")
    writer.execute("INSERT INTO probe VALUES (7)")
    writer.commit()
    writer.execute("INSERT INTO probe VALUES (8)")  # not committed
    try:
        done = right_here("home", "backup", str(tmp_path / "shop.tar.gz"), environment={"RECSYS_HOME": str(home)})
    finally:
        writer.rollback()
        writer.close()
    assert done.returncode == 0, done.stderr
    shutil.rmtree(home)
    target = tmp_path / "restored"
    done = right_here("home", "restore", str(tmp_path / "shop.tar.gz"), environment={"RECSYS_HOME": str(target)})
    assert done.returncode == 0, done.stderr
    assert lists(target, served.shoppers) == before
    assert sqlite3.connect(target / "state.sqlite3").execute("SELECT x FROM probe").fetchall() == [(7,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["restored", "shop.tar.gz"]


def test_a_backup_is_refused_with_the_remedy(served: ServedHome, tmp_path: Path) -> None:
    home = served.settings.home
    there = tmp_path / "there.tar.gz"
    there.write_bytes(b"")
    for target, said in ((there, "exists already"), (home / "inside.tar.gz", "outside")):
        with pytest.raises(BackupError, match=said):
            backup(home, target)
    with pytest.raises(BackupError, match="no home of a shop"):
        backup(tmp_path / "nowhere", tmp_path / "new.tar.gz")
    with homes.locked(home):
        busy = right_here("home", "backup", str(tmp_path / "new.tar.gz"), environment={"RECSYS_HOME": str(home)})
    assert busy.returncode == 2 and "another `recsys run`" in busy.stderr


def test_a_restore_leaves_nothing_where_it_cannot_work(served: ServedHome, tmp_path: Path) -> None:
    target = tmp_path / "new"
    with pytest.raises(BackupError, match="not empty"):
        restore(tmp_path / "x.tar.gz", served.settings.home)
    with pytest.raises(BackupError, match="does not exist"):
        restore(tmp_path / "x.tar.gz", target)
    (tmp_path / "x.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(BackupError, match="cannot be read as a backup"):
        restore(tmp_path / "x.tar.gz", target)
    with tarfile.open(tmp_path / "outside.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("../evil")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(BackupError):
        restore(tmp_path / "outside.tar.gz", target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "outside.tar.gz", "x.tar.gz"]


def test_data_that_moved_with_the_home_are_accepted(tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "events", tmp_path / "new" / "events"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "interactions.csv").write_text(
            "interaction_id,user_id,product_id,interaction_type,timestamp\ni1,u1,p1,view,2011-01-03T10:00:00Z\n"
        )
    environment = {"RECSYS_HOME": str(tmp_path / "home")}
    homes.open_shop(str(old), environment)
    with pytest.raises(homes.HomeTaken):
        homes.open_shop(str(new), environment)
    shutil.rmtree(old)
    settings: Settings = homes.open_shop(str(new), {"RECSYS_HOME": str(tmp_path / "home")})
    assert settings.data == str(new)
