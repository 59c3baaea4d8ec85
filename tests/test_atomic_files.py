"""Atomic writes: failure leaves the target as it was, and nothing hidden stays behind."""

import stat
from pathlib import Path

import pytest

from lambda_api.atomic_files import replaced_file, replaced_folder, shared_folder, write_bytes, write_text


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    assert write_text(target, "né") == target
    assert target.read_text(encoding="utf-8") == "né"
    with pytest.raises(RuntimeError), replaced_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text(encoding="utf-8") == "né"
    write_bytes(target, b"second")
    assert target.read_bytes() == b"second"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_secret_is_private_from_its_first_byte(tmp_path: Path) -> None:
    with replaced_file(tmp_path / "secret", mode=0o600, durable=True) as partial:
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600
        partial.write_text("key")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    for content in ("old", "new"):
        with replaced_folder(folder) as partial:
            (partial / "file").write_text(content)
    assert (folder / "file").read_text() == "new"
    with pytest.raises(RuntimeError), replaced_folder(folder) as partial:
        (partial / "file").write_text("half")
        raise RuntimeError
    assert (folder / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bundle"
    with replaced_folder(folder) as partial:
        (partial / "file").write_text("old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError("no space")
        return rename(self, target)

    with pytest.raises(OSError, match="no space"), replaced_folder(folder) as partial:
        (partial / "file").write_text("new")
        monkeypatch.setattr(Path, "rename", refuse)
    assert (folder / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_of_two_writers_of_one_content_the_first_wins_and_damage_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "content"

    def intact(found: Path) -> bool:
        return (found / "file").read_text() in ("first", "second")

    with shared_folder(folder, intact) as second:
        (second / "file").write_text("second")
        with shared_folder(folder, intact) as first:
            (first / "file").write_text("first")
    assert (folder / "file").read_text() == "first"
    (folder / "file").write_text("damaged")
    with shared_folder(folder, intact) as partial:
        (partial / "file").write_text("second")
    assert (folder / "file").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["content"]
