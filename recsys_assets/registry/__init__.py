"""Model versions, experiment runs, the champion pointer and the bundles of registered models.

A store: it knows nothing of how models are judged. That is ``recsys_assets.promotion``.
"""
