"""How models are measured: metrics, the evaluation protocols, intervals, importances.

Pure functions of arrays and tables; they read no lake and no registry. What is made of the figures (comparison, report)
lives in ``recsys_assets.evaluation``; whether a model may go live is decided in ``recsys_assets.promotion``.
"""
