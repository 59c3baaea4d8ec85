"""The bytes of a zip depend on names and contents alone."""

import zipfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from recsys_deploy.packaging.archive import EPOCH, content_checksum, write_zip

FILES = {"b/second.py": b"two" * 500, "a.py": b"one", "b/first.py": b""}


def test_order_in_which_files_are_found_does_not_matter(tmp_path: Path) -> None:
    write_zip(FILES, tmp_path / "one.zip")
    write_zip(dict(sorted(FILES.items())), tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one.zip", "two.zip"}


def test_members_are_sorted_and_say_nothing_of_their_making(tmp_path: Path) -> None:
    write_zip(FILES, tmp_path / "one.zip")
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        members = archive.infolist()
        assert {info.filename: archive.read(info) for info in members} == FILES
    assert [info.filename for info in members] == sorted(FILES)
    assert {(info.date_time, info.external_attr >> 16, info.create_system, info.extra) for info in members} == {
        (EPOCH, 0o100644, 3, b"")
    }


@given(st.dictionaries(st.text("ab/", min_size=1, max_size=4), st.binary(max_size=4), max_size=4), st.data())
def test_content_checksum_tells_packages_apart(files: dict[str, bytes], data: st.DataObject) -> None:
    other = dict(data.draw(st.permutations(list(files.items()))))
    assert content_checksum(other) == content_checksum(files)
    for name in files:
        assert content_checksum({**files, name: files[name] + b"x"}) != content_checksum(files)
        renamed = {(f"{key}c" if key == name else key): value for key, value in files.items()}
        assert content_checksum(renamed) != content_checksum(files)
