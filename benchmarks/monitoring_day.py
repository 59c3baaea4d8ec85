"""The three reports of one day of a shop with a million events a day: ``python -m benchmarks.monitoring_day``.

The lake is written once into ``--folder`` (a temporary one by default): shoppers of very unequal activity, products of
very unequal popularity, and lists shown to a tenth of the events. It follows no taste: it is there to cost time and
memory. The reports run as assets in a process of its own. Earlier days have what the reports of earlier days left.
"""

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg
import numpy as np
import pyarrow as pa
from rich.progress import track

from benchmarks.measure import Row, peak_bytes, print_rows, run_measured
from lambda_api.recommender.bundle import DataWindow
from lambda_api.settings import Settings, make_settings
from lambda_api.state.open_table import open_table
from recsys_assets.ingest.served import LIST_OUTCOMES, SERVED_LISTS
from recsys_assets.lake import Lake
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.monitoring import served_hits, served_samples
from recsys_assets.monitoring.assets import business_report, data_quality_report, drift_report
from recsys_assets.monitoring.findings import load_summaries
from recsys_assets.monitoring.samples import REFERENCE_DAYS, WINDOW_DAYS
from recsys_assets.monitoring.served_samples import last_lists
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.schema import INTERACTIONS, PRODUCTS, TIMESTAMP, USERS
from recsys_assets.shop_mark import mark_of, write_marked
from recsys_assets.training.candidate import fit_bundle

FIRST: Final = date(2024, 1, 1)
BAR_SECONDS, BAR_GIB = 60.0, 4.0
HOURS: Final = np.array([3, 2, 1, 1, 1, 2, 4, 6, 7, 8, 8, 8, 9, 9, 8, 8, 8, 9, 10, 12, 13, 12, 9, 6], dtype=np.float64)
PLACES: Final = 10
CHAMPION_AGE_DAYS: Final = 28
"""Its data end so long before the measured day: the oldest that ``drift_sensor`` lets it become."""


