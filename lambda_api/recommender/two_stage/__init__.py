"""The two-stage recommender: candidates from many sources, ranked by one learned model.

Put its serving side here: numpy and ONNX Runtime only. Keep fitting in ``recsys_assets.models.hybrid``.
"""
