"""Stage two: refuse bad data, keep what passes, lose nothing.

Put the rules (``suites``), how they are applied (``facts``, ``validation``), what stops everything behind a bad day
(``gate``) and their Dagster face (``bridge``, ``checks``, ``assets``) here. Keep parsing of a shop's own files
(``recsys_assets.ingest``) out. Great Expectations is imported inside functions only: it costs seconds.
"""
