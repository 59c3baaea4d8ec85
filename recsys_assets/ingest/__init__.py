"""Stage 1: events, catalogue and users from wherever a shop keeps them, into the canonical raw tables.

Put a new source here (one class, one module, registered in ``registry.py``; ``tests/ingest/test_source_contract.py``
then covers it). Keep judgement about values in ``recsys_assets.quality``.
"""
