"""A home that is ready to serve, made in seconds without training: for benchmarks and fault tests.

It holds what a server reads: a bundle, its catalogue, popular products, histories, the routing record and an API key.
``python -m tests.serving_home FOLDER`` makes one to look at.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.bundle import BundleInfo, write_bundle
from lambda_api.recommender.catalogue import Catalogue
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.factors import FactorRecommender, longest_first
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import EventWeighting
from lambda_api.settings import Settings, make_settings
from lambda_api.state import api_keys
from lambda_api.state.history import HistoryStore, StoredEvent
from lambda_api.state.open_table import open_table
from lambda_api.state.popular import PopularEntry, PopularProducts
from lambda_api.state.routing_record import RouteTarget, RoutingRecord, Variant, write_routing
from recsys_assets.publishing.catalogue_store import publish_catalogue

Kind = Literal["item_to_item", "factors"]

WEIGHTING = EventWeighting((1.0, 2.0, 4.0, 4.0), half_life_days=30.0)
FACTORS = 64
NEIGHBOURS = 50
CATEGORIES = 40
BRANDS = 300
DAY = 86_400
WORDS = ("Red", "Retro", "Spotted", "Tin", "Paper", "Glass", "Wooden", "Small", "Vintage", "Blue", "Heart", "Garden")
THINGS = ("Bag", "Lantern", "Mug", "Clock", "Cushion", "Bowl", "Frame", "Candle", "Box", "Sign", "Hook", "Doll")


@dataclass(frozen=True)
class ServedHome:
    """What was made.

    Attributes:
        settings: of the home; a server finds it by ``RECSYS_HOME``.
        key: an API key with every scope.
        target: what the routing record points at.
        shoppers: ids with a history.
        product_ids: of every product, most popular first.
    """

    settings: Settings
    key: str
    target: RouteTarget
    shoppers: tuple[str, ...]
    product_ids: tuple[str, ...]


@dataclass(frozen=True)
class Shelf:
    """Products before they have a model. ``topic`` int64 ``[n]``, ``popularity`` float32 ``[n]``, in ``ids`` order."""

    ids: IdMap
    topic: NDArray[np.int64]
    popularity: NDArray[np.float32]


def make_home(
    folder: Path,
    products: int = 2_000,
    shoppers: int = 100,
    events: int = 50,
    kind: Kind = "item_to_item",
    seed: int = 0,
    version: str = "v1.0.0",
) -> ServedHome:
    """Fill ``folder`` (made if need be, otherwise empty) and say what is in it.

    Args:
        folder: the home.
        products: in the catalogue and the model.
        shoppers: with a history of ``events`` events each, the newest a fifth written one by one, the rest seeded.
        kind: of the recommender.
        seed: of everything random.
        version: of the champion.
    """
    settings = make_settings({"home": folder})
    settings.home.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    shelf = make_shelf(products, generator)
    target = write_version(settings, make_recommender(shelf, kind, seed), version)
    serving = open_table(settings, "serving")
    now = int(time.time())
    catalogue = make_catalogue(shelf, now, generator)
    publish_catalogue(catalogue, settings.catalogue_uri, serving, now)
    order = np.argsort(-shelf.popularity, kind="stable")
    publish_popular(PopularProducts(serving), catalogue, shelf, order, now)
    names = tuple(f"user_{number}" for number in range(shoppers))
    seed_histories(HistoryStore(open_table(settings, "history")), shelf, names, events, now, generator)
    variants = (Variant("champion", target, 10_000),)
    write_routing(serving, RoutingRecord("none", "none", variants, None, revision=1, updated_at=now), None)
    key = api_keys.create(open_table(settings, "api_keys"), "benchmark", frozenset({"shop", "operations"}))
    return ServedHome(settings, key, target, names, tuple(shelf.ids.external(order[:10_000])))


def make_shelf(count: int, generator: np.random.Generator) -> Shelf:
    """Products in topics of unequal size, with unequal popularity."""
    topics = max(4, count // 300)
    chance = 1 / np.arange(1, topics + 1) ** 0.6
    return Shelf(
        IdMap.from_ids(f"product-{number:07d}" for number in range(count)),
        generator.choice(topics, size=count, p=chance / chance.sum()),
        generator.lognormal(0.0, 1.2, size=count).astype(np.float32),
    )


def make_vectors(shelf: Shelf, width: int = FACTORS, seed: int = 0) -> NDArray[np.float32]:
    """Vectors such as matrix factorisation finds: directions by topic, lengths by popularity.

    Returns float32 ``[n, width]``.
    """
    generator = np.random.default_rng(seed)
    topics = int(shelf.topic.max()) + 1
    parents = generator.normal(size=(20, width))
    centres = 0.7 * parents[generator.integers(20, size=topics)] + 0.7 * generator.normal(size=(topics, width))
    vectors = centres[shelf.topic].astype(np.float32)
    vectors += 0.6 * generator.standard_normal(size=vectors.shape, dtype=np.float32)
    return vectors * (np.minimum(shelf.popularity, 8.0) * 0.05 / np.sqrt(width)).astype(np.float32)[:, None]


def make_recommender(shelf: Shelf, kind: Kind, seed: int = 0) -> Recommender:
    """A model of that kind over the shelf."""
    if kind == "factors":
        vectors = make_vectors(shelf, seed=seed)
        exact = vectors.astype(np.float64)
        rows, order, lengths = longest_first(vectors)
        gramian = exact.T @ exact
        return FactorRecommender(
            shelf.ids, shelf.popularity, rows, gramian, WEIGHTING, 3.0, 2.0, order=order, lengths=lengths
        )
    return ItemToItemRecommender(shelf.ids, shelf.popularity, topic_neighbours(shelf), WEIGHTING)


def topic_neighbours(shelf: Shelf) -> SparseWeights:
    """Every product's next ones in its topic, the nearer the heavier."""
    count = len(shelf.topic)
    order = np.argsort(shelf.topic, kind="stable")
    sizes = np.bincount(shelf.topic)
    starts = np.cumsum(sizes) - sizes
    width = min(NEIGHBOURS, int(sizes[sizes > 0].min()) - 1)
    within = np.empty(count, dtype=np.int64)
    within[order] = np.arange(count) - starts[shelf.topic[order]]
    steps = np.arange(1, width + 1)
    places = starts[shelf.topic][:, None] + (within[:, None] + steps) % sizes[shelf.topic][:, None]
    columns = order[places]
    weights = np.broadcast_to(1.0 / (1.0 + steps), columns.shape) * np.sqrt(shelf.popularity)[columns]
    ascending = np.argsort(columns, axis=1)
    return SparseWeights(
        np.arange(count + 1, dtype=np.int64) * width,
        np.take_along_axis(columns, ascending, axis=1).ravel().astype(np.int32),
        np.take_along_axis(weights, ascending, axis=1).ravel().astype(np.float32),
    )


