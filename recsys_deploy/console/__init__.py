"""What the ``recsys`` command prints: progress of a run, tables, and errors. It computes no figure itself."""
