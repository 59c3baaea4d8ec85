"""Measurement: metrics, evaluation protocols, bootstrap intervals, feature importances.

Pure functions of arrays and tables; nothing here reads the lake or the registry. Reports are in
``recsys_assets.evaluation``, the rules for going live in ``recsys_assets.promotion``.
"""
