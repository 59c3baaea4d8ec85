"""Fitting as assets and as a program: what a model may learn from, candidates, and the ``train`` program.

Put anything that stands between the lake and a fitted bundle here. Keep the models' mathematics
(``recsys_assets.models``) and judging them (``recsys_assets.evaluation``) out.
"""
