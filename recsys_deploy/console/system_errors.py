"""Errors of the disk, from any layer, as one sentence: full, read-only, not permitted."""

import errno
import sqlite3
from collections.abc import Iterator
from typing import Final

REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; free some space and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
    errno.EROFS: "the file system is read-only; set RECSYS_HOME to a folder that can be written to",
    errno.EACCES: "permission denied; let this user read and write it, or set RECSYS_HOME to another folder",
    errno.EPERM: "not permitted; make it writable for this user, or set RECSYS_HOME to another folder",
    errno.ENOTDIR: "a file stands where a folder is needed; set RECSYS_HOME to another folder",
    errno.EEXIST: "a file stands where a folder is needed; set RECSYS_HOME to another folder",
}

SQLITE: Final = {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
    "unable to open database file": errno.EACCES,
}


def sentence_of(error: BaseException) -> str | None:
    """What is wrong and what to do, where ``error`` or one of its causes is an error of the disk; else ``None``."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in REMEDIES:
            where = f"{one.filename}: " if one.filename else ""
            return f"{where}{REMEDIES[one.errno]}"
        if isinstance(one, sqlite3.OperationalError):
            for text, number in SQLITE.items():
                if text in str(one):
                    return f"a database of the home cannot be written: {REMEDIES[number]}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
