"""The hidden catalogue: categories, brands, and every product that the shop will ever sell."""

from dataclasses import dataclass, fields, replace

import numpy as np

from lambda_api.recommender.csr import offsets
from recsys_assets.ingest.synthetic import words
from recsys_assets.ingest.synthetic.config import DriftKind, SyntheticShopConfig
from recsys_assets.ingest.synthetic.streams import BoolArray, FloatArray, IntArray, Stream, generator

STYLE_DIMENSIONS = len(words.STYLES)
INTEREST_DIMENSIONS = 6
BRAND_DIMENSIONS = 4
_NOUNS = 4
_SHORTEST_LIFE_DAYS = 20
_LONGEST_GAP_DAYS = 5


@dataclass(frozen=True)
class Categories:
    """``Z`` categories.

    Attributes:
        interest: ``[Z, INTEREST_DIMENSIONS]``; a shopper's interest is the inner product with theirs.
        popularity: ``[Z]`` logits shared by all shoppers.
        log_price: ``[Z]`` log of the usual price.
        season_amplitude, season_peak: ``[Z]`` logits and day of the year of the category's own season.
        consumable: ``[Z]`` whether its products are used up and bought again.
        noun_style: ``[Z, 4, STYLE_DIMENSIONS]`` mean style of each kind of product.
        first_slot: ``[Z + 1]``; category ``z`` owns shelf places ``first_slot[z]:first_slot[z + 1]``.
    """

    interest: FloatArray
    popularity: FloatArray
    log_price: FloatArray
    season_amplitude: FloatArray
    season_peak: FloatArray
    consumable: BoolArray
    noun_style: FloatArray
    first_slot: IntArray

    def __len__(self) -> int:
        return len(self.popularity)

    def slots(self, category: int) -> slice:
        """Places of one category on the shelf."""
        return slice(int(self.first_slot[category]), int(self.first_slot[category + 1]))


@dataclass(frozen=True)
class Brands:
    """Brands: position in brand space ``[n, BRAND_DIMENSIONS]``, mean style, price tier (log), share of products."""

    position: FloatArray
    style: FloatArray
    tier: FloatArray
    share: FloatArray

    def __len__(self) -> int:
        return len(self.tier)