def write_version(settings: Settings, recommender: Recommender, version: str) -> RouteTarget:
    """Write a bundle under the models of the home, and say how a routing record names it."""
    folder = Path(settings.models_uri) / version
    manifest = write_bundle(recommender, folder, BundleInfo(name="shop", version=version))
    return RouteTarget(version, str(folder), manifest.checksum)


def make_catalogue(shelf: Shelf, now: int, generator: np.random.Generator) -> Catalogue:
    """Names, a category per topic, brands, prices; three in a hundred are sold out."""
    count = len(shelf.ids)
    ids = shelf.ids.external(np.arange(count))
    words = generator.integers(len(WORDS), size=(count, 2)).tolist()
    things = generator.integers(len(THINGS), size=count).tolist()
    return Catalogue.from_columns(
        product_ids=ids,
        names=[f"{WORDS[a]} {WORDS[b]} {THINGS[c]} {i[-4:]}" for (a, b), c, i in zip(words, things, ids, strict=True)],
        categories=[f"Category {topic % CATEGORIES}" for topic in shelf.topic.tolist()],
        brands=[f"Brand {brand}" for brand in generator.integers(BRANDS, size=count).tolist()],
        prices=np.round(generator.lognormal(2.0, 0.8, size=count), 2).tolist(),
        available=(generator.random(count) > 0.03).tolist(),
        first_seen=(now - generator.integers(1, 900 * DAY, size=count)).tolist(),
    )


def publish_popular(
    popular: PopularProducts, catalogue: Catalogue, shelf: Shelf, order: NDArray[np.int64], now: int
) -> None:
    """The 200 most popular overall and 50 of every category."""
    categories: dict[str, list[PopularEntry]] = {}
    overall: list[PopularEntry] = []
    # The catalogue holds the same ids in the same (SHA-256) order.
    for place in order[:20_000].tolist():
        card = catalogue.card_at(place)
        score = float(shelf.popularity[place])
        entry = PopularEntry(card.product_id, score, card.name, card.category, card.brand, card.price, card.available)
        if not card.available or card.category is None:
            continue
        if len(overall) < 200:
            overall.append(entry)
        if len(categories.setdefault(card.category, [])) < 50:
            categories[card.category].append(entry)
    popular.publish(overall, categories, now)


def seed_histories(
    store: HistoryStore,
    shelf: Shelf,
    shoppers: tuple[str, ...],
    events: int,
    now: int,
    generator: np.random.Generator,
) -> None:
    """Each shopper favours three topics; products by popularity, kinds as in a shop: mostly views."""
    topics = int(shelf.topic.max()) + 1
    by_topic = [np.flatnonzero(shelf.topic == topic) for topic in range(topics)] if topics < 2_000 else []
    seeded: dict[str, list[StoredEvent]] = {}
    for number, shopper in enumerate(shoppers):
        if by_topic:
            pool = np.concatenate([by_topic[topic] for topic in generator.integers(topics, size=3)])
        else:
            pool = np.flatnonzero(np.isin(shelf.topic, generator.integers(topics, size=3)))
        chosen = generator.choice(pool, size=events)
        kinds = generator.choice([0, 0, 0, 0, 0, 0, 1, 1, 2], size=events)
        ages = np.sort(generator.integers(60, 60 * DAY, size=events))[::-1]
        made = [
            StoredEvent(
                event_id=f"{shopper}-{place}",
                user_id=shopper,
                product_id=product_id,
                interaction_type=InteractionType(int(kind)),
                timestamp=now - int(age),
            )
            for place, (product_id, kind, age) in enumerate(zip(shelf.ids.external(chosen), kinds, ages, strict=True))
        ]
        live = events // 5 if number < 50 else 0
        seeded[shopper] = made[: events - live]
        if live:
            store.record(made[events - live :])
    store.seed_many(seeded)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.serving_home", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--shoppers", type=int, default=100)
    parser.add_argument("--kind", choices=["item_to_item", "factors"], default="item_to_item")
    given = parser.parse_args()
    home = make_home(given.folder, given.products, given.shoppers, kind=given.kind)
    print(f"RECSYS_HOME={home.settings.home}\nX-API-Key: {home.key}")
