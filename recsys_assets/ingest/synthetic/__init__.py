"""A synthetic shop whose shoppers have hidden tastes: models can beat popularity, and the best answer is known.

``config``: what can be set. ``catalogue`` and ``shoppers``: what is hidden. ``world``: the probabilities.
``behaviour``: draws from them. ``truth``: exact purchase probabilities. ``tracking``: damaged events. ``shop``: tables.
``source``: the shop as a source of daily data.
"""

from recsys_assets.ingest.synthetic.config import Drift, DriftKind, SyntheticShopConfig
from recsys_assets.ingest.synthetic.shop import EVENT_COLUMNS, SyntheticShop
from recsys_assets.ingest.synthetic.source import SyntheticShopSource

__all__ = ["EVENT_COLUMNS", "Drift", "DriftKind", "SyntheticShop", "SyntheticShopConfig", "SyntheticShopSource"]
