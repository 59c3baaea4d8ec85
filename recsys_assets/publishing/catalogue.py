"""Builds and checks the serving catalogue from the shop's products and the first event of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.catalogue import Catalogue
from recsys_assets.data_gate import require_open
from recsys_assets.known_catalogue import catalogue_of, first_events, interaction_batches, shop_catalogue
from recsys_assets.lake import Lake
from recsys_assets.publishing.companions import companions_of

TOLERATED_UNKNOWN: Final = 0.05
"""Maximum share of the live bundle's products that the catalogue may lack."""

SHOWN: Final = 5


def build_catalogue(lake: Lake) -> Catalogue:
    """Every product that is listed or was ever touched, and what is bought together.

    A product that only occurs in interactions was delisted (the quality gate rejects events of products that were
    never listed): it keeps id and first event, and is not available.

    Raises:
        GateClosed: a delivery may not be used.
        LakeError: there is no products table.
        CatalogueError: a value no catalogue can hold.
    """
    require_open(lake)
    catalogue = catalogue_of(shop_catalogue(lake), first_events(interaction_batches(lake, ("product_id", "timestamp"))))
    if not lake.days("interactions"):
        return catalogue
    return catalogue.with_companions(companions_of(lake, catalogue.products))


def products_of(bundle: Path | None) -> list[str]:
    """Ids of the products that a verified bundle knows; none without a bundle."""
    if bundle is None:
        return []
    known = read_bundle(bundle, verify=False).recommender.products
    return known.external(np.arange(len(known)))


@dataclass(frozen=True)
class CatalogueCheck:
    """Whether a catalogue may go live: ``problem`` says why not, ``warning`` is for information."""

    problem: str | None
    warning: str | None
    unknown: int


def check_catalogue(catalogue: Catalogue, live_products: Sequence[str]) -> CatalogueCheck:
    """Refuse a catalogue without an available product, or one that lacks many of the live bundle's products.

    Products of the bundle that the catalogue lacks are never recommended. A few (delisted since the training, without
    any event) are a warning.

    Args:
        catalogue: about to be published.
        live_products: product ids of the bundle that serves; empty when there is none.
    """
    places = catalogue.products.indices(live_products).tolist()
    unknown = [product for product, place in zip(live_products, places, strict=True) if place < 0]
    examples = ", ".join(unknown[:SHOWN])
    if not catalogue.available.any():
        problem = f"none of its {len(catalogue)} products is available; look at the asset products"
        return CatalogueCheck(problem, None, len(unknown))
    if len(unknown) > TOLERATED_UNKNOWN * len(live_products):
        problem = (
            f"it lacks {len(unknown)} of the {len(live_products)} products the live model knows (such as {examples}), "
            "which would never be recommended; deliver the whole catalogue, or retrain on this one first"
        )
        return CatalogueCheck(problem, None, len(unknown))
    warning = (
        f"the live model knows {len(unknown)} products that are not listed any more: {examples}" if unknown else None
    )
    return CatalogueCheck(None, warning, len(unknown))
