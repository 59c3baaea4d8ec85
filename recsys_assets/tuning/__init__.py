"""The search for hyper-parameters on the past.

``folds`` cuts a log into rolling-origin folds, ``search`` tries parameters of one model on them with Optuna,
``zoo_tuning`` shares a budget between models, ``experiment_runs`` records trials. ``managed_search``, ``tuning_job``
and ``trial`` run the same search on SageMaker. Search spaces are in ``recsys_assets.training.search_spaces``.
"""
