"""What the ``recsys`` command shows: progress of a run, and the summary at its end.

Put presentation for a terminal here. Keep what is presented (figures, decisions) in the modules that compute it.
"""
