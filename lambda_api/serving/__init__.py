"""What happens between a parsed request and its answer: routing, scoring, reasons, falling back.

Put code here when it decides what a shopper is shown. Import the submodules directly. No numpy at module level but in
``engine``, ``reasons``, ``new_products`` and ``bundle_host``: an entry point that never scores does not pay for it.
Keep HTTP (``lambda_api.handlers``), tables (``lambda_api.state``) and models (``lambda_api.recommender``) out.
"""
