"""The command ``recsys tune``; the search itself is in ``recsys_assets.tuning``."""
