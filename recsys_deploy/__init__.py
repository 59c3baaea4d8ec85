"""From a registered model to live traffic: the ``recsys`` command, and Dagster's second code location.

* ``cli`` lists the commands; ``*_commands`` and ``<folder>/commands`` parse and print.
* ``run``, ``up``, ``homes``, ``child_processes``: build a shop in its home folder, and run its servers.
* ``release``, ``endpoints``, ``batch``, ``monitoring``: versions in front of shoppers, SageMaker endpoints, lists for
  everybody, health.
* ``benchmark``, ``tune``: compare models on any shop's files; search hyper-parameters.
* ``deploy``, ``packaging``, ``training_machine``: AWS environments, Lambda zips, training by a state machine.
* ``console``: what commands print. ``definitions``, ``sensors``: what Dagster loads.

Data, training and evaluation are in ``recsys_assets``; answering shoppers is in ``lambda_api``.
"""
