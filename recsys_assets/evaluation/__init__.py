"""Stage "evaluation": how good each recommender is, for whom, and compared with what.

* ``evaluate_models`` runs every candidate and the champion on the test window; ``build_report`` computes the figures of
  a ``report``, which ``tables``, ``plots`` and ``html`` show.
* ``segments`` divides users into groups, ``fairness`` compares the groups, ``provider`` measures exposure of brands and
  categories, ``ratings`` measures RMSE and MAE.
* ``served`` reads the lists that were served; ``feedback`` joins them with clicks and purchases; ``off_policy``
  estimates what another model would have earned; ``business`` puts these into the report; ``simulated`` asks the
  synthetic shop.

Metrics and protocols are in ``recsys_assets.measurement``, fitting in ``models`` and ``training``, the decision to
promote in ``promotion``.
"""
