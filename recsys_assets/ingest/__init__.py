"""Stage 1: events, products and users from a shop's own files into the canonical raw tables.

``assets.py`` holds the Dagster assets; every other module is plain Python. Whether values are acceptable is decided in
``recsys_assets.quality``; the synthetic shop is in ``synthetic``.
"""
