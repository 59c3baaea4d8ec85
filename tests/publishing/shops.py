"""Small lakes and places to publish to, for the tests of this folder."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa

from lambda_api.recommender.bundle import BundleInfo, DataWindow, write_bundle
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.popularity import PopularityRecommender
from lambda_api.settings import Settings, make_settings
from lambda_api.state.dynamodb_table import DynamoDbTable
from lambda_api.state.history import HistoryStore
from lambda_api.state.open_table import open_table
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Table, TableUnavailable, Write
from recsys_assets.lake import Lake
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion
from recsys_assets.schema import INTERACTIONS, PRODUCTS
from tests.moto_server import moto_server
from tests.state.created_table import create_dynamodb_table

END = datetime(2024, 3, 1, tzinfo=UTC)
"""The midnight after the last day of every log here, unless a test adds a day."""

Touch = tuple[str, str, str, datetime]
"""User, product, interaction type, moment."""


def ago(days: float = 0.0, seconds: float = 1.0) -> datetime:
    """A moment so long before `END`."""
    return END - timedelta(days=days, seconds=seconds)


def write_log(lake: Lake, touches: Iterable[Touch], prefix: str = "e") -> None:
    """Write the days that ``touches`` fall on, replacing each; ids count up per day in the order given."""
    days: dict[date, list[Touch]] = defaultdict(list)
    for touch in touches:
        days[touch[3].date()].append(touch)
    for day, rows in days.items():
        table = pa.Table.from_pylist(
            [
                {
                    "interaction_id": f"{prefix}-{day}-{number:05d}",
                    "user_id": user,
                    "product_id": product,
                    "interaction_type": kind,
                    "timestamp": moment,
                }
                for number, (user, product, kind, moment) in enumerate(rows)
            ]
        )
        lake.write_day("interactions", day, INTERACTIONS.conform(table))


def write_products(lake: Lake, rows: Sequence[dict[str, object]]) -> None:
    """Replace the products table; a row without ``available`` says nothing about it."""
    names = PRODUCTS.schema.names
    lake.write_table(
        "products", pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows], PRODUCTS.schema)
    )


def listed(*ids: str, category: str = "Mugs", available: bool | None = True) -> list[dict[str, object]]:
    """Product rows named after their ids."""
    return [
        {
            "product_id": id,
            "name": f"Name {id}",
            "category": category,
            "brand": "B",
            "price": 2.5,
            "available": available,
        }
        for id in ids
    ]


def random_log(seed: int, users: int, products: int, events: int, days: int = 60) -> list[Touch]:
    """Touches over the last ``days``, some in the very same second."""
    rng = np.random.default_rng(seed)
    kinds = ("view", "add_to_cart", "purchase", "rating")
    return [
        (
            f"u{rng.zipf(1.3) % users}",
            f"p{rng.integers(products)}",
            kinds[rng.integers(len(kinds))],
            END - timedelta(seconds=int(rng.integers(1, days * 864)) * 100),
        )
        for _ in range(events)
    ]


class BreakingTable:
    """A table whose ``after``-th write and every later one fails, until it is mended."""

    def __init__(self, table: Table, after: int = 0) -> None:
        self.table = table
        self.left = after
        self.get = table.get
        self.query = table.query

    def write(self, writes: Sequence[Write]) -> None:
        if self.left <= 0:
            raise TableUnavailable("broken on purpose")
        self.left -= 1
        self.table.write(writes)


@dataclass(frozen=True)
class Home:
    """A home folder with the resources that the graph is given."""

    settings: Settings

    @classmethod
    def at(cls, folder: Path) -> "Home":
        return cls(make_settings({"home": folder, "first_day": "2010-12-01"}))

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_uri)

    @property
    def serving(self) -> Table:
        return open_table(self.settings, "serving")

    @property
    def histories(self) -> HistoryStore:
        return HistoryStore(open_table(self.settings, "history"))

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(open_table(self.settings, "registry"))

    @property
    def bundles(self) -> BundleStore:
        return BundleStore(self.settings.models_uri)

    def promote(self, *product_ids: str, trained_before: datetime = END, seed: int = 0) -> ModelVersion:
        """Register a bundle that knows these products, and make it champion."""
        champion = self.registry.champion()
        version = self.register(*product_ids, trained_before=trained_before, seed=seed)
        self.registry.promote(version.version, champion.version if champion else None)
        return self.registry.get(version.version)

    def register(self, *product_ids: str, trained_before: datetime = END, seed: int = 0) -> ModelVersion:
        """Register a bundle that knows these products."""
        folder = self.settings.home / "candidates" / "popularity"
        products = IdMap.from_ids(product_ids)
        popularity = np.random.default_rng(seed).random(len(products)).astype(np.float32)
        lineage = BundleInfo(
            trainer="popularity",
            created_at=END,
            hyper_parameters={},
            data_window=DataWindow(start=trained_before - timedelta(days=30), end=trained_before),
            metrics={},
            git_revision="0123abc",
        )
        write_bundle(PopularityRecommender(products, popularity), folder, lineage)
        return register_bundle(self.registry, self.bundles, folder, run_id=f"run-{seed}")


@contextmanager
def fake_aws() -> Iterator[str]:
    """A simulated S3 and DynamoDB behind real HTTP; yields a fresh bucket's name."""
    with moto_server():
        bucket = f"publishing-{os.urandom(4).hex()}"
        boto3.client("s3").create_bucket(Bucket=bucket)
        yield bucket


@contextmanager
def place(kind: str, folder: Path) -> Iterator[tuple[str, Table]]:
    """Where catalogues go and the table of the pointer: a folder and SQLite, or S3 and DynamoDB."""
    if kind == "local":
        yield str(folder / "catalogue"), SqliteTable(folder / "state.sqlite3", "serving")
        return
    with fake_aws() as bucket:
        client = boto3.client("dynamodb")
        create_dynamodb_table(client, f"{bucket}-serving")  # as fresh as the bucket
        yield f"s3://{bucket}/catalogue", DynamoDbTable(f"{bucket}-serving", client)
