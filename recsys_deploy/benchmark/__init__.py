"""The protocol command: every model of the zoo on a shop's files, judged on what comes after a given moment.

Put what `recsys benchmark` does here. Keep models, metrics and tuning (``recsys_assets``) out.
"""
