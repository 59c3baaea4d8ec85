"""Stage "monitoring": what happens to the data, the models and the business, day by day, and when to train again.

* Pure: ``drift_statistics`` compares two samples, ``concept`` follows the hit rate of what was served (CUSUM),
  ``groups`` compares groups of shoppers and importances, ``quality_trend`` and ``business`` summarise days,
  ``retraining`` decides.
* Reading the lake: ``samples`` (one event per shopper), ``served_hits`` (hits of the serving model), ``twin`` (what a
  retraining would bring).
* ``alerts`` tells people; ``pages`` writes HTML; ``assets`` and ``sensors`` adapt to Dagster.

All statistics are over shoppers: one shopper's events depend on each other. Health checks of a deployed environment are
in ``recsys_deploy.monitoring``.
"""
