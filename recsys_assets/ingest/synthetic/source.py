"""The synthetic shop as a source of daily data."""

from collections.abc import Callable
from datetime import date, timedelta
from functools import cached_property
from typing import ClassVar

import pyarrow as pa

from recsys_assets.ingest.source import DayOfEvents, SourceError
from recsys_assets.ingest.synthetic.config import DEFAULT_FIRST_DAY, SyntheticShopConfig
from recsys_assets.ingest.synthetic.shop import SyntheticShop, utc_today
from recsys_assets.schema import SET_ASIDE_SCHEMA


class SyntheticShopSource:
    """Delivers a `SyntheticShop` day by day, with a new day every day unless the config limits it.

    No row is set aside: events that a tracking bug damaged are delivered as they are, and the quality rules find them.
    """

    name: ClassVar[str] = "synthetic"

    def __init__(
        self,
        first_day: date | None = None,
        seed: int = 0,
        config: SyntheticShopConfig | None = None,
        today: Callable[[], date] = utc_today,
    ) -> None:
        """Give either ``config``, or ``first_day`` (default 2025-06-02) and ``seed``.

        Args:
            today: the clock, a UTC day; a shop without a last day has every day before it.

        Raises:
            ValueError: ``config`` is given together with ``first_day`` or ``seed``.
        """
        if config is not None and (first_day is not None or seed != 0):
            raise ValueError("config already holds the start and the seed; give config alone, or first_day and seed")
        self.config = config or SyntheticShopConfig(seed=seed, start=first_day or DEFAULT_FIRST_DAY)
        self._today = today

    @cached_property
    def shop(self) -> SyntheticShop:
        """The shop behind the source, built when first needed."""
        return SyntheticShop(self.config)

    def days(self) -> list[date]:
        """Every day from the start to the config's last, or until yesterday (UTC); empty before the first is over."""
        count = (self.config.last_day(self._today()) - self.config.start).days + 1
        return [self.config.start + timedelta(days=offset) for offset in range(count)]

    def read_day(self, day: date) -> DayOfEvents:
        """The events of ``day``. Raises `SourceError` for a day the shop does not have (yet)."""
        last = self.config.last_day(self._today())
        if not self.config.start <= day <= last:
            raise SourceError(
                f"the synthetic shop has no {day}: its days run from {self.config.start} to {last}; "
                "ask for one of them, or set another first day"
            )
        events = self.shop.day_events(day)
        return DayOfEvents(interactions=events, set_aside=SET_ASIDE_SCHEMA.empty_table(), rows_read=events.num_rows)

    def products(self) -> pa.Table:
        """Every product launched by the last day, canonical columns, with that day's prices and availability."""
        return self.shop.products(self.config.last_day(self._today()))

    def users(self) -> pa.Table:
        """Every user who joined by the last day, canonical columns."""
        return self.shop.users(self.config.last_day(self._today()))
