"""Asset checks of this stage: specifications and results."""

from typing import Final

import dagster as dg

from recsys_assets.publishing.catalogue import CatalogueCheck

LIVE_PRODUCTS_KNOWN: Final = "live_products_known"
POPULAR_NOT_EMPTY: Final = "popular_not_empty"
HISTORIES_READABLE: Final = "histories_readable"

CATALOGUE_SPEC: Final = dg.AssetCheckSpec(
    LIVE_PRODUCTS_KNOWN,
    asset="serving_catalogue",
    blocking=True,
    description="Something is available, and the products of the live model are in the catalogue. Checked before the "
    "pointer moves: a refused catalogue never goes live.",
)
POPULAR_SPEC: Final = dg.AssetCheckSpec(
    POPULAR_NOT_EMPTY,
    asset="popular_products",
    blocking=True,
    description="There is a popular product to show when everything else fails. Checked before the lists are replaced.",
)
HISTORIES_SPEC: Final = dg.AssetCheckSpec(
    HISTORIES_READABLE,
    asset="shopper_histories",
    blocking=True,
    description="A sample of shoppers of the newest day is in the store that serving reads.",
)


def catalogue_result(verdict: CatalogueCheck, products: int, available: int) -> dg.AssetCheckResult:
    """A refusal is an error; delisted products of the live model are a warning."""
    passed = verdict.problem is None and verdict.warning is None
    return dg.AssetCheckResult(
        passed=passed,
        check_name=LIVE_PRODUCTS_KNOWN,
        asset_key="serving_catalogue",
        severity=dg.AssetCheckSeverity.ERROR if verdict.problem else dg.AssetCheckSeverity.WARN,
        description=verdict.problem or verdict.warning or "every product of the live model is in the catalogue",
        metadata={"products": products, "available": available, "unknown_live_products": verdict.unknown},
    )


def popular_result(overall: int, categories: int) -> dg.AssetCheckResult:
    """Whether the lists hold a product."""
    return dg.AssetCheckResult(
        passed=overall > 0,
        check_name=POPULAR_NOT_EMPTY,
        asset_key="popular_products",
        description=f"{overall} popular products, {categories} categories with one",
        metadata={"overall": overall, "categories": categories},
    )


def histories_result(failed: list[str], asked: int) -> dg.AssetCheckResult:
    """Whether the store returns what was written."""
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=HISTORIES_READABLE,
        asset_key="shopper_histories",
        description=f"{len(failed)} of {asked} shoppers asked for are not known with their newest event"
        + (f", such as {failed[0]}; materialise shopper_histories with everything: true" if failed else ""),
        metadata={"asked": asked, "failed": len(failed)},
    )
