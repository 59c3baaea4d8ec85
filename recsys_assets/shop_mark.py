"""Marks tables of statistics with the shop that they are about, so that another shop's history is not used.

A lake that was copied, or filled anew from other data, may still hold statistics of earlier days. The mark is a sketch
of the catalogue: the smallest checksums of ids and names of products. Catalogues grow and change slowly, so half of the
sketch must still be there.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import pyarrow as pa

from recsys_assets.lake import Lake

SKETCH: Final = 64
MIN_SHARED: Final = 0.5
_KEY: Final = b"recsys_shop"


@dataclass(frozen=True)
class ShopMark:
    """The catalogue of a lake: checksums of its products; empty where the lake has no catalogue."""

    products: frozenset[int]

    @property
    def sketch(self) -> list[int]:
        """The smallest checksums."""
        return sorted(self.products)[:SKETCH]

    def knows(self, sketch: Sequence[int]) -> bool:
        """Whether a stored sketch is of this shop; an empty one is, for lack of a reason against it."""
        shared = sum(one in self.products for one in sketch)
        return not sketch or not self.products or shared >= MIN_SHARED * len(sketch)


def mark_of(lake: Lake) -> ShopMark:
    """The mark of the shop that the lake holds now."""
    if not lake.has_table("products"):
        return ShopMark(frozenset())
    table = lake.read("products")
    names = table["name"].to_pylist() if "name" in table.column_names else [None] * table.num_rows
    rows = zip(table["product_id"].to_pylist(), names, strict=True)
    return ShopMark(frozenset(zlib.crc32(f"{product}|{name or ''}".encode()) for product, name in rows))


def write_marked(lake: Lake, mark: ShopMark, table: str, day: date, rows: pa.Table) -> str:
    """`Lake.write_day` with the mark of the shop in the file's metadata."""
    metadata = {**(rows.schema.metadata or {}), _KEY: json.dumps(mark.sketch).encode()}
    return lake.write_day(table, day, rows.replace_schema_metadata(metadata))


def own_days(
    lake: Lake, mark: ShopMark, table: str, first: date, last: date, *, column: str = ""
) -> tuple[list[date], list[date]]:
    """Stored days from ``first`` to ``last`` (inclusive) of a marked table: those of this shop, and those of another.

    Only file footers are read. A day without a mark counts as this shop's.

    Args:
        column: days of earlier releases, whose files lack this column, are in neither list.
    """
    own: list[date] = []
    foreign: list[date] = []
    for day in lake.days(table):
        if first <= day <= last:
            schema = lake.day_schema(table, day)
            if column and column not in schema.names:
                continue
            sketch = json.loads((schema.metadata or {}).get(_KEY, b"[]"))
            (own if mark.knows(sketch) else foreign).append(day)
    return own, foreign
