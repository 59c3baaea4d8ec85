"""A lake of synthetic interactions of a wanted size, as input of other benchmarks."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import numpy as np

from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.ingest.synthetic.world import World
from recsys_assets.lake import Lake
from recsys_assets.schema import INTERACTIONS

_EVENTS_PER_RESTOCK: Final = 3
_LARGEST_RESTOCK_SHARE: Final = 0.2


def write_synthetic_lake(root: str, n_events: int, n_users: int, n_products: int, days: int) -> Lake:
    """Write tables ``interactions`` (by day), ``products`` and ``users`` under ``root``; a second call replaces them.

    Holds about ``n_events`` interactions (within some 2 % from a hundred thousand on) over exactly ``days`` days, the
    same bytes for the same arguments. One day is in memory at a time.
    """
    shop = SyntheticShop(shop_config(n_events, n_users, n_products, days))
    lake = Lake(root)
    for offset in range(days):
        day = shop.config.start + timedelta(days=offset)
        lake.write_day("interactions", day, INTERACTIONS.conform(shop.day_events(day)))
    lake.write_table("products", shop.products())
    lake.write_table("users", shop.users())
    return lake


def shop_config(n_events: int, n_users: int, n_products: int, days: int) -> SyntheticShopConfig:
    """The default shop at another size, its sessions set so that ``n_events`` are expected in all."""
    probe = SyntheticShopConfig(
        days=days,
        n_users=n_users,
        n_products=n_products,
        n_categories=min(max(n_products // 60, 1), 100),
        n_brands=max(n_products // 20, 1),
        sessions_per_user_per_day=1.0,
    )
    sessions, restocks = _expected(probe)
    if restocks > _LARGEST_RESTOCK_SHARE * n_events / _EVENTS_PER_RESTOCK:
        fewer = _LARGEST_RESTOCK_SHARE * n_events / _EVENTS_PER_RESTOCK / restocks
        probe = replace(probe, restocking=fewer)
        sessions, restocks = _expected(probe)
    rate = (n_events - _EVENTS_PER_RESTOCK * restocks) / (sessions * _events_per_session(probe))
    return replace(probe, sessions_per_user_per_day=rate)


def _expected(config: SyntheticShopConfig, offsets: Iterable[int] | None = None) -> tuple[float, float]:
    """Expected browsing sessions and restocks over the days at ``offsets`` (default: all)."""
    world = World(config)
    sessions = restocks = 0.0
    for offset in offsets if offsets is not None else range(config.days or 0):
        state = world.on(config.start + timedelta(days=offset))
        sessions += float(state.rate.sum())
        restocks += float(world.due_restocks(state).probability.sum())
    return sessions, restocks


def _events_per_session(config: SyntheticShopConfig) -> float:
    """Mean events of a browsing session, from three days spread over the period."""
    config = replace(config, sessions_per_user_per_day=min(1000.0, 20_000 / config.n_users))
    shop = SyntheticShop(config)
    offsets = np.linspace(0, (config.days or 1) - 1, 3).astype(int).tolist()
    events = sum(len(shop.behaviour(config.start + timedelta(days=offset))) for offset in offsets)
    sessions, restocks = _expected(config, offsets)
    return (events - _EVENTS_PER_RESTOCK * restocks) / sessions
