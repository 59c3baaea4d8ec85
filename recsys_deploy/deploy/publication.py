"""Publishes catalogue, popular products and histories from a home's lake to an environment, in this order.

What is published, and when it may replace the live data, is decided in ``recsys_assets.publishing``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from lambda_api.settings import Settings
from lambda_api.state.history import HistoryStore
from lambda_api.state.popular import PopularProducts
from lambda_api.state.table import Table
from recsys_assets.features.engine import end_of_log
from recsys_assets.lake import Lake
from recsys_assets.publishing.catalogue import build_catalogue, check_catalogue, products_of
from recsys_assets.publishing.catalogue_store import publish_catalogue, remove_old
from recsys_assets.publishing.histories import PUBLISHED, publish_histories
from recsys_assets.publishing.popular import POPULAR_DAYS, popular_lists, recent_data
from recsys_deploy.deploy.errors import DeployError

NEEDED: Final = ("products", "interactions")


@dataclass(frozen=True)
class BridgedLake(Lake):
    """A home's lake in which the digests of published histories are those of the environment.

    The digests say which histories an environment already has, so they must be kept per environment: the home's next
    publication, and a pipeline that later runs in the environment, would otherwise skip histories.
    """

    there: Lake

    def write_table(self, table: str, data: pa.Table) -> str:
        return self.there.write_table(table, data) if table == PUBLISHED else super().write_table(table, data)

    def has_table(self, table: str) -> bool:
        return self.there.has_table(table) if table == PUBLISHED else super().has_table(table)

    def read(self, table: str, *args: object, **kwargs: object) -> pa.Table:
        place = self.there if table == PUBLISHED else Lake(self.root)
        return place.read(table, *args, **kwargs)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Published:
    """Counts of what was published."""

    products: int
    popular: int
    shoppers: int
    shoppers_written: int


def has_shop(lake: Lake) -> bool:
    """Whether the lake has products and interactions."""
    return lake.has_table("products") and bool(lake.days("interactions"))


def publish(home: Lake, there: Settings, serving: Table, history: Table, bundle: Path | None, now: int) -> Published:
    """Publish each part after checking it. May be repeated.

    Args:
        home: the lake to publish from.
        there: settings of the environment.
        serving, history: its tables.
        bundle: local copy of the model that becomes champion, whose products the catalogue must contain.
        now: seconds since 1970 UTC.

    Raises:
        DeployError: the catalogue or the popular list was refused; the old ones stay.
        GateClosed, LakeError: the lake may not be used.
    """
    catalogue = build_catalogue(home)
    verdict = check_catalogue(catalogue, products_of(bundle))
    if verdict.problem:
        raise DeployError(f"the catalogue was not published: {verdict.problem}. The live one stays")
    published = publish_catalogue(catalogue, there.catalogue_uri, serving, now)
    remove_old(there.catalogue_uri, published.uri)
    as_of = end_of_log(home)
    lists = popular_lists(recent_data(home, as_of))
    if not lists.overall:
        raise DeployError(
            f"no available product has an event in the {POPULAR_DAYS} days before {as_of.date()}; the popular lists "
            "stay unchanged",
            remedy="check the newest days of interactions and the availability in products",
        )
    PopularProducts(serving).publish(lists.overall, lists.by_category, now)
    histories = publish_histories(BridgedLake(home.root, Lake(there.lake_uri)), HistoryStore(history), serving)
    return Published(published.products, len(lists.overall), histories.shoppers, histories.written_shoppers)
