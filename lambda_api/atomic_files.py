"""Atomic writes: a file or a folder is completed under a hidden name beside its target, then renamed into place.

Readers see the old content or the new one, never a part of it. A writer that fails leaves the target as it was.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> Path:
    """Replace ``path`` by a file of ``content``; parent folders are made. Returns ``path``."""
    with replaced_file(path) as partial:
        partial.write_bytes(content)
    return path


def write_text(path: Path, text: str) -> Path:
    """Replace ``path`` by a UTF-8 file of ``text``; parent folders are made. Returns ``path``."""
    return write_bytes(path, text.encode())


@contextmanager
def replaced_file(path: Path, *, mode: int = 0o666, durable: bool = False) -> Iterator[Path]:
    """The hidden, empty file to write; it becomes ``path`` when the block ends without an exception.

    Args:
        path: the target; parent folders are made.
        mode: permissions from the first byte on (less the umask); 0o600 for secrets.
        durable: flush the content to disk before renaming, so that it survives a power failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _hidden(path, "partial")
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield partial
        if durable:
            with partial.open("rb") as written:
                os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """The hidden, empty folder to fill; it becomes ``folder`` when the block ends without an exception.

    A folder cannot be renamed over another one: the old one is renamed aside first and removed last. A process killed
    between the two renames leaves nothing at ``folder`` and the old one whole under a hidden name beside it. A process
    that has the old one open keeps its files.
    """
    with _partial_folder(folder) as partial:
        yield partial
        if not folder.exists():
            partial.rename(folder)
            return
        aside = _hidden(folder, "replaced")
        folder.rename(aside)
        try:
            partial.rename(folder)
        except OSError:
            aside.rename(folder)
            raise
        shutil.rmtree(aside)


@contextmanager
def shared_folder(folder: Path, intact: Callable[[Path], bool]) -> Iterator[Path]:
    """As `replaced_folder`, for a folder named after its content that several processes may write at once.

    The first to finish wins: a folder that is already there and ``intact`` stays, one that is damaged is replaced.
    """
    with _partial_folder(folder) as partial:
        yield partial
        damaged = _hidden(folder, "damaged")
        if folder.exists() and not intact(folder):
            folder.rename(damaged)
        try:
            partial.rename(folder)
        except OSError:
            if not intact(folder):
                raise
        shutil.rmtree(damaged, ignore_errors=True)


@contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    partial = _hidden(folder, "partial")
    partial.mkdir(parents=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _hidden(path: Path, state: str) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{state}")
