"""The shop page's data: products to browse and a few example shoppers, as two JSON files.

Published of a shopper: only the id and the names of the last products.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.atomic_files import write_text
from lambda_api.recommender.csr import offsets
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from recsys_assets.data_gate import require_open
from recsys_assets.features.engine import end_of_log
from recsys_assets.known_catalogue import shop_catalogue
from recsys_assets.lake import Lake
from recsys_assets.models.dataset import TrainingData
from recsys_assets.publishing.popular import by_popularity, is_available, recent_data, recent_popularity
from recsys_assets.training.training_window import TRAINING_COLUMNS

CATALOGUE_JSON: Final = "catalogue.json"
SHOPPERS_JSON: Final = "shoppers.json"

SHOWN: Final = ("rating", "num_reviews", "image_url")
"""Columns of products that only the page uses."""

MAX_PRODUCTS: Final = 5_000
"""Maximum for the page (about 700 kB); a larger shop's other products are reached through recommendations."""

MAX_ADDRESS: Final = 2_000
"""Longest address of an image, in characters."""

SHOPPERS: Final = 24
LAST_PRODUCTS: Final = 3

LIGHT_EVENTS: Final = (2, 6)
"""Minimum and maximum number of events of a light shopper."""

SETTLED_EVENTS: Final = 8
"""Minimum number of events of a shopper called recent or of one interest."""

RETURN_DAYS: Final = 14
"""Minimum pause, in days, of a returning shopper."""


@dataclass(frozen=True)
class StorefrontProduct:
    """A product as the page shows it; the name falls back to the id. Without ``image`` the page draws a picture."""

    id: str
    name: str
    category: str | None
    brand: str | None
    price: float | None
    available: bool
    rating: float | None = None
    reviews: int | None = None
    image: str | None = None


@dataclass(frozen=True)
class StorefrontShopper:
    """An example shopper. ``label`` says what kind; ``last_products`` are names, newest first."""

    id: str
    label: str
    events: int
    last_products: tuple[str, ...]


@dataclass(frozen=True)
class Storefront:
    """Both files. ``categories`` in order of popularity."""

    products: tuple[StorefrontProduct, ...]
    categories: tuple[str, ...]
    shoppers: tuple[StorefrontShopper, ...]


def whole_log(lake: Lake) -> TrainingData:
    """Every validated interaction with the whole catalogue. Raises as `recent_data` does."""
    require_open(lake)
    return TrainingData.from_tables(lake.read("interactions", TRAINING_COLUMNS), shop_catalogue(lake), end_of_log(lake))


def make_storefront(log: TrainingData, recent: TrainingData, trained_before: int) -> Storefront:
    """Products by recent popularity (those without sales by id), and shoppers that are in the training data.

    Args:
        log: everything.
        recent: the window that popularity is counted on (`recsys_assets.publishing.popular.recent_data`).
        trained_before: seconds since 1970 UTC where the training window of the serving model ends.
    """
    scores = np.zeros(len(log.products), dtype=np.float32)
    places = log.products.indices(recent.products.external(np.arange(len(recent.products))))
    scores[places[places >= 0]] = recent_popularity(recent)[places >= 0]
    products = _products(log, by_popularity(scores)[:MAX_PRODUCTS])
    return Storefront(products, _categories(log, scores, products), choose_shoppers(log, trained_before))


def storefront_of(lake: Lake, trained_before: int | None) -> Storefront:
    """The storefront of a lake; ``trained_before`` as in `make_storefront`, ``None`` without a model."""
    log = whole_log(lake)
    recent = recent_data(lake, end_of_log(lake))
    return make_storefront(log, recent, log.as_of if trained_before is None else trained_before)


def write_storefront(storefront: Storefront, folder: Path) -> tuple[Path, Path]:
    """Write both files into ``folder``, each replaced in one step; returns catalogue and shoppers."""
    catalogue = {
        "products": [asdict(product) for product in storefront.products],
        "categories": list(storefront.categories),
    }
    shoppers = {"shoppers": [asdict(shopper) for shopper in storefront.shoppers]}
    return _write(folder / CATALOGUE_JSON, catalogue), _write(folder / SHOPPERS_JSON, shoppers)


def image_address(text: str | None) -> str | None:
    """The first address of a list separated by commas; ``None`` unless it is an ``https`` one, as the page needs."""
    first = (text or "").split(",")[0].strip()
    return first if first.startswith("https://") and len(first) <= MAX_ADDRESS else None