@dataclass(frozen=True)
class Products:
    """``P`` products in order of ``number``, which does not depend on the number of days of the shop.

    Attributes:
        number: identity, see `product_id`.
        slot: shelf place; ``category`` follows from it.
        brand, noun: indices.
        style: ``[P, STYLE_DIMENSIONS]``.
        log_price: log of the price at launch relative to the category's usual price.
        appeal: logits shared by all shoppers.
        launch, retire: day ordinals; on sale on days ``launch <= day < retire``.
    """

    number: IntArray
    slot: IntArray
    category: IntArray
    brand: IntArray
    noun: IntArray
    style: FloatArray
    log_price: FloatArray
    appeal: FloatArray
    launch: IntArray
    retire: IntArray

    def __len__(self) -> int:
        return len(self.number)

    def take(self, chosen: BoolArray | IntArray) -> "Products":
        """The chosen rows."""
        return Products(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def build_categories(config: SyntheticShopConfig) -> Categories:
    """Draw the categories and divide the shelf among them by popularity."""
    rng = generator(config.seed, Stream.CATEGORIES)
    count = config.n_categories
    all_words = [words.category_words(index) for index in range(count)]
    popularity = 0.5 * rng.standard_normal(count)
    share = np.exp(popularity)
    slot_rng = generator(config.seed, Stream.SLOTS)
    extra = slot_rng.choice(count, size=config.n_products - count, p=share / share.sum())
    sizes = 1 + np.bincount(extra, minlength=count)
    return Categories(
        interest=rng.standard_normal((count, INTEREST_DIMENSIONS)),
        popularity=popularity,
        log_price=np.log([word.price for word in all_words]),
        season_amplitude=rng.uniform(0.0, 0.7, count),
        season_peak=rng.uniform(0.0, 365.25, count),
        consumable=np.array([word.consumable for word in all_words]),
        noun_style=rng.standard_normal((count, _NOUNS, STYLE_DIMENSIONS)),
        first_slot=offsets(sizes),
    )


def build_brands(config: SyntheticShopConfig) -> Brands:
    """Draw the brands; a few are large (Zipf-like shares)."""
    rng = generator(config.seed, Stream.BRANDS)
    count = config.n_brands
    share = 1.0 / (np.arange(count) + 3.0)
    return Brands(
        position=rng.standard_normal((count, BRAND_DIMENSIONS)),
        style=rng.standard_normal((count, STYLE_DIMENSIONS)),
        tier=0.35 * rng.standard_normal(count),
        share=rng.permutation(share / share.sum()),
    )


def build_products(config: SyntheticShopConfig, categories: Categories, brands: Brands) -> Products:
    """Every product launched before the shop's horizon, catalogue shifts included.

    A catalogue shift retires products on its start day and launches new ones from then on; earlier days are the same
    with and without it.
    """
    slots = np.arange(config.n_products)
    products = _chain(config, categories, brands, 0, slots, config.start.toordinal(), None)
    for index, shift in enumerate(config.drifts(DriftKind.CATALOGUE_SHIFT)):
        rng = generator(config.seed, Stream.CATALOGUE_SHIFT, index)
        cleared = rng.random(config.n_products) < shift.strength
        lean = 1.5 * rng.standard_normal(STYLE_DIMENSIONS)
        day = shift.start.toordinal()
        on_cleared = cleared[products.slot]
        products = replace(products, retire=np.where(on_cleared, np.minimum(products.retire, day), products.retire))
        products = products.take(~on_cleared | (products.launch < day))
        fresh_slots = np.flatnonzero(cleared)
        products = _concatenate([products, _chain(config, categories, brands, index + 1, fresh_slots, day, lean)])
    return products


def _chain(
    config: SyntheticShopConfig,
    categories: Categories,
    brands: Brands,
    chain: int,
    slots: IntArray,
    first_launch: int,
    lean: FloatArray | None,
) -> Products:
    """Successive products of ``slots``, generation by generation, from the day ``first_launch`` until the horizon.

    Chain 0 is the shop's own: its first generation is already for sale on the first day, at a random age.
    """
    horizon = config.horizon.toordinal()
    generations: list[Products] = []
    launch = np.full(len(slots), first_launch)
    while len(slots) and (launch < horizon).any():
        # Draws cover every place of the shelf, so a product does not depend on which others are drawn with it.
        rng = generator(config.seed, Stream.PRODUCTS, chain, len(generations))
        drawn = _draw(config, categories, brands, rng, lean).take(slots)
        life = drawn.retire
        gap = rng.integers(0, _LONGEST_GAP_DAYS + 1, config.n_products)[slots]
        age = np.floor(rng.random(config.n_products)[slots] * life).astype(np.int64)
        opening = chain == 0 and not generations
        launch = launch - age if opening else launch
        number = (chain * 1000 + len(generations)) * config.n_products + slots
        generations.append(replace(drawn, number=number, launch=launch, retire=launch + life))
        launch = launch + life + gap
    if not generations:
        return _draw(config, categories, brands, generator(config.seed, Stream.PRODUCTS), lean).take(slots[:0])
    chained = _concatenate(generations)
    return chained.take(chained.launch < horizon)


def _draw(
    config: SyntheticShopConfig,
    categories: Categories,
    brands: Brands,
    rng: np.random.Generator,
    lean: FloatArray | None,
) -> Products:
    """One product for every place of the shelf; ``retire`` holds the length of its life in days."""
    count = config.n_products
    slot = np.arange(count)
    category = np.searchsorted(categories.first_slot, slot, side="right") - 1
    brand = rng.choice(len(brands), size=count, p=brands.share)
    noun = rng.integers(0, _NOUNS, count)
    own = rng.standard_normal((count, STYLE_DIMENSIONS))
    style = 0.55 * brands.style[brand] + 0.5 * categories.noun_style[category, noun] + 0.65 * own
    if lean is not None:
        style = style + lean
    spare_life = rng.exponential(max(config.product_lifetime_days - _SHORTEST_LIFE_DAYS, 1.0), count)
    return Products(
        number=slot,
        slot=slot,
        category=category,
        brand=brand,
        noun=noun,
        style=style,
        log_price=brands.tier[brand] + 0.35 * rng.standard_normal(count),
        appeal=config.popularity_skew * rng.standard_normal(count),
        launch=np.zeros(count, dtype=np.int64),
        retire=_SHORTEST_LIFE_DAYS + np.floor(spare_life).astype(np.int64),
    )


def _concatenate(parts: list[Products]) -> Products:
    names = [field.name for field in fields(Products)]
    return Products(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def product_id(number: int) -> str:
    """The shop's id of a product."""
    return f"P{number:07d}"


def product_name(products: Products, row: int) -> str:
    """Brand, the two adjectives of the strongest style dimensions, and the kind of product."""
    style = products.style[row]
    strongest = np.argsort(-np.abs(style), kind="stable")[:2]
    # The parity of the product's number picks between synonyms.
    adjectives = [words.STYLES[dim][int(style[dim] > 0)][int(products.number[row] + dim) % 2] for dim in strongest]
    noun = words.category_words(int(products.category[row])).nouns[int(products.noun[row])]
    return " ".join([words.brand_name(int(products.brand[row])), *adjectives, noun])
