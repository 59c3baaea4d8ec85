"""Checks of a registered bundle before it answers shoppers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lambda_api.errors import RecsysError
from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.versions import Version

LIST_LENGTH: Final = 10


class ReleaseRefused(RecsysError):
    """A registered bundle cannot be released; the message names the version, what failed and the remedy."""


@dataclass(frozen=True)
class Release:
    """A bundle that was fetched, verified and answered.

    Attributes:
        version, model, checksum: as registered.
        folder: the local copy that was checked.
        products: how many products it knows.
        cold_list: product ids it gives a visitor without history, best first.
    """

    version: Version
    model: str
    folder: Path
    checksum: str
    products: int
    cold_list: tuple[str, ...]


def check_release(registry: ModelRegistry, bundles: BundleStore, cache: Path, version: str | None = None) -> Release:
    """Fetch a version (by default the champion) (by way of ``cache``), verify it and ask it for two lists.

    A visitor without history must get a full list, and a shopper with one event a list without that product when it
    is excluded: the two questions every shop asks on its first day.

    Raises:
        ReleaseRefused: there is no champion yet, or an answer is short, repeats a product or breaks an exclusion.
        UnknownVersion: ``version`` is not registered.
        BundleError: the stored bundle is missing, damaged or not the registered one.
    """
    registered = registry.get(Version.parse(version)) if version else registry.champion()
    if registered is None:
        raise ReleaseRefused("no model was promoted yet, so there is nothing to release; materialise registered_model")
    fetched = bundles.fetch(registered, cache)
    recommender = read_bundle(fetched, verify=False).recommender
    wanted = min(LIST_LENGTH, len(recommender.products))
    now = int(registered.data_window.end.timestamp())
    stranger = recommender.recommend(_history(recommender.products, None, now), wanted).products[0]
    _require_full(stranger, f"{registered.version} answers a visitor without history")
    best = int(stranger[0])
    shopper = _history(recommender.products, best, now)
    answer = recommender.recommend(shopper, max(1, wanted - 1), exclude=shopper.distinct_products()).products[0]
    if wanted > 1:
        _require_full(answer, f"{registered.version} answers a shopper with one event")
    if best in answer:
        raise ReleaseRefused(f"{registered.version} recommends a product that was excluded; do not release it")
    return Release(
        version=registered.version,
        model=registered.model,
        folder=fetched,
        checksum=registered.bundle_checksum,
        products=len(recommender.products),
        cold_list=tuple(recommender.products.external(stranger)),
    )


def _history(products: IdMap, product: int | None, now: int) -> Histories:
    events = np.array([] if product is None else [product], dtype=np.int32)
    return Histories(
        user_ids=("",),
        indptr=np.array([0, len(events)], dtype=np.int64),
        products=events,
        types=np.zeros(len(events), dtype=np.int8),
        timestamps=np.full(len(events), now, dtype=np.int64),
        now=now,
    )


def _require_full(products: np.ndarray, what: str) -> None:
    if (products < 0).any() or len(set(products.tolist())) < len(products):
        raise ReleaseRefused(f"{what} with a short or repeating list; do not release it, and look at its training run")
