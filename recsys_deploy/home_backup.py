"""Backup and restore of a home folder as one ``.tar.gz`` file.

SQLite databases are copied with SQLite's own backup, so that a server may go on writing meanwhile.
"""

import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lambda_api.atomic_files import replaced_file
from lambda_api.errors import RecsysError
from lambda_api.settings import FILE_NAME

NOT_KEPT: Final = frozenset({"bundles", "catalogues", "logs"})
"""Folders of a home that hold copies or logs only."""

SQLITE_HEADER: Final = b"SQLite format 3\x00"
SQLITE_EXTRAS: Final = ("-wal", "-shm", "-journal")


class BackupError(RecsysError):
    """A home cannot be backed up or restored; the message says why."""


def backup(home: Path, target: Path) -> int:
    """Write everything of ``home`` into ``target``, which appears whole or not at all; returns its size in bytes.

    Raises:
        BackupError: there is no home, or ``target`` exists or lies inside the home.
    """
    if not (home / FILE_NAME).is_file():
        raise BackupError(f"{home} is no home of a shop", remedy="set RECSYS_HOME to one, or start with `recsys run`")
    if target.exists():
        raise BackupError(f"{target} exists already", remedy="choose another name")
    if target.resolve().is_relative_to(home):
        raise BackupError(f"{target} lies inside the home", remedy="choose a file outside it")
    with (
        tempfile.TemporaryDirectory() as scratch,
        replaced_file(target) as partial,
        tarfile.open(partial, "w:gz", compresslevel=5) as archive,
    ):
        for file in _files(home):
            source = copy_database(file, Path(scratch) / "database") if _is_sqlite(file) else file
            archive.add(source, file.relative_to(home).as_posix(), recursive=False)
    return target.stat().st_size


def restore(archive_file: Path, home: Path) -> None:
    """Unpack a backup into ``home``, which must be empty or absent.

    Raises:
        BackupError: ``home`` holds something, or the file is no backup of a home. Nothing is left behind.
    """
    if home.is_dir() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty", remedy="choose an empty folder with RECSYS_HOME")
    home.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{home.name}.", dir=home.parent) as scratch:
            with tarfile.open(archive_file, "r:gz") as archive:
                archive.extractall(scratch, filter="data")
            if not (Path(scratch) / FILE_NAME).is_file():
                raise BackupError(f"{archive_file} holds no home: {FILE_NAME} is missing")
            if home.is_dir():
                home.rmdir()
            Path(scratch).rename(home)
            Path(scratch).mkdir()  # for the end of the temporary folder
    except FileNotFoundError as error:
        raise BackupError(f"{archive_file} does not exist") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, tarfile.TarError):
            raise
        raise BackupError(f"{archive_file} cannot be read as a backup: {error}") from error


def _files(home: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(home):
        here = Path(folder)
        names[:] = sorted(name for name in names if not (here == home and name in NOT_KEPT))
        for name in sorted(files):
            if not name.endswith(SQLITE_EXTRAS) and name != ".lock":
                yield here / name


def _is_sqlite(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(SQLITE_HEADER)) == SQLITE_HEADER


def copy_database(file: Path, copy: Path) -> Path:
    """Copy an SQLite file that others may be writing to; ``copy`` is replaced, and returned."""
    copy.unlink(missing_ok=True)
    source, target = sqlite3.connect(f"file:{file}?mode=ro", uri=True), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    return copy
