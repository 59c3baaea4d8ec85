"""SageMaker jobs: their requests, their life cycle, and the ``/opt/ml`` contract of the programs that run inside.

``job``, ``kinds`` and ``*_job`` describe jobs; ``jobs`` and ``client`` start, follow and stop them; ``outcome``
interprets their descriptions; ``session`` and ``messages`` carry Dagster Pipes over S3; ``paths`` and ``container`` are
used inside the container. The programs live with their stage (``recsys_assets.training``, ``tuning``, ``batch``).
"""
