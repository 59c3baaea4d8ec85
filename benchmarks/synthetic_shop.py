"""How many events the synthetic shop makes per minute on one core: ``python -m benchmarks.synthetic_shop``."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from datetime import timedelta
from typing import Final

from benchmarks.measure import Row, print_rows
from benchmarks.synthetic_lake import shop_config
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig

BAR_EVENTS_PER_MINUTE: Final = 1_000_000
_SHOPS: Final[dict[str, tuple[int, int, int, int] | None]] = {
    "default shop, 120 days": None,
    "100,000 users, 10,000 products, 10 days": (1_000_000, 100_000, 10_000, 10),
}


def run() -> list[Row]:
    """Rows for a small and a large shop. Building the shop counts; CPU time, so one core's, whatever runs beside."""
    rows: list[Row] = []
    for what, size in _SHOPS.items():
        config = shop_config(*size) if size else SyntheticShopConfig(days=120)
        began = time.process_time()
        shop = SyntheticShop(config)
        days = range(config.days or 0)
        events = sum(shop.day_events(config.start + timedelta(days=offset)).num_rows for offset in days)
        per_minute = events / (time.process_time() - began) * 60
        rows.append(
            {
                "what": f"synthetic shop, events per minute of one core ({what}: {events:,} events)",
                "bar": f">= {BAR_EVENTS_PER_MINUTE / 1e6:.0f} M",
                "measured": f"{per_minute / 1e6:.1f} M",
                "met": per_minute >= BAR_EVENTS_PER_MINUTE,
            }
        )
    return rows


if __name__ == "__main__":
    print_rows("synthetic shop", run())
