"""From validated interactions to a fitted bundle.

``assets`` holds one asset per model, ``candidate`` the protocol of two fits, ``fitting`` one fit and its launchers
(``local_launcher``, ``sagemaker_launcher``), ``train`` the program they launch, which uses ``hyperparameters``,
``checkpoints``, ``interruption`` and ``progress``. ``parameter_choice``, ``search_spaces`` and ``stored_parameters``
determine the hyper-parameters of a training. The search for them is in ``recsys_assets.tuning``, the models themselves
in ``recsys_assets.models``.
"""
