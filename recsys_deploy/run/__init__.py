"""``recsys run``: the asset graph as one process, from raw events to a live model.

``graph`` runs the jobs, ``named`` runs them under a name whose outcome a state machine reads (``outcome``), ``daily``
does what Dagster's daemon does every night, and ``commands`` is the command line. What is printed is in
``recsys_deploy.console``.
"""
