"""What answers a shopper, on Lambda and on a laptop; offline evaluation uses the same code.

* ``recommender``: models as they answer: bundles, candidates, ranking, rules, reasons.
* ``serving``: one request from question to answer: routing, loaded bundles, fallbacks, histories.
* ``state``: tables that serving reads and writes, on SQLite or DynamoDB.
* ``handlers``: Lambda entry points and HTTP contracts. ``local_server``: the same behind a server on a laptop.
* ``client``: a Python client. ``settings``, ``errors``, ``interactions``, ``product_card``: shared definitions.

pandas, torch, scipy, scikit-learn and Dagster are not imported here (a contract in ``pyproject.toml``): the package
travels to Lambda. Training is in ``recsys_assets``.
"""

import os

if region := os.environ.get("AWS_REGION"):
    # boto3 reads AWS_DEFAULT_REGION alone; Terraform, Arrow and AWS's own tools read AWS_REGION.
    os.environ.setdefault("AWS_DEFAULT_REGION", region)
