"""From a registered model to live traffic: the ``recsys`` command, and Dagster's second code location.

* ``cli`` lists the commands; ``*_commands`` and ``<folder>/commands`` parse and print.
* ``run``, ``up``, ``homes``, ``child_processes``, ``pages_server``: build a shop in its home, run its servers.
* ``home_backup``, ``forget``: copy a home; remove a shopper from it.
* ``release``, ``rollout``, ``experiments``: versions in front of shoppers, by hand or step by step with evidence.
* ``endpoints``, ``batch``, ``monitoring``: SageMaker endpoints, lists for everybody, health.
* ``benchmark``, ``tune``: compare models on any shop's files; search hyper-parameters.
* ``deploy``, ``packaging``, ``training_machine``: AWS environments, Lambda zips, training by a state machine.
* ``console``: what commands print. ``definitions``, ``sensors``: what Dagster loads.

Data, training and evaluation are in ``recsys_assets``; answering shoppers is in ``lambda_api``.
"""
