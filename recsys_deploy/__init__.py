"""Dagster code location 2: from a registered model to live traffic, and the ``recsys`` command.

Put what happens after registration here. Keep data, training and evaluation in ``recsys_assets``.
"""
