"""Entry points of AWS Lambda, which the local server runs as well: HTTP in, HTTP out.

Put here what knows of events, HTTP and Powertools, and the composition root (``dependencies``).
Keep what a shopper is shown (``lambda_api.serving``) and how state is stored (``lambda_api.state``) out. Import the
submodules directly; none of them loads numpy before a model has to answer.
"""
