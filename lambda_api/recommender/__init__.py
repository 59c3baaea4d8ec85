"""Recommenders at inference: contract, implementations, and the folders (bundle, catalogue) they are stored in.

Modules are imported directly. Fitting is in ``recsys_assets.models``; requests, state and transport are in
``lambda_api.serving``, ``lambda_api.state`` and ``lambda_api.handlers``.
"""
