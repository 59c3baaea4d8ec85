"""Which files of a folder hold the interactions, the products and the users, and whether file names give the day."""

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from recsys_assets.ingest.files import TABLE_SUFFIXES, Folder, SourceFile, daily_files, day_in_name, parse_day, stem_of
from recsys_assets.ingest.mapping import Mapping
from recsys_assets.ingest.source import SourceError

CANONICAL_LAYOUT = (
    "interactions.csv[.gz] or .parquet; a folder interactions/ of such files, of files named YYYY-MM-DD, or of folders "
    "date=YYYY-MM-DD/; or the days at the top of the folder"
)
"""What is looked for when a mapping names no files, for messages."""


@dataclass(frozen=True)
class Layout:
    """Where the interactions are: files per day, or files to be cut by day. Exactly one of the two is not empty.

    A Hive day whose folder holds no data file is a day with no files: reading it is an error, reading others is not.
    """

    by_day: dict[date, tuple[SourceFile, ...]]
    whole: tuple[SourceFile, ...]


def find_layout(folder: Folder, mapping: Mapping) -> Layout:
    """The layout of the interactions.

    Raises:
        SourceError: no such file, more than one layout, two files for one day, or an impossible day.
    """
    if not mapping.interactions.files:
        return _canonical_layout(folder)
    files = matching(folder, mapping.interactions.files)
    if not files:
        raise SourceError(
            f"{folder.uri}: no file matches {', '.join(mapping.interactions.files)}",
            remedy="correct [interactions] files in mapping.toml",
        )
    return _cut(folder, files, [], "")


def find_table_files(folder: Folder, mapping: Mapping, name: str) -> tuple[SourceFile, ...]:
    """The files of ``products`` or ``users``; none when they are to be derived from the interactions."""
    patterns = getattr(mapping, name).files
    if patterns:
        return tuple(matching(folder, patterns))
    if mapping.interactions.files:
        return ()
    files, folders = folder.entries()
    found = [file for file in files if stem_of(file.name) == name]
    if name in folders:
        found += [file for file in folder.entries(name, recursive=True)[0] if stem_of(file.name) is not None]
    if len({file.name.partition("/")[0] for file in found}) > 1:
        raise SourceError(f"{folder.uri}: {' and '.join(file.name for file in found)} are both {name}; keep one")
    return tuple(found)


def is_canonical_name(file: SourceFile) -> bool:
    """Whether the name of a file says that it holds canonical interactions."""
    return (
        stem_of(file.base_name) == "interactions"
        or file.name.startswith(("interactions/", "date="))
        or ("/" not in file.name and day_in_name(stem_of(file.base_name) or "") is not None)
    )


def matching(folder: Folder, patterns: Sequence[str]) -> list[SourceFile]:
    """Files of the folder that `matches` accepts."""
    files, _ = folder.entries(recursive=True)
    return [file for file in files if matches(file, patterns)]


def matches(file: SourceFile, patterns: Iterable[str]) -> bool:
    """Whether the name of a file, with or without its folders, matches one of ``patterns``."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (file.name, file.base_name))


def _canonical_layout(folder: Folder) -> Layout:
    files, folders = folder.entries()
    candidates: dict[str, Callable[[], Layout]] = {}
    for file in files:
        if stem_of(file.base_name) == "interactions":
            candidates[file.name] = lambda file=file: Layout({}, (file,))  # type: ignore[misc]
    if "interactions" in folders:
        candidates["interactions/"] = lambda: _inner_layout(folder, "interactions")
    top = daily_files(folder, files, TABLE_SUFFIXES)
    if top:
        candidates[f"{next(iter(top.values())).name} ..."] = lambda: Layout({d: (f,) for d, f in top.items()}, ())
    hive = [name for name in folders if name.startswith("date=") and day_in_name(name)]
    if hive:
        candidates[f"{hive[0]}/ ..."] = lambda: _inner_layout(folder, "")
    if not candidates:
        raise SourceError(f"{folder.uri}: no interactions; looked for {CANONICAL_LAYOUT}")
    if len(candidates) > 1:
        raise SourceError(
            f"{folder.uri}: interactions in more than one layout ({', '.join(candidates)}); keep one of them"
        )
    return next(iter(candidates.values()))()


def _inner_layout(folder: Folder, under: str) -> Layout:
    files, folders = folder.entries(under, recursive=True)
    tables = [file for file in files if stem_of(file.name) is not None]
    if not under:
        tables = [file for file in tables if file.name.startswith("date=")]
    if not tables:
        raise SourceError(
            f"{folder.label(under)}: holds no .csv, .csv.gz or .parquet file; deliver the interactions there"
        )
    return _cut(folder, tables, folders, under)


def _cut(folder: Folder, tables: Sequence[SourceFile], folders: Sequence[str], under: str) -> Layout:
    """Hive days, files named by day, or files to be cut by day; raises `SourceError` for a mixture."""
    hive = {file.name: _hive_day(file.name) for file in tables}
    in_hive = [file for file in tables if hive[file.name]]
    named = [file for file in tables if not hive[file.name] and day_in_name(stem_of(file.base_name) or "")]
    by_name = {file.name for file in (*in_hive, *named)}
    loose = [file for file in tables if file.name not in by_name]
    kinds = [kind for kind in (in_hive, named, loose) if kind]
    if len(kinds) > 1:
        raise SourceError(
            f"{folder.label(under)}: {kinds[0][0].name} and {kinds[1][0].name} mix two layouts; use folders "
            "date=YYYY-MM-DD/, or files named YYYY-MM-DD, or files of any name, and only one of the three"
        )
    if in_hive:
        by_day: dict[date, list[SourceFile]] = {
            parse_day(text, folder.label(name)): [] for name in folders if (text := _hive_day(name))
        }
        for file in in_hive:
            by_day.setdefault(parse_day(hive[file.name] or "", folder.label(file.name)), []).append(file)
        return Layout({day: tuple(by_day[day]) for day in sorted(by_day)}, ())
    if named:
        return Layout({day: (file,) for day, file in daily_files(folder, named, TABLE_SUFFIXES).items()}, ())
    return Layout({}, tuple(loose))


def _hive_day(name: str) -> str | None:
    parts = [part for part in name.split("/") if part.startswith("date=")]
    return day_in_name(parts[0]) if parts else None
