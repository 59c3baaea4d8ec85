"""Trainers: each fits a recommender of ``lambda_api.recommender`` on the interaction log; one module per model.

Nothing here imports Dagster. Scoring is in ``lambda_api.recommender``: evaluation measures the code that serves. torch,
scikit-learn and LightGBM are imported inside functions.
"""
