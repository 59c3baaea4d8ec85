"""A shop whose shoppers have hidden tastes, so that models can be better than popularity and the truth is known.

Put the names other packages use here. Keep definitions in the modules: ``config`` (what can be set), ``catalogue`` and
``shoppers`` (what is hidden), ``world`` (probabilities), ``behaviour`` (draws), ``truth`` (exact answers), ``tracking``
(the bug), ``shop`` (tables) and ``source`` (days for the asset graph).
"""

from recsys_assets.ingest.synthetic.config import Drift, DriftKind, SyntheticShopConfig
from recsys_assets.ingest.synthetic.shop import EVENT_COLUMNS, SyntheticShop
from recsys_assets.ingest.synthetic.source import SyntheticShopSource

__all__ = ["EVENT_COLUMNS", "Drift", "DriftKind", "SyntheticShop", "SyntheticShopConfig", "SyntheticShopSource"]