class SyntheticLog:
    """Draws the tables of one day after the other.

    Args:
        events: a day; shoppers number as many, products a twentieth.
    """

    def __init__(self, events: int, seed: int = 0) -> None:
        self.events, self._rng = events, np.random.default_rng(seed)
        self.users = np.array([f"shopper-{number:07d}" for number in range(events)])
        self.products = np.array([f"product-{number:06d}" for number in range(max(events // 20, 100))])
        self._activity = np.cumsum(self._rng.gamma(0.7, 1.0, len(self.users)))
        self._appeal = np.cumsum(1.0 / np.arange(1, len(self.products) + 1) ** 0.8)

    def catalogue(self) -> pa.Table:
        """Every product, in 100 categories and 500 brands."""
        number = np.arange(len(self.products))
        columns = {
            "product_id": self.products,
            "name": self.products,
            "category": [f"category {one}" for one in number % 100],
            "brand": [f"brand {one}" for one in number % 500],
            "price": self._rng.lognormal(3.0, 0.8, len(number)).round(2),
            "available": np.ones(len(number), dtype=bool),
        }
        return PRODUCTS.conform(pa.table(columns))

    def shoppers(self) -> pa.Table:
        """Every shopper, with gender and location."""
        number = np.arange(len(self.users))
        columns = {
            "user_id": self.users,
            "gender": np.array(["f", "m"])[number % 2],
            "location": np.array(["north", "east", "south", "west"])[number % 4],
        }
        return USERS.conform(pa.table(columns))

    def day(self, day: date) -> pa.Table:
        """Interactions of one day, ordered by time."""
        n, rng = self.events, self._rng
        hours = rng.choice(24, n, p=HOURS / HOURS.sum())
        seconds = np.sort(hours * 3600.0 + rng.random(n) * 3600)
        start = np.datetime64(day.isoformat(), "us")
        columns = {
            "interaction_id": [f"{day:%y%m%d}-{number}" for number in range(n)],
            "user_id": _texts(self.users, self._drawn(self._activity, n)),
            "product_id": _texts(self.products, self._drawn(self._appeal, n)),
            "interaction_type": _texts(
                np.array(["view", "add_to_cart", "purchase"]), rng.choice(3, n, p=[0.86, 0.09, 0.05])
            ),
            "timestamp": pa.array(start + (seconds * 1e6).astype("timedelta64[us]")).cast(pa.timestamp("us", tz="UTC")),
            "price": rng.lognormal(3.0, 0.8, n).round(2),
        }
        return INTERACTIONS.conform(pa.table(columns))

    def lists(self, day: date) -> pa.Table:
        """Shown products of one day, a tenth as many lists as events; columns of ``served_lists`` and outcomes."""
        lists, rng = max(self.events // 10, 1), self._rng
        rows = lists * PLACES
        list_of = np.repeat(np.arange(lists), PLACES)
        start = np.datetime64(day.isoformat(), "us")
        moments = start + (np.sort(rng.random(lists)) * 86_400e6).astype("timedelta64[us]")
        clicked = (rng.random(rows) < 0.03).astype(np.int32)
        bought = (rng.random(rows) < 0.003).astype(np.int32)
        columns = {
            "request_id": _texts(np.array([f"request-{day:%y%m%d}-{number}" for number in range(lists)]), list_of),
            "user_id": _texts(self.users, self._drawn(self._activity, lists)[list_of]),
            "shown_at": pa.array(moments[list_of]).cast(TIMESTAMP),
            "place": np.tile(np.arange(1, PLACES + 1, dtype=np.int32), lists),
            "product_id": _texts(self.products, self._drawn(self._appeal, rows)),
            "score": rng.lognormal(0.0, 0.5, rows),
            "views": clicked,
            "carts": np.zeros(rows, dtype=np.int32),
            "purchases": bought,
            "revenue": bought * 20.0,
        }
        same = {"list_kind": "recommend", "variant": "champion", "model_version": "v1.0.0", "stage": "ranked"}
        same |= {"page": "home", "experiment": "none", "reason": "co_purchase"}
        table = pa.table({**columns, **{name: pa.repeat(value, rows) for name, value in same.items()}})
        for field in (*SERVED_LISTS, *LIST_OUTCOMES):
            if field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(rows, field.type))
        return table

    def shares(self, n: int) -> np.ndarray:
        """Uniform draws in [0, 1)."""
        return self._rng.random(n)

    def _drawn(self, cumulative: np.ndarray, n: int) -> np.ndarray:
        return np.searchsorted(cumulative, self._rng.random(n) * cumulative[-1])


def _texts(names: np.ndarray, places: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), pa.array(names)).cast(pa.string())


def write_home(settings: Settings, events: int, days: int) -> date:
    """A shop that has sold for ``days``, its champion, and what the reports of earlier days left; its last day."""
    lake, log = Lake(settings.lake_uri), SyntheticLog(events)
    lake.write_table("products", log.catalogue())
    lake.write_table("users", log.shoppers())
    for number in track(range(days), "writing days of interactions"):
        day = FIRST + timedelta(days=number)
        if day not in lake.days("interactions"):
            lake.write_day("interactions", day, log.day(day))
    last = FIRST + timedelta(days=days - 1)
    promote_champion(settings, log, last)
    for number in track(range(REFERENCE_DAYS + 2 * WINDOW_DAYS), "writing what earlier reports left"):
        write_past(lake, log, last - timedelta(days=number), is_last=number == 0)
    return last


def promote_champion(settings: Settings, log: SyntheticLog, last: date) -> None:
    """An item-kNN of half a million events of its last day: what it costs to ask it does not depend on how many."""
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) - timedelta(days=CHAMPION_AGE_DAYS)
    with tempfile.TemporaryDirectory() as folder:
        small = Lake(f"{folder}/lake")
        for table in ("products", "users"):
            small.write_table(table, Lake(settings.lake_uri).read(table))
        day = (end - timedelta(days=1)).date()
        small.write_day("interactions", day, log.day(day).slice(0, 500_000))
        window = DataWindow(start=end - timedelta(days=1), end=end)
        fit_bundle(ItemKnn(), small, window, Path(folder) / "bundle", {}, print)
        registry = ModelRegistry(open_table(settings, "registry"))
        stored = BundleStore(settings.models_uri)
        version = register_bundle(registry, stored, Path(folder) / "bundle", run_id="benchmark", metrics={})
    registry.promote(version.version, None)


def write_past(lake: Lake, log: SyntheticLog, day: date, *, is_last: bool) -> None:
    """Lists and outcomes of a day; hits and sampled lists too, except on the last day, whose report is measured."""
    lists = log.lists(day)
    if is_last:
        lake.write_day("served_lists", day, lists.select(SERVED_LISTS.names).cast(SERVED_LISTS))
    lake.write_day("list_outcomes", day, lists.select(LIST_OUTCOMES.names).cast(LIST_OUTCOMES))
    if not is_last:
        sample = last_lists(lists)
        churn = pa.array(log.shares(sample.num_rows))
        added = sample.append_column("churn", churn).append_column("other_version", pa.repeat(False, sample.num_rows))
        mark = mark_of(lake)
        write_marked(lake, mark, served_samples.TABLE, day, added.cast(served_samples.SCHEMA))
        buyers = 500
        hits = {
            "user_id": log.users[:buyers],
            "version": ["v1.0.0"] * buyers,
            "hit": (log.shares(buyers) < 0.2).astype(np.float64),
            "first_category": [f"category {number % 100}" for number in range(buyers)],
            "age_days": [7] * buyers,
        }
        write_marked(lake, mark, served_hits.TABLE, day, pa.table(hits).cast(served_hits.SCHEMA))


def report(folder: Path, day: date) -> dict[str, float]:
    """Make the three reports in this process: seconds of each, processor seconds, peak resident GiB."""
    settings = _settings(folder)
    registry = ModelRegistry(open_table(settings, "registry"))
    resources = {
        "lake": Lake(settings.lake_uri),
        "settings": settings,
        "registry": registry,
        "bundles": BundleStore(settings.models_uri),
    }
    figures: dict[str, float] = {}
    for asset in (data_quality_report, drift_report, business_report):
        began = time.perf_counter()
        result = dg.materialize([asset], partition_key=day.isoformat(), resources=resources)
        figures[asset.key.to_user_string()] = time.perf_counter() - began
        assert result.success
    figures["cpu_seconds"] = time.process_time()
    figures["peak_gib"] = peak_bytes() / 1024**3
    for summary in load_summaries(settings.home / "reports"):
        for finding in summary.findings:
            print(f"{summary.report}: {finding.name}: {finding.state}. {finding.sentence}")
    return figures


def run(folder: Path, events: int, days: int) -> list[Row]:
    """Write the lake where it is not there yet, then measure in a process that has seen nothing else."""
    last = FIRST + timedelta(days=days - 1)
    settings = _settings(folder)
    if last not in Lake(settings.lake_uri).days("list_outcomes"):
        write_home(settings, events, days)
    for table in (served_hits.TABLE, served_samples.TABLE):
        Lake(settings.lake_uri).delete_day(table, last)  # of an earlier measurement
    command = [sys.executable, "-m", "benchmarks.monitoring_day", "--report", last.isoformat(), "--folder", str(folder)]
    done = run_measured(command, cwd=Path(__file__).resolve().parents[1])
    print(done.output[-6_000:])
    if done.returncode:
        raise SystemExit(done.returncode)
    figures = json.loads(done.output.splitlines()[-1])
    parts = ", ".join(f"{name.removesuffix('_report')} {figures[name]:.1f} s" for name in list(figures)[:3])
    what = f"monitoring of one day, {events / 1e6:g} M events a day, a log of {days} days"
    return [
        {
            "what": f"{what}, with the start of Python",
            "bar": f"under {BAR_SECONDS:.0f} s",
            "measured": f"{done.seconds:.1f} s ({figures['cpu_seconds']:.0f} s of processor time; {parts})",
            "met": done.seconds < BAR_SECONDS,
        },
        {
            "what": "peak memory of the process",
            "bar": f"under {BAR_GIB:.0f} GiB",
            "measured": f"{figures['peak_gib']:.2f} GiB",
            "met": figures["peak_gib"] < BAR_GIB,
        },
    ]


def _settings(folder: Path) -> Settings:
    return make_settings({"home": folder / "home", "first_day": FIRST.isoformat(), "source": "synthetic", "k": 20})


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring_day", description=__doc__)
    parser.add_argument("--folder", type=Path, help="Where the lake is written and kept; default: a temporary folder.")
    parser.add_argument("--events", type=int, default=1_000_000, help="A day; shoppers number as many.")
    parser.add_argument("--days", type=int, default=120, help="Of the log; at least 80.")
    parser.add_argument("--report", type=date.fromisoformat, help="Only make the reports of a day in --folder.")
    given = parser.parse_args()
    if given.report is not None:
        print(json.dumps(report(given.folder, given.report)))
        return
    with tempfile.TemporaryDirectory(prefix="recsys-benchmark-") as temporary:
        print_rows("monitoring", run(given.folder or Path(temporary), given.events, given.days))


if __name__ == "__main__":
    main()
