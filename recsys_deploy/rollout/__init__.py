"""Rollouts: a new version meets shoppers step by step, goes on by evidence, and is taken back by itself.

``rollout.asl.json`` is the state machine: AWS runs it deployed, a laptop runs the same file (``machine``). It only
routes; ``steps`` does what each state asks for, ``judge`` decides, ``evidence`` reads what happened, ``record`` keeps
the state of the one rollout that may run, ``plan`` holds stages and limits. Statistics live in
``recsys_deploy.experiments``, moves by hand in ``recsys_deploy.release``.
"""
