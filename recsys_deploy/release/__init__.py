"""The last look at a model before traffic: its bundle is fetched, verified and asked for recommendations.

Put checks of a registered bundle here. Keep the decision whether it is good enough in ``recsys_assets.promotion``.
"""
