"""The home folder of a shop: which one a command works on, preparing it for Dagster, and opening its stores."""

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings, make_settings, read_settings, write_settings

if TYPE_CHECKING:  # pyarrow and the readers of files take half a second that `recsys keys` does not need
    from recsys_assets.ingest.source import Source
    from recsys_assets.lake import Lake
    from recsys_assets.registry.bundle_store import BundleStore
    from recsys_assets.registry.model_registry import ModelRegistry

SYNTHETIC_DAYS: Final = 120
"""Days of events that the synthetic shop has on its first day: enough for weekly seasons and two later windows."""

LAST_HOME: Final = "last-home"
"""File with the name of the shop of the last run, which a command without RECSYS_HOME works on."""

PAGES_PORT: Final = 8001
PAGES_URL: Final = f"http://127.0.0.1:{PAGES_PORT}"
"""Where `recsys up` and `recsys ui` serve reports and data docs, which Dagster links to."""

LOCK: Final = ".lock"
"""File in a home that a running `recsys run` holds locked, and in Dagster's home a process that prepares it."""

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


class NoHome(RecsysError):
    """A command asks for a shop that does not exist."""


class HomeTaken(RecsysError):
    """The chosen home holds another shop; the message says which and what to do."""


class HomeBusy(RecsysError):
    """Another process is building in the same home."""


@dataclass(frozen=True)
class Stores:
    """What is kept of a shop besides the tables of serving."""

    registry: "ModelRegistry"
    bundles: "BundleStore"
    lake: "Lake"


def open_registry(settings: Settings) -> "ModelRegistry":
    """The model registry of a home. Raises ``TableUnavailable`` where its table cannot be opened."""
    from lambda_api.state.open_table import open_table
    from recsys_assets.registry.model_registry import ModelRegistry

    return ModelRegistry(open_table(settings, "registry"))


def open_stores(settings: Settings) -> Stores:
    """Registry, bundles and lake of a home. Raises ``TableUnavailable`` as `open_registry` does."""
    from recsys_assets.lake import Lake
    from recsys_assets.registry.bundle_store import BundleStore

    return Stores(open_registry(settings), BundleStore(settings.models_uri), Lake(settings.lake_uri))


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home for building. A killed process releases it: the lock is the operating system's.

    Raises:
        HomeBusy: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HomeBusy(
                f"another `recsys run` is building in {home}",
                remedy="wait until it has ended, or choose another RECSYS_HOME",
            ) from error
        yield


def choose_home(root: Path, data: str | None, environment: MutableMapping[str, str]) -> Path:
    """The home of the shop in ``data`` (``None``: the synthetic one).

    ``RECSYS_HOME`` decides when it is set; otherwise each shop has a folder of its own under ``root``, so that your
    data do not mix with the synthetic shop's. Of two folders with one name the second gets a home with a longer name.
    The choice is written to ``environment`` for child processes.
    """
    given = environment.get("RECSYS_HOME")
    home = Path(given).expanduser().resolve() if given else (root / _slug(data)).resolve()
    if data and not given:
        wanted = make_settings({"home": home, "data": data})
        if _is_of_another(home, wanted):
            home = home.with_name(f"{home.name}-{hashlib.sha256(str(wanted.data).encode()).hexdigest()[:6]}")
    environment["RECSYS_HOME"] = str(home)
    return home


def use_last_home(root: Path, environment: MutableMapping[str, str]) -> Path:
    """The home of the last run under ``root``, unless ``RECSYS_HOME`` is set; ``root/synthetic`` before any run."""
    if not environment.get("RECSYS_HOME"):
        noted = root / LAST_HOME
        name = noted.read_text().strip() if noted.is_file() else _slug(None)
        environment["RECSYS_HOME"] = str((root / name).resolve())
    return Path(environment["RECSYS_HOME"])


def settings_of_last_home(environment: MutableMapping[str, str] | None = None) -> Settings:
    """Settings of the home of the last run, unless ``RECSYS_HOME`` names one.

    Raises:
        NoHome: ``RECSYS_HOME`` names a folder that does not exist. To look at a shop does not make one.
        SettingsError: a setting is wrong.
    """
    variables = os.environ if environment is None else environment
    is_chosen, root = bool(variables.get("RECSYS_HOME")), default_root()
    home = use_last_home(root, variables)
    if not is_chosen and len([*root.glob("*/recsys.toml")]) > 1:
        # On the error stream: the output of `recsys keys create` is the key alone.
        print(f"shop: {home.name} (of the last run; RECSYS_HOME={root}/NAME chooses another)", file=sys.stderr)
    settings = read_settings(variables)
    if is_chosen and settings.target == "local" and not home.is_dir():
        shops = ", ".join(sorted(f"{root.name}/{found.parent.name}" for found in root.glob("*/recsys.toml")))
        raise NoHome(
            f"RECSYS_HOME is {home}, and there is no such folder; shops here: {shops or 'none'}",
            remedy="`recsys run` makes a new shop there",
        )
    return settings


