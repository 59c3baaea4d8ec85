"""The interface of a source of shop data, and the error that sources raise."""

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import pyarrow as pa

from lambda_api.errors import RecsysError


class SourceError(RecsysError):
    """A source cannot be read. The message names the file, the rule and the remedy."""


@dataclass(frozen=True, slots=True)
class DayOfEvents:
    """One UTC day as a source delivers it.

    Attributes:
        interactions: canonical column names. A column has its canonical type when every value fits it; otherwise it
            stays text, and ``recsys_assets.quality`` reports the bad values. Missing columns stay missing. May be
            empty.
        set_aside: rows that the source's rules exclude, with ``recsys_assets.schema.SET_ASIDE_SCHEMA``.
        rows_read: rows in the input for this day; always ``interactions.num_rows + set_aside.num_rows``.
    """

    interactions: pa.Table
    set_aside: pa.Table
    rows_read: int

    def __post_init__(self) -> None:
        if self.rows_read != self.interactions.num_rows + self.set_aside.num_rows:
            raise ValueError(
                f"{self.rows_read} rows read but {self.interactions.num_rows} delivered "
                f"and {self.set_aside.num_rows} set aside: a source must not lose rows"
            )


class Source(Protocol):
    """Where a shop's data comes from. Cheap to build; files are read in the methods."""

    @property
    def name(self) -> str:
        """Short name, as in ``RECSYS_SOURCE``."""

    def days(self) -> list[date]:
        """UTC days that have a drop, ascending. Cheap where files are named by day. Raises `SourceError`."""

    def read_day(self, day: date) -> DayOfEvents:
        """Events whose timestamp falls on ``day`` (UTC). Raises `SourceError` for an unreadable, empty, truncated or
        wrongly encoded file and for a day without a drop."""

    def products(self) -> pa.Table:
        """The catalogue, canonical products columns; every product that events may name."""

    def users(self) -> pa.Table:
        """Known users, canonical users columns."""
