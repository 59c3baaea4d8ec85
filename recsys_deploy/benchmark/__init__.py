"""``recsys benchmark``: every model compared on a shop's files, on what happens after a given moment.

``files`` reads the shop, ``protocols`` splits it, ``run`` tunes, chooses, fits and judges, ``table`` prints. Models,
metrics and tuning are those of ``recsys_assets``.
"""
