"""Looks at a shop's data before anything is built: what it was taken for, and every problem at once.

``check`` reads the files and finds the problems; ``report`` holds the result. Reading and mapping are in
``recsys_assets.ingest``, the rules that apply to each delivery in ``recsys_assets.quality``.
"""

from recsys_assets.data_check.check import check_source
from recsys_assets.data_check.report import Problem, Report

__all__ = ["Problem", "Report", "check_source"]
