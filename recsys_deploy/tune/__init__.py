"""``recsys tune``: the search for hyper-parameters on the shop in the lake, and its table.

Put what a person asks of tuning and sees of it here. Keep the search itself in ``recsys_assets.tuning``.
"""
