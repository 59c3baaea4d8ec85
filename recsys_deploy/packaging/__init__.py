"""Lambda packages: the same code and pins give the same bytes, for the platform that runs them.

Put here how zips are made: what each function needs (``functions``), for which platform (``targets``), from which
wheels (``wheels``), which files of them (``contents``), in which bytes (``archive``); ``build`` puts it together. Keep
infrastructure and images out.
"""
