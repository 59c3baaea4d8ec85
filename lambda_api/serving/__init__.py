"""Decides what a shopper is shown: routing, scoring, reasons, fallbacks.

``service`` runs the steps of a request; ``engine`` makes a list from a recommender and a catalogue; ``guard`` is the
one place for time-outs and circuit breakers. HTTP is in ``lambda_api.handlers``, tables in ``lambda_api.state``, models
in ``lambda_api.recommender``. Import the submodules directly. Only ``engine``, ``reasons`` and ``new_products`` import
numpy at module level, so a process that never scores does not load it.
"""
