"""Stage "promotion": registers the challenger, and makes it champion if the promotion rules allow it.

``decision`` holds the rules, ``challenger`` applies them to an evaluation, ``registration`` stores a bundle under a
version. Versions, runs and the champion pointer are kept by ``recsys_assets.registry``.
"""
