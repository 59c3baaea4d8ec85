"""The two-stage recommender: candidates from many sources, ranked by one learned model.

This is its serving side, on numpy and ONNX Runtime only; it is fitted in ``recsys_assets.models.hybrid``.
"""
