"""What happens to the raw rows of some formats before their columns are mapped (`PREPARE`)."""

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import parse_booleans, read_text
from recsys_assets.ingest.derived import first_of_each
from recsys_assets.ingest.rows import fill_from_first_line, lookup
from recsys_assets.schema import with_column

GENRES: Final = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""Order of the 19 genre flags in the 100K release's ``u.item``."""


def parse_price(value: object) -> float | None:
    """A price from a number, "$1,299.00" or a range (its low end); ``None`` for anything else."""
    match = _AMOUNT.match(value.strip()) if isinstance(value, str) else None
    return float(match[1].replace(",", "")) if match else None


def parse_category(item: Mapping[str, Any]) -> str | None:
    """Second level of the item's category path, else its first, else its main category."""
    path: Any = next((item[name] for name in ("categories", "category") if item.get(name)), [])
    if isinstance(path, str) and path.startswith("["):
        path = json.loads(path)
    if isinstance(path, list) and path and isinstance(path[0], list):
        path = path[0]
    levels = [_clean(level) for level in (path if isinstance(path, list) else [path])]
    named = [level for level in levels if level]
    if named:
        return named[1] if len(named) > 1 else named[0]
    return _clean(next((item[name] for name in ("main_category", "main_cat") if item.get(name)), None))


_AMOUNT = re.compile(r"^\$?\s*(\d[\d,]*(?:\.\d+)?)(?:\s*-\s*\$?\s*[\d,.]+)?$")


def _clean(value: object) -> str | None:
    return (" ".join(html.unescape(value).split()) or None) if isinstance(value, str) else None


def _upper_codes(raw: pa.Table) -> pa.Table:
    """Online Retail writes one product both as 85123A and as 85123a."""
    return with_column(raw, "StockCode", pc.utf8_upper(raw["StockCode"])) if "StockCode" in raw.column_names else raw


def _amazon_products(raw: pa.Table) -> pa.Table:
    """Category, list price and readable title of Amazon metadata; of lines for one product the first counts."""
    items = raw.select([name for name in _AMAZON_FIELDS if name in raw.column_names]).to_pylist()
    for name in ("title", "brand", "store"):
        if name in raw.column_names:
            raw = with_column(raw, name, pa.array([_clean(item.get(name)) for item in items], pa.string()))
    prices = pa.array([parse_price(item.get("price")) for item in items], pa.float64())
    raw = raw.append_column("category_path", pa.array([parse_category(item) for item in items], pa.string()))
    return _first_lines(raw.append_column("list_price", prices), "parent_asin", "asin")


_AMAZON_FIELDS = ("categories", "category", "main_category", "main_cat", "price", "title", "brand", "store")


def _first_lines(raw: pa.Table, *keys: str) -> pa.Table:
    """The first row of each id; rows without an id are dropped."""
    key = lookup(raw, keys)
    if key is None:
        return raw
    found = raw.append_column("first_line_key", key).filter(pc.is_valid(key))
    return first_of_each(found, "first_line_key").drop_columns(["first_line_key"])


def _shopify_products(raw: pa.Table) -> pa.Table:
    """One row per variant: the lines with further images have no price."""
    price = lookup(raw, ("Variant Price",))
    filled = fill_from_first_line(raw, "Handle")
    if price is None:
        return filled
    return _first_lines(filled.filter(pc.is_valid(read_text(price))), "Variant SKU", "Handle")


def _woocommerce_products(raw: pa.Table) -> pa.Table:
    return _with_first_category(raw, "Categories", ",", ">")


def _magento_products(raw: pa.Table) -> pa.Table:
    """One row per sku (store views repeat it); "Default Category/Gear/Bags,..." is the category Gear."""
    return _with_first_category(_first_lines(raw, "sku"), "categories", ",", "/")


def _with_first_category(raw: pa.Table, name: str, separator: str, level: str) -> pa.Table:
    column = lookup(raw, (name,))
    if column is None:
        return raw
    actual = next(found for found in raw.column_names if raw[found] is column or found.lower() == name.lower())
    paths = [[part.strip() for part in (text or "").split(separator)[0].split(level)] for text in column.to_pylist()]
    roots = ("Default Category", "Root Catalog")
    named = [next((part for part in path if part and part not in roots), None) for path in paths]
    return with_column(raw, actual, pa.array(named, pa.string()))


def _gorse_items(raw: pa.Table) -> pa.Table:
    """``is_hidden`` is the opposite of available; categories are a JSON list or ``a|b``."""
    hidden = next(name for name in raw.column_names if name.lower().replace("_", "") == "ishidden")
    raw = with_column(raw, hidden, pc.invert(parse_booleans(raw[hidden])))
    for name in raw.column_names:
        if name.lower() in ("categories", "labels"):
            texts = pc.replace_substring_regex(read_text(raw[name]), r"[\[\]\"{}]", "")
            first = pc.list_element(pc.split_pattern_regex(pc.fill_null(texts, ""), r"[|,;]"), 0)
            raw = with_column(raw, name, first)
    return raw


def _movielens_products(raw: pa.Table) -> pa.Table:
    """The first genre that is named (1M, CSV) or flagged (100K); none for "unknown"."""
    if "genres" in raw.column_names:
        genre = pc.list_element(pc.split_pattern(raw["genres"], "|"), 0)
    else:
        genre = pa.chunked_array([pa.nulls(raw.num_rows, pa.string())])
        for name in reversed(GENRES):
            genre = pc.if_else(pc.fill_null(pc.equal(raw[name], "1"), False), name, genre)
    genre = pc.if_else(pc.is_in(genre, pa.array(("unknown", "(no genres listed)"))), None, genre)
    return raw.append_column("first_genre", genre)


PREPARE: Final[Mapping[tuple[str, str], Callable[[pa.Table], pa.Table]]] = {
    ("online_retail", "interactions"): _upper_codes,
    ("amazon_reviews", "products"): _amazon_products,
    ("movielens", "products"): _movielens_products,
    ("shopify", "products"): _shopify_products,
    ("woocommerce", "products"): _woocommerce_products,
    ("magento", "products"): _magento_products,
    ("gorse", "products"): _gorse_items,
}
"""(preset, table) -> what happens to the raw rows of a file before its columns are mapped."""
