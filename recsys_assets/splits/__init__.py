"""Splits of the log by time: one global cut for all shoppers, and rolling-origin folds before it."""
