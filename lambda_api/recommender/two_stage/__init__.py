"""The two-stage recommender: candidates from many sources, ranked by one learned model.

This is its serving side, on numpy alone; it is fitted in ``recsys_assets.models.hybrid``.
"""
