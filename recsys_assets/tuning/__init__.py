"""Choosing hyper-parameters on the past: what may be varied, and the search over rolling-origin folds.

Put what decides between parameter values here. Keep models (``recsys_assets.models``) and Dagster out.
"""
