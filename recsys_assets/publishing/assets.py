"""The stores that serving reads, as Dagster assets."""

import time
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from lambda_api.settings import Settings
from lambda_api.state.history import HistoryStore
from lambda_api.state.popular import PopularEntry, PopularProducts
from lambda_api.state.table import Table
from recsys_assets.features.engine import end_of_log
from recsys_assets.ingest.assets import products
from recsys_assets.lake import Lake
from recsys_assets.promotion.assets import registered_model
from recsys_assets.publishing import checks
from recsys_assets.publishing.catalogue import build_catalogue, check_catalogue, products_of
from recsys_assets.publishing.catalogue_store import publish_catalogue, remove_old
from recsys_assets.publishing.histories import publish_histories, unreadable_histories
from recsys_assets.publishing.popular import POPULAR_DAYS, popular_lists, recent_data
from recsys_assets.publishing.storefront import StorefrontShopper, storefront_of, write_storefront
from recsys_assets.quality.assets import interactions
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.tags import OWNERS

GROUP = "publishing"
SHOWN = 10
"""Rows of a table in metadata."""

SAMPLE = 20
"""Number of shoppers whose history is read back."""


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=[products, interactions],
    kinds={"python"},
    check_specs=[checks.CATALOGUE_SPEC],
)
def serving_catalogue(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    serving: dg.ResourceParam[Table],
    registry: dg.ResourceParam[ModelRegistry],
    bundles: dg.ResourceParam[BundleStore],
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Name, category, brand, price, availability and first event of every product, for serving."""
    catalogue, champion = build_catalogue(lake), registry.champion()
    live = None if champion is None else bundles.fetch(champion, settings.home / "bundles")
    verdict = check_catalogue(catalogue, products_of(live))
    result = checks.catalogue_result(verdict, len(catalogue), int(catalogue.available.sum()))
    if verdict.problem:
        yield result
        raise dg.Failure(f"the catalogue was not published: {verdict.problem}", allow_retries=False)
    published = publish_catalogue(catalogue, settings.catalogue_uri, serving, int(time.time()))
    removed = remove_old(settings.catalogue_uri, published.uri)
    context.log.info(
        f"{published.products:,} products in {published.uri}, {'new' if published.changed else 'as before'}"
    )
    yield dg.MaterializeResult(
        metadata={
            "dagster/uri": published.uri,
            "dagster/row_count": published.products,
            "available": int(catalogue.available.sum()),
            "never_touched": int((catalogue.first_seen < 0).sum()),
            "categories": len(catalogue.categories),
            "with_companions": int((catalogue.companions >= 0).any(axis=1).sum()),
            "checksum": published.checksum,
            "changed": published.changed,
            "old_catalogues_removed": len(removed),
        },
        data_version=dg.DataVersion(published.checksum),
        check_results=[result],
    )


@dg.asset(
    group_name=GROUP, owners=OWNERS, deps=[products, interactions], kinds={"python"}, check_specs=[checks.POPULAR_SPEC]
)
def popular_products(
    lake: dg.ResourceParam[Lake], serving: dg.ResourceParam[Table]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Popular products, overall and by category: the fallback answer when no model can give one."""
    as_of = end_of_log(lake)
    lists = popular_lists(recent_data(lake, as_of))
    result = checks.popular_result(len(lists.overall), len(lists.by_category))
    if not lists.overall:
        yield result
        raise dg.Failure(
            f"no available product was touched in the {POPULAR_DAYS} days before {as_of.date()}, so the popular lists "
            "stay as they are; look at the newest days of interactions, and at the availability in products",
            allow_retries=False,
        )
    PopularProducts(serving).publish(lists.overall, lists.by_category, int(time.time()))
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(lists.overall),
            "categories": len(lists.by_category),
            "counted": ", ".join(lists.counted),
            "days": POPULAR_DAYS,
            "as_of": dg.MetadataValue.timestamp(as_of),
            "most_popular": _popular_table(lists.overall[:SHOWN]),
        },
        check_results=[result],
    )


class HistoriesConfig(dg.Config):
    """Options of `shopper_histories`."""

    everything: bool = Field(
        default=False, description="Write every shopper again, also those whose newest events did not change."
    )


@dg.asset(group_name=GROUP, owners=OWNERS, deps=[interactions], kinds={"duckdb"}, check_specs=[checks.HISTORIES_SPEC])
def shopper_histories(
    context: dg.AssetExecutionContext,
    config: HistoriesConfig,
    lake: dg.ResourceParam[Lake],
    serving: dg.ResourceParam[Table],
    histories: dg.ResourceParam[HistoryStore],
) -> Iterator[dg.MaterializeResult[None]]:
    """The newest events of every shopper, in the store that serving reads."""
    began = time.perf_counter()
    published = publish_histories(lake, histories, serving, everything=config.everything)
    seconds = time.perf_counter() - began
    context.log.info(
        f"{published.written_events:,} events of {published.written_shoppers:,} shoppers in {seconds:.1f} s"
    )
    failed, asked = unreadable_histories(lake, histories, SAMPLE)
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": published.events,
            "shoppers": published.shoppers,
            "shoppers_written": published.written_shoppers,
            "events_written": published.written_events,
            "shoppers_forgotten": published.forgotten_shoppers,
        },
        check_results=[checks.histories_result(failed, asked)],
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=[serving_catalogue, popular_products, shopper_histories, registered_model],
    kinds={"json"},
)
def storefront_data(
    lake: dg.ResourceParam[Lake], settings: dg.ResourceParam[Settings], registry: dg.ResourceParam[ModelRegistry]
) -> dg.MaterializeResult[None]:
    """Data of the shop page: products to browse, most popular first, and example shoppers."""
    storefront = storefront_of(lake, _trained_before(registry))
    catalogue, shoppers = write_storefront(storefront, settings.home / "storefront")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(storefront.products),
            "catalogue": dg.MetadataValue.path(str(catalogue)),
            "shoppers": dg.MetadataValue.path(str(shoppers)),
            "bytes": catalogue.stat().st_size + shoppers.stat().st_size,
            "who": _shopper_table(storefront.shoppers),
        }
    )


def _trained_before(registry: ModelRegistry) -> int | None:
    """End of the training window of the champion, else of the newest version, in seconds since 1970 UTC."""
    newest = max(registry.list_versions(), key=lambda version: version.created_at, default=None)
    serving = registry.champion() or newest
    return None if serving is None else int(serving.data_window.end.timestamp())


def _popular_table(entries: tuple[PopularEntry, ...]) -> dg.MetadataValue[str | None]:
    rows = [
        f"| {rank} | {entry.name or entry.product_id} | {entry.category or ''} | {entry.score:.2f} |"
        for rank, entry in enumerate(entries, start=1)
    ]
    return dg.MetadataValue.md("\n".join(["| | product | category | score |", "|--:|---|---|--:|", *rows]))


def _shopper_table(shoppers: tuple[StorefrontShopper, ...]) -> dg.MetadataValue[str | None]:
    rows = [f"| {shopper.id} | {shopper.label} | {shopper.events} |" for shopper in shoppers]
    return dg.MetadataValue.md("\n".join(["| shopper | kind | events |", "|---|---|--:|", *rows]))
