"""Stage "registry": versions of trained models, the champion among them, and the gate a challenger must pass.

Put here what decides or records which model is in production. Keep measuring models (``recsys_assets.evaluation``), the
bundle format (``lambda_api.recommender.bundle``) and moving traffic (``recsys_deploy``) out. Import the submodules
directly.
"""
