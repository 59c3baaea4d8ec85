"""The shop of the composed proof: a home on a laptop with a lake and a champion trained on it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from lambda_api.recommender.bundle import BundleInfo, DataWindow, write_bundle
from lambda_api.settings import Settings, make_settings
from lambda_api.state.open_table import open_table
from recsys_assets.ingest.synthetic.config import SyntheticShopConfig
from recsys_assets.ingest.synthetic.shop import SyntheticShop
from recsys_assets.lake import Lake
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import make_trainer
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion
from recsys_assets.schema import INTERACTIONS, PRODUCTS

FIRST = date(2024, 3, 1)
DAYS = 24
CONFIG = SyntheticShopConfig(
    seed=5,
    start=FIRST,
    days=DAYS,
    n_users=400,
    n_products=120,
    n_categories=5,
    n_brands=6,
    sessions_per_user_per_day=0.5,
)
"""Small, and yet 56 shoppers buy something new in the window that decides; the gate asks for 30."""
END = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=DAYS)
TRAINED_BEFORE = END - timedelta(days=5)
"""What the champion has seen: nothing that a newer model is judged on."""


def make_home(folder: Path) -> Settings:
    """A home whose lake holds the shop."""
    settings = make_settings({"home": folder, "first_day": FIRST})
    shop, lake = SyntheticShop(CONFIG), Lake(settings.lake_uri)
    for day in days():
        lake.write_day("interactions", day, INTERACTIONS.conform(shop.day_events(day)))
    lake.write_table("products", PRODUCTS.conform(shop.products()))
    return settings


def drops() -> dict[str, bytes]:
    """The shop as files that a shop delivers: name -> CSV."""
    shop = SyntheticShop(CONFIG)
    tables = {f"interactions/{day.isoformat()}.csv": shop.day_events(day) for day in days()}
    tables |= {"products.csv": shop.products(), "users.csv": shop.users()}
    made = {}
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        pa_csv.write_csv(table, sink)
        made[name] = sink.getvalue().to_pybytes()
    return made


def days() -> list[date]:
    """Days of the shop."""
    return [FIRST + timedelta(days=offset) for offset in range(DAYS)]


def train_champion(home: Settings, neighbours: int = 40) -> ModelVersion:
    """Fit an item-to-item model on all but the last days, register it, and make it champion of the home.

    It was told of the wrong products, as by a tracker that was broken: it answers and reacts like any model, and any
    model that was told of the right ones is better, whatever becomes of the models of this project.
    """
    lake = Lake(home.lake_uri)
    trainer = make_trainer("item_knn", {"neighbours": neighbours})
    products = lake.read("products")
    interactions = _mixed_up(lake.read("interactions"), products["product_id"].to_pylist())
    recommender = trainer.fit(TrainingData.from_tables(interactions, products, TRAINED_BEFORE))
    folder = home.home / "candidates" / trainer.name
    info = BundleInfo(
        trainer=trainer.name,
        created_at=TRAINED_BEFORE,
        hyper_parameters=trainer.parameters(),
        data_window=DataWindow(start=END - timedelta(days=DAYS), end=TRAINED_BEFORE),
        metrics={},
        git_revision="0123abc",
    )
    write_bundle(recommender, folder, info)
    registry = ModelRegistry(open_table(home, "registry"))
    before = registry.champion()
    registered = register_bundle(registry, BundleStore(home.models_uri), folder, run_id=f"knn-{neighbours}")
    registry.promote(registered.version, before.version if before else None)
    return registry.get(registered.version)


def _mixed_up(interactions: pa.Table, product_ids: list[str]) -> pa.Table:
    other = dict(zip(sorted(product_ids), sorted(product_ids)[::-1], strict=True))
    wrong = pa.array([other[product] for product in interactions["product_id"].to_pylist()], pa.string())
    return interactions.set_column(interactions.schema.get_field_index("product_id"), "product_id", wrong)


def busiest(home: Settings) -> str:
    """The shopper with the most events."""
    users: pa.Table = Lake(home.lake_uri).read("interactions", ("user_id",))
    counts = users.group_by("user_id").aggregate([("user_id", "count")]).sort_by([("user_id_count", "descending")])
    found: str = counts["user_id"][0].as_py()
    return found
