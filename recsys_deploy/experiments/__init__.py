"""Experiments: what two model versions did for the shoppers who met them, judged while people look every day.

``inference``, ``sample_ratio``, ``guardrails`` and ``planning`` are pure statistics; ``totals`` makes one row per
shopper of the event stream; ``comparison`` joins them to a verdict; ``report`` and ``commands`` show it. Who meets
which version is decided by the route (``lambda_api.serving.routing``), when a version goes on or back by
``recsys_deploy.rollout``.
"""
