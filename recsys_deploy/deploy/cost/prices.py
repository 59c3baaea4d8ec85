"""Public prices of AWS by region, read from ``prices.toml``."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).parent / "prices.toml"
REFERENCE: Final = "us-east-1"
"""The region whose prices are published most; used, and marked, where another region's price is not known."""

REGIONS: Final = (REFERENCE, "eu-central-1")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for ``per`` units by region, with the source of the figure and its date."""

    key: str
    unit: str
    per: int
    dollars: Mapping[str, float]
    source: str
    published: date

    def of(self, quantity: float, region: str) -> float | None:
        """Price of ``quantity`` units in ``region``; ``None``: not known."""
        price = self.dollars.get(region)
        return None if price is None else quantity / self.per * price


@lru_cache(maxsize=1)
def read_prices() -> Mapping[str, Price]:
    """Every price by key. Raises ``ValueError`` for a malformed table."""
    found: dict[str, Price] = {}
    for row in tomllib.loads(FILE.read_text(encoding="utf-8"))["price"]:
        dollars = {region: float(row[region]) for region in REGIONS if region in row}
        unknown = row.keys() - {"key", "unit", "per", "source", "date", *REGIONS}
        if unknown or not dollars or row["key"] in found or min(dollars.values()) <= 0:
            raise ValueError(f"{FILE.name}: {row['key']} is given twice, without a price, or with {sorted(unknown)}")
        found[row["key"]] = Price(row["key"], row["unit"], row["per"], dollars, row["source"], row["date"])
    return found
