"""Stage 2: validates each delivery. Good rows go on, bad rows go to quarantine, and no row is lost.

``suites`` holds the rules, ``row_checks`` the columns they look at, ``validation`` applies them, ``validate_lake``
validates what the lake holds, ``data_docs`` renders reports; ``checks``, ``dagster_checks`` and ``assets`` adapt to
Dagster. Which deliveries may be used is stored by ``recsys_assets.data_gate``. Great Expectations takes seconds to
import, so it is imported inside functions.
"""
