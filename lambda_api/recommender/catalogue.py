"""The catalogue that serving reads: name, category, brand, price and availability of every product.

It is published whenever the shop changes; what models learned of products is in bundles, published with a model.

Layout of the sealed folder (``sealed_folder``)::

    manifest.json                   schema version, number of products, size and SHA-256 of every other file, checksum
    products.ids.npy, .order.npy    the `IdMap`; every array below is in its order
    names.npy, names.ends.npy       all names as one run of UTF-8 bytes, and where each ends
    category.npy, brand.npy         int32 codes into categories.npy and brands.npy, -1 where unknown
    categories.npy, brands.npy      distinct labels, UTF-8, sorted
    price.npy                       float64, NaN where unknown
    available.npy                   bool
    first_seen.npy                  int64, seconds since 1970 UTC, -1 where unknown
    companions.npy                  int32, a row per product: places of what is bought together with it, -1 for none

A folder without ``companions.npy`` (written by an older version) has no companions; older code ignores the file.

Arrays are memory-mapped: opening a million products without verifying reads the manifest only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_api.errors import RecsysError
from lambda_api.product_card import ProductCard
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.sealed_folder import FolderManifest, SealedFolder, id_arrays

SCHEMA_VERSION = 1
"""Version of the layout above; a reader refuses every other."""

UNKNOWN_TIME = -1
"""``first_seen`` of a product of unknown age."""


class CatalogueError(RecsysError):
    """A folder or its columns are not a valid catalogue; the message names the file or column and the rule."""


_FOLDER = SealedFolder(
    "catalogue", CatalogueError, FolderManifest, SCHEMA_VERSION, re.compile(r"[a-z_]+(?:\.[a-z]+)?\.npy")
)


@dataclass(frozen=True)
class AlignedCatalogue:
    """Columns of a catalogue in the order of another `IdMap` of ``n`` products.

    Attributes:
        place: int32 ``[n]``, row in the catalogue, -1 for a product it does not know; such a product has codes -1, a
            NaN price, no age, and is not available.
        category, brand: int32 ``[n]``, codes into ``category_names`` and ``brand_names``.
        price: float64 ``[n]``; available: bool ``[n]``; first_seen: int64 ``[n]``.
    """

    place: IndexArray
    category: IndexArray
    brand: IndexArray
    price: NDArray[np.float64]
    available: NDArray[np.bool_]
    first_seen: NDArray[np.int64]
    category_names: tuple[str, ...]
    brand_names: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """``n`` products, every array in the order of ``products``; see the module for their meaning.

    Attributes:
        name_bytes: uint8; name_ends: int64 ``[n]``, where each name ends; an empty name is unknown.
        companions: int32 ``[n, w]``, places of the products most bought together with each, most so first, then -1.
    """

    products: IdMap
    name_bytes: NDArray[np.uint8]
    name_ends: NDArray[np.int64]
    category: IndexArray
    categories: NDArray[np.bytes_]
    brand: IndexArray
    brands: NDArray[np.bytes_]
    price: NDArray[np.float64]
    available: NDArray[np.bool_]
    first_seen: NDArray[np.int64]
    companions: IndexArray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int32))

    def __post_init__(self) -> None:
        for column in ("name_ends", "category", "brand", "price", "available", "first_seen"):
            if len(getattr(self, column)) != len(self):
                raise CatalogueError(
                    f"{column} has {len(getattr(self, column))} values for {len(self)} products; publish it again"
                )
        if self.companions.ndim != 2 or len(self.companions) not in (0, len(self)):
            raise CatalogueError(
                f"companions have the shape {self.companions.shape} for {len(self)} products; publish it again"
            )

    @classmethod
    def from_columns(
        cls,
        product_ids: Sequence[str],
        names: Sequence[str | None],
        categories: Sequence[str | None],
        brands: Sequence[str | None],
        prices: Sequence[float | None],
        available: Sequence[bool],
        first_seen: Sequence[int | None],
    ) -> "Catalogue":
        """Build from one value per product, in any order. Empty and ``None`` are unknown.

        Raises:
            CatalogueError: columns differ in length, an id is given twice or cannot be indexed, or a price is
                negative or infinite.
        """
        columns = (names, categories, brands, prices, available, first_seen)
        if any(len(column) != len(product_ids) for column in columns):
            raise CatalogueError(f"every column must have {len(product_ids)} values, one per product id")
        try:
            products = IdMap.from_ids(product_ids)
        except ValueError as error:
            raise CatalogueError(str(error)) from error
        if len(products) != len(product_ids):
            raise CatalogueError("a product id is given twice; publish each product once")
        # Row of the input that belongs to each internal index.
        row = np.empty(len(products), dtype=np.int64)
        row[products.indices(product_ids)] = np.arange(len(products))
        price = np.array([np.nan if value is None else value for value in prices], dtype=np.float64)[row]
        if np.any(price < 0) or np.any(np.isinf(price)):
            raise CatalogueError("a price is negative or infinite; leave it out where it is not known")
        encoded = [(names[at] or "").encode() for at in row.tolist()]
        category, category_labels = _coded(categories, row)
        brand, brand_labels = _coded(brands, row)
        seen = np.array([UNKNOWN_TIME if value is None else value for value in first_seen], dtype=np.int64)
        return cls(
            products=products,
            name_bytes=np.frombuffer(b"".join(encoded), dtype=np.uint8),
            name_ends=np.cumsum([len(name) for name in encoded], dtype=np.int64),
            category=category,
            categories=category_labels,
            brand=brand,
            brands=brand_labels,
            price=price,
            available=np.asarray(available, dtype=bool)[row],
            first_seen=seen[row],
        )

    def __len__(self) -> int:
        return len(self.products)

    def name(self, place: int) -> str | None:
        """The name of the product at ``place``; ``None`` where unknown."""
        start = int(self.name_ends[place - 1]) if place else 0
        return self.name_bytes[start : int(self.name_ends[place])].tobytes().decode(errors="replace") or None

    def card(self, product_id: str) -> ProductCard | None:
        """What is known of a product; ``None`` if the catalogue does not have it."""
        place = int(self.products.indices([product_id])[0])
        return None if place < 0 else self.card_at(place)

    def card_at(self, place: int) -> ProductCard:
        """The card of the product at ``place``, 0 to ``n - 1``."""
        category, brand, price = int(self.category[place]), int(self.brand[place]), float(self.price[place])
        return ProductCard(
            product_id=self.products.external([place])[0],
            name=self.name(place),
            category=self.category_names[category] if category >= 0 else None,
            brand=self.brand_names[brand] if brand >= 0 else None,
            price=None if np.isnan(price) else price,
            available=bool(self.available[place]),
        )

    def with_companions(self, companions: IndexArray) -> "Catalogue":
        """The same catalogue with ``companions``, int32 ``[n, w]``; see the attribute.

        Raises:
            CatalogueError: another shape, or a place that is none of this catalogue.
        """
        if companions.size and (companions.min() < -1 or companions.max() >= len(self)):
            raise CatalogueError(
                f"a companion lies outside 0..{len(self) - 1}; companions are places of this catalogue"
            )
        return replace(self, companions=companions.astype(np.int32, copy=False))

    def has_companion(self, place: int, other: int) -> bool:
        """Whether the product at ``other`` is among the companions of the one at ``place``; false for -1."""
        if place < 0 or other < 0 or not len(self.companions):
            return False
        return bool((self.companions[place] == other).any())

    @cached_property
    def category_names(self) -> tuple[str, ...]:
        """Labels in code order."""
        return tuple(label.decode() for label in self.categories.tolist())

    @cached_property
    def brand_names(self) -> tuple[str, ...]:
        """Labels in code order."""
        return tuple(label.decode() for label in self.brands.tolist())

    def aligned(self, products: IdMap) -> AlignedCatalogue:
        """The columns in the order of ``products``; no copies where the order is the same."""
        place = self.products.translate(products)
        if len(place) == len(self) and np.array_equal(place, np.arange(len(place))):
            taken = (self.category, self.brand, self.price, self.available, self.first_seen)
            return AlignedCatalogue(place, *taken, self.category_names, self.brand_names)
        known = place >= 0

        def take(column: NDArray[Any], otherwise: float) -> NDArray[Any]:
            taken = np.full(len(place), otherwise, dtype=column.dtype)
            taken[known] = column[place[known]]
            return taken

        return AlignedCatalogue(
            place=place,
            category=take(self.category, -1),
            brand=take(self.brand, -1),
            price=take(self.price, np.nan),
            available=take(self.available, False),
            first_seen=take(self.first_seen, UNKNOWN_TIME),
            category_names=self.category_names,
            brand_names=self.brand_names,
        )


COMPANIONS = "companions"
_ARRAYS = {
    "names": "name_bytes",
    "names.ends": "name_ends",
    "category": "category",
    "categories": "categories",
    "brand": "brand",
    "brands": "brands",
    "price": "price",
    "available": "available",
    "first_seen": "first_seen",
    COMPANIONS: "companions",
}
_DTYPES = {
    "name_bytes": "u1",
    "name_ends": "i8",
    "category": "i4",
    "brand": "i4",
    "price": "f8",
    "available": "b1",
    "first_seen": "i8",
    "companions": "i4",
}


def write_catalogue(catalogue: Catalogue, folder: Path) -> FolderManifest:
    """Write ``catalogue`` to ``folder``, atomically, and return its manifest.

    Raises:
        CatalogueError: ``folder`` holds something that is not a catalogue.
    """
    columns = {f"{name}.npy": getattr(catalogue, attribute) for name, attribute in _ARRAYS.items()}
    return _FOLDER.write(folder, {**id_arrays(catalogue.products), **columns}, {}, {"products": len(catalogue)})


def read_catalogue_manifest(folder: Path) -> FolderManifest:
    """The manifest of ``folder``, checked against its own checksum; no other file is opened.

    Raises:
        CatalogueError: it is missing, not valid, of another schema version, names a file no catalogue has, or does
            not match its checksum.
    """
    return _FOLDER.read_manifest(folder)


def read_catalogue(folder: Path, verify: bool = True, checksum: str | None = None) -> Catalogue:
    """Read the catalogue in ``folder``; arrays are memory-mapped and read-only.

    Args:
        folder: a local folder written by `write_catalogue`.
        verify: read every file once and compare its SHA-256; without it only names and sizes are compared.
        checksum: the one the caller expects, from the record that points here; ``None`` accepts any.

    Raises:
        CatalogueError: the manifest is refused, ``checksum`` is another, a file is missing, extra, a link, of another
            size or (``verify``) of other content, or the arrays do not fit together.
    """
    folder = Path(folder)
    manifest = _FOLDER.verify(folder, verify, checksum)
    names = {record.name for record in manifest.files}
    arrays = {
        attribute: _FOLDER.load(folder / f"{name}.npy")
        for name, attribute in _ARRAYS.items()
        if name != COMPANIONS or f"{name}.npy" in names
    }
    for attribute, dtype in _DTYPES.items():
        if attribute in arrays and arrays[attribute].dtype.str[1:] != dtype:
            raise CatalogueError(
                f"{folder}: {attribute} must be of type {dtype}, not {arrays[attribute].dtype}; publish it again"
            )
    return Catalogue(products=_FOLDER.load_ids(folder, manifest), **arrays)


def _coded(labels: Sequence[str | None], row: NDArray[np.int64]) -> tuple[IndexArray, NDArray[np.bytes_]]:
    """Codes of ``labels`` in the order of ``row``, and the distinct labels, sorted."""
    distinct = sorted({label for label in labels if label})
    codes: dict[str | None, int] = {label: code for code, label in enumerate(distinct)}
    coded = np.array([codes.get(label, -1) for label in labels], dtype=np.int32)
    encoded = [label.encode() for label in distinct]
    if any(b"\0" in label for label in encoded):
        raise CatalogueError("a category or brand holds a NUL character, which cannot be stored; clean it first")
    return coded[row], np.array(encoded, dtype=np.bytes_) if encoded else np.empty(0, dtype="S1")
