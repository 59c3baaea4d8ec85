"""Stage 6: how good is each recommender, for whom, and against what.

The pure modules build on one another in this order: ``metrics``, ``beyond_accuracy``, ``ratings`` and ``bootstrap``
hold definitions; ``protocol`` turns a log and a window into a task and runs a recommender on it; ``segments`` asks for
whom, ``fairness`` and ``provider`` how evenly; ``gather`` makes a ``report`` of everything; ``tables``, ``plots`` and
``html`` show it. ``off_policy`` estimates from logged ``feedback`` what another policy would have earned, ``served``
reads what was logged, ``business`` asks every model the logged questions again, ``simulated`` lets the synthetic shop's
shoppers answer where nobody else has; ``importance`` says what a ranker of trees looks at. ``assets.py`` adapts to
Dagster.
Put measures of recommendation quality here. Keep fitting (``models``) and the decision to promote (``registry``) out.
"""