def choose_shoppers(log: TrainingData, trained_before: int, count: int = SHOPPERS) -> tuple[StorefrontShopper, ...]:
    """``count`` different shoppers (or all there are), the kinds taking turns; the same log gives the same shoppers.

    Kinds, and who is first among them: *light* (newest last event among those with few; first of all, because one click
    changes their list visibly); *busy* (most events); *one category* (largest share of events in one); *recent* (newest
    last event); *returning* (longest pause before coming back). Where too few shoppers are of any kind, the busiest of
    the others fill up.
    """
    statistics = _shopper_statistics(log)
    known = statistics.first < trained_before
    few, most = LIGHT_EVENTS
    settled = statistics.events >= SETTLED_EVENTS
    kinds: tuple[tuple[Callable[[int], str], NDArray[np.bool_], NDArray[Any]], ...] = (
        (lambda user: "Light", known & (statistics.events >= few) & (statistics.events <= most), statistics.last),
        (lambda user: "Busy", known, statistics.events),
        (lambda user: "One interest", known & settled & (statistics.category >= 0), statistics.category_share),
        (lambda user: "Recent", known & settled, statistics.last),
        (
            lambda user: f"Back after {int(statistics.pause[user])} days",
            known & (statistics.pause >= RETURN_DAYS),
            statistics.pause,
        ),
    )
    queues = []
    for label, members, figure in kinds:
        # Ties stay in index order, which is the order of the ids' SHA-256: arbitrary and stable.
        ranked = np.argsort(-figure.astype(np.float64), kind="stable")
        queues.append((label, iter(ranked[members[ranked]].tolist())))
    busiest = np.argsort(-statistics.events, kind="stable")
    queues_then = [*queues, ((lambda user: "Shopper"), iter(busiest[known[busiest]].tolist()))]
    chosen: dict[int, str] = {}
    _take_turns(queues, chosen, count)
    _take_turns(queues_then, chosen, count)
    return tuple(_shopper(log, statistics, user, label) for user, label in chosen.items())


@dataclass(frozen=True)
class _ShopperStatistics:
    """Per shopper ``[n_users]``. ``category`` is the largest one's code (-1: none known), ``pause`` in days."""

    events: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    pause: NDArray[np.float64]
    category: NDArray[np.int64]
    category_share: NDArray[np.float64]
    category_names: tuple[str, ...]
    start: NDArray[np.int64]


def _shopper_statistics(log: TrainingData) -> _ShopperStatistics:
    users = len(log.users)
    events = np.bincount(log.user, minlength=users)
    start = offsets(events)[:-1]
    # Every shopper of the id map has an event, so every slice holds one; events are ordered by shopper and time.
    pauses = np.diff(log.timestamp, prepend=log.timestamp[:1]).astype(np.float64) / SECONDS_PER_DAY
    pauses[start] = 0.0
    encoded = log.catalogue["category"].combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)[log.product]
    names = tuple(encoded.dictionary.to_pylist())
    largest, share = np.full(users, -1), np.zeros(users)
    if names:
        pairs, counts = np.unique(
            log.user[codes >= 0].astype(np.int64) * len(names) + codes[codes >= 0], return_counts=True
        )
        # Ascending by count: the last write per shopper is the largest category.
        ascending = np.argsort(counts, kind="stable")
        owner = pairs[ascending] // len(names)
        largest[owner] = pairs[ascending] % len(names)
        share[owner] = counts[ascending] / events[owner]
    return _ShopperStatistics(
        events=events,
        first=log.timestamp[start],
        last=log.timestamp[start + events - 1],
        pause=np.maximum.reduceat(pauses, start) if users else pauses,
        category=largest,
        category_share=share,
        category_names=names,
        start=start,
    )


def _take_turns(queues: Sequence[tuple[Callable[[int], str], Any]], chosen: dict[int, str], count: int) -> None:
    waiting = list(queues)
    while waiting and len(chosen) < count:
        for queue in list(waiting):
            label, members = queue
            user = next((user for user in members if user not in chosen), None)
            if user is None:
                waiting.remove(queue)
            elif len(chosen) < count:
                chosen[user] = label(user)


def _shopper(log: TrainingData, statistics: _ShopperStatistics, user: int, label: str) -> StorefrontShopper:
    start, count = int(statistics.start[user]), int(statistics.events[user])
    newest_first = log.product[start : start + count][::-1].tolist()
    last = list(dict.fromkeys(newest_first))[:LAST_PRODUCTS]
    category = int(statistics.category[user])
    interest = f", mostly {statistics.category_names[category]}" if category >= 0 else ""
    return StorefrontShopper(
        id=log.users.external([user])[0],
        label=label + interest,
        events=count,
        last_products=tuple(product.name for product in _products(log, np.array(last, dtype=np.int64))),
    )


def _products(log: TrainingData, indices: NDArray[np.int64]) -> tuple[StorefrontProduct, ...]:
    chosen = log.catalogue.select(("product_id", "name", "category", "brand", "price", *SHOWN)).take(pa.array(indices))
    available = is_available(log.catalogue)[indices].tolist()
    return tuple(
        StorefrontProduct(
            id=row["product_id"],
            name=row["name"] or row["product_id"],
            category=row["category"],
            brand=row["brand"],
            price=row["price"],
            available=is_there,
            rating=row["rating"],
            reviews=row["num_reviews"],
            image=image_address(row["image_url"]),
        )
        for row, is_there in zip(chosen.to_pylist(), available, strict=True)
    )


def _categories(
    log: TrainingData, scores: NDArray[np.float32], products: Sequence[StorefrontProduct]
) -> tuple[str, ...]:
    places = log.products.indices([product.id for product in products])
    totals: dict[str, float] = {}
    for product, score in zip(products, scores[places].tolist(), strict=True):
        if product.category:
            totals[product.category] = totals.get(product.category, 0.0) + score
    return tuple(sorted(totals, key=lambda category: (-totals[category], category)))


def _write(path: Path, content: object) -> Path:
    return write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