def note_last_home(root: Path, home: Path) -> None:
    """Remember ``home`` for `use_last_home`, if it lies under ``root``."""
    if home.parent == root.resolve():
        (root / LAST_HOME).write_text(home.name + "\n")


def open_shop(data: str | None, environment: MutableMapping[str, str]) -> Settings:
    """Settings of the shop in ``RECSYS_HOME``; the first call finds its first day and stores it.

    Raises:
        HomeTaken: the home belongs to other data.
        SettingsError: a setting is wrong.
        SourceError: the data cannot be read or holds no day.
    """
    from recsys_assets.ingest.registry import source_of
    from recsys_assets.ingest.source import SourceError

    if data:
        environment["RECSYS_DATA"] = data
    settings = read_settings(environment)
    if _is_of_another(settings.home, settings):
        stored = read_settings({"RECSYS_HOME": str(settings.home)})
        raise HomeTaken(
            f"{settings.home} holds the shop of {stored.data or 'the synthetic source'}, not of "
            f"{settings.data or 'the synthetic source'}",
            remedy="choose another RECSYS_HOME",
        )
    if settings.first_day is None:
        days = source_of(settings, first_day=_opening_day(settings)).days()
        if not days:
            raise SourceError(f"{settings.data}: no day with events was found; see the README for accepted layouts")
        settings = make_settings({**settings.model_dump(), "first_day": days[0]})
    if settings.target == "local" and not settings.pages_url:
        settings = make_settings({**settings.model_dump(), "pages_url": PAGES_URL})
    write_settings(settings)
    # The definitions read the settings again in this process and must find the same shop.
    environment.pop("RECSYS_DATA", None)
    return settings


def complete_days(source: "Source", settings: Settings) -> list[date]:
    """Days of the source from the first partition on that are over in UTC.

    Raises:
        SourceError: there is none.
    """
    from recsys_assets.ingest.source import SourceError

    today = datetime.now(UTC).date()
    days = [day for day in source.days() if settings.partitions_start <= day < today]
    if not days:
        raise SourceError(
            f"{settings.data or source.name}: no complete day from {settings.partitions_start} on; "
            "a day can be brought in once it is over in UTC"
        )
    return days


def prepare_dagster(settings: Settings, environment: MutableMapping[str, str]) -> Path:
    """Create Dagster's own home under the shop's, point ``DAGSTER_HOME`` at it and return it.

    Its databases are created too, under a lock: two processes that open an empty home at once would create the same
    tables, which fails one of them and can leave a database that neither can open again.
    """
    import dagster as dg

    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    with (folder / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not config.is_file():
            config.write_text(DAGSTER_CONFIG)
        with dg.DagsterInstance.from_config(str(folder)):
            pass
    environment["DAGSTER_HOME"] = str(folder)
    return folder


def default_root() -> Path:
    """Where shops live unless ``RECSYS_HOME`` says otherwise: ``.recsys`` in the working directory."""
    return Path.cwd() / ".recsys"


def _opening_day(settings: Settings) -> date | None:
    if settings.data or settings.source not in ("auto", "synthetic"):
        return None
    return datetime.now(UTC).date() - timedelta(days=SYNTHETIC_DAYS)


def _is_of_another(home: Path, given: Settings) -> bool:
    """Whether ``home`` holds the shop of other data than ``given``."""
    if not (home / "recsys.toml").is_file():
        return False
    stored = read_settings({"RECSYS_HOME": str(home)})
    return stored.data != given.data and not _moved(stored, given)


def _moved(stored: Settings, given: Settings) -> bool:
    """Whether the data given have the name of those stored, which are no longer where they were."""
    if stored.data is None or given.data is None or "://" in stored.data or "://" in given.data:
        return False
    return Path(stored.data).name == Path(given.data).name and not Path(stored.data).exists()


def _slug(data: str | None) -> str:
    if not data:
        return "synthetic"
    name = re.sub(r"[^a-z0-9]+", "-", data.rstrip("/").split("/")[-1].lower()).strip("-")
    return name or "shop"
