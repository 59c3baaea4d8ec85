"""Putting a registered version in front of shoppers, and taking it back.

``check`` asks a bundle for recommendations before it goes live; ``route`` and ``strategies`` decide how the routing
record changes; ``moves`` writes the record and moves the champion pointer last; ``assets`` and ``commands`` adapt to
Dagster and the terminal. Whether a version is good enough is decided in ``recsys_assets.promotion``.
"""
