"""SageMaker jobs: requests, the job client, and the ``/opt/ml`` contract of the programs that run inside.

``job``, ``kinds`` and ``*_job`` describe jobs; ``jobs`` and ``client`` start, follow and stop them; ``outcome`` and
``errors`` say what an answer of AWS means; ``paths``, ``container`` and ``messages`` are used inside the container.
What a job computes lives with its stage (``recsys_assets.training``, ``tuning``, ``batch``).
"""
