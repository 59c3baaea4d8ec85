"""From raw events to a registered model: Dagster's first code location.

Stages, in the order data pass through them; in each, ``assets.py`` adapts to Dagster and the other modules are pure:

* ``ingest``: sources, mapped to canonical tables. ``quality``: row and day checks, quarantine.
* ``features``, ``splits``: point-in-time features; windows in time.
* ``models``: the trainers of the zoo. ``training``, ``tuning``, ``sagemaker``: fitting them here or as SageMaker jobs.
* ``measurement``: metrics, protocol, confidence intervals. ``evaluation``: the report that compares models.
* ``registry``: stored versions. ``promotion``: whether a version becomes champion.
* ``publishing``: what serving reads: catalogue, popular products, histories, data of the shop page.
* ``batch``: lists for every shopper.

Shared below them: ``lake`` (Parquet tables), ``schema`` (their columns), ``verdict`` and ``data_gate`` (which days may
be used), ``known_catalogue`` (the catalogue as known at a moment), ``event_stream``, ``partitions``, ``tags``,
``code_revision``. Assembled in ``definitions``, with ``jobs``, ``schedules`` and ``resources``.

Each stage imports only stages below it (contracts in ``pyproject.toml``). torch, scikit-learn, LightGBM and Great
Expectations are imported inside functions: every Dagster step imports these modules again.
"""

import warnings

# Dagster warns of every beta function at every start of every process. The version is pinned to one minor release, so
# none changes unnoticed.
for _notice in (r".* is currently in (beta|preview)", r".* is superseded"):
    warnings.filterwarnings("ignore", message=_notice, module=r"(dagster|recsys)\b")
