"""Dagster code location 1: from raw events to a registered model.

The folders are the stages of the graph in the order the data walks them: ingest, quality, features, splits, models
with training, evaluation, registry. In each, ``assets.py`` is thin and adapts to Dagster; the modules beside it are
pure and import no Dagster. Import submodules directly. Keep torch, sklearn and great_expectations out of module level.
"""
