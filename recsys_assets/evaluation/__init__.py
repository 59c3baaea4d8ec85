"""Stage 6: how good is each recommender, for whom, and against what.

The pure modules build on one another in this order: ``metrics``, ``beyond_accuracy``, ``ratings`` and ``bootstrap``
hold definitions; ``protocol`` turns a log and a window into a task and runs a recommender on it; ``segments`` asks for
whom; ``report`` gathers everything; ``tables``, ``plots`` and ``html`` show it. ``assets.py`` adapts to Dagster.
Put measures of recommendation quality here. Keep fitting (``models``) and the decision to promote (``registry``) out.
"""
