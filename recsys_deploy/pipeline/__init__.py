"""``recsys pipeline``: the asset graph as one process, with an outcome that a state machine can read.

Import submodules directly.
"""
