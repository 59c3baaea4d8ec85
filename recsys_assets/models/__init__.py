"""Stage 5a: the model zoo. A trainer fits arrays; the fitted recommender lives in ``lambda_api.recommender``.

Put fitting here, one module per model. Keep Dagster out entirely, and serving-time scoring in ``lambda_api``:
evaluation then measures the very code that serves. torch and sklearn are imported inside functions.
"""
