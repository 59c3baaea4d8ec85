"""Which home folder a command works on, and preparing it for Dagster.

Put the choosing and laying out of ``RECSYS_HOME`` here. Keep what the settings mean in ``lambda_api.settings``.
"""

import os
import re
from collections.abc import MutableMapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings, make_settings, read_settings, write_settings
from recsys_assets.ingest.registry import source_of
from recsys_assets.ingest.source import Source, SourceError

SYNTHETIC_DAYS: Final = 120
"""Length of the synthetic shop's past on the day it opens: long enough for seasons of a week and two later windows."""

LAST_HOME: Final = "last-home"
"""File that names the shop a command without RECSYS_HOME works on: the one of the last demo."""

DAGSTER_CONFIG: Final = """\
# Written by `recsys`. One run at a time: the days of a backfill and a retraining share two cores and one lake.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
"""


class HomeTaken(RecsysError):
    """The chosen home holds another shop; the message says which and what to do."""


def choose_home(root: Path, data: str | None, environment: MutableMapping[str, str]) -> Path:
    """The home of the shop in ``data`` (``None``: the synthetic one).

    ``RECSYS_HOME`` decides when it is set; otherwise each shop has a folder of its own under ``root``, so that the demo
    on your data does not mix with the demo on ours. The choice is written to ``environment`` for child processes.
    """
    given = environment.get("RECSYS_HOME")
    home = Path(given).expanduser().resolve() if given else (root / _slug(data)).resolve()
    environment["RECSYS_HOME"] = str(home)
    return home


def use_last_home(root: Path, environment: MutableMapping[str, str]) -> Path:
    """The home of the last demo under ``root``, unless ``RECSYS_HOME`` is set; ``root/synthetic`` before any demo."""
    if not environment.get("RECSYS_HOME"):
        noted = root / LAST_HOME
        name = noted.read_text().strip() if noted.is_file() else _slug(None)
        environment["RECSYS_HOME"] = str((root / name).resolve())
    return Path(environment["RECSYS_HOME"])


def settings_of_last_home(environment: MutableMapping[str, str] | None = None) -> Settings:
    """Settings of the home the last demo used, unless ``RECSYS_HOME`` names one. Raises `SettingsError`."""
    variables = os.environ if environment is None else environment
    use_last_home(default_root(), variables)
    return read_settings(variables)


def note_last_home(root: Path, home: Path) -> None:
    """Remember ``home`` for `use_last_home`, if it lies under ``root``."""
    if home.parent == root.resolve():
        (root / LAST_HOME).write_text(home.name + "\n")


def open_shop(data: str | None, environment: MutableMapping[str, str]) -> Settings:
    """Settings of the shop in ``RECSYS_HOME``; at the first call, find out its first day and store it.

    Raises:
        HomeTaken: the home belongs to other data.
        SettingsError: a setting is wrong.
        SourceError: the data cannot be read or holds no day.
    """
    if data:
        environment["RECSYS_DATA"] = data
    settings = read_settings(environment)
    stored = read_settings({"RECSYS_HOME": str(settings.home)})
    if (settings.home / "recsys.toml").is_file() and stored.data != settings.data:
        raise HomeTaken(
            f"{settings.home} holds the shop of {stored.data or 'the synthetic source'}, not of "
            f"{settings.data or 'the synthetic source'}: choose another RECSYS_HOME, or delete that folder"
        )
    if settings.first_day is None:
        days = source_of(settings, first_day=_opening_day(settings)).days()
        if not days:
            raise SourceError(f"{settings.data}: no day with events was found; see the README for accepted layouts")
        settings = make_settings({**settings.model_dump(), "first_day": days[0]})
    write_settings(settings)
    # Whoever reads settings later in this process (the definitions do) must find the same shop.
    environment.pop("RECSYS_DATA", None)
    return settings


def complete_days(source: Source, settings: Settings) -> list[date]:
    """Days of the source that are on the calendar: from the first partition on, and over in UTC.

    Raises:
        SourceError: there is none.
    """
    today = datetime.now(UTC).date()
    days = [day for day in source.days() if settings.partitions_start <= day < today]
    if not days:
        raise SourceError(
            f"{settings.data or source.name}: no complete day from {settings.partitions_start} on; "
            "a day can be brought in once it is over in UTC"
        )
    return days


def prepare_dagster(settings: Settings, environment: MutableMapping[str, str]) -> Path:
    """Create Dagster's own home under the shop's, point ``DAGSTER_HOME`` at it and return it."""
    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    if not config.is_file():
        config.write_text(DAGSTER_CONFIG)
    environment["DAGSTER_HOME"] = str(folder)
    return folder


def default_root() -> Path:
    """Where shops live unless ``RECSYS_HOME`` says otherwise: ``.recsys`` in the working directory."""
    return Path.cwd() / ".recsys"


def _opening_day(settings: Settings) -> date | None:
    if settings.data or settings.source not in ("auto", "synthetic"):
        return None
    return datetime.now(UTC).date() - timedelta(days=SYNTHETIC_DAYS)


def _slug(data: str | None) -> str:
    if not data:
        return "synthetic"
    name = re.sub(r"[^a-z0-9]+", "-", data.rstrip("/").split("/")[-1].lower()).strip("-")
    return name or "shop"
