"""``recsys deploy``, ``recsys destroy`` and ``recsys cost``: an environment on AWS from this checkout.

``terraform`` runs Terraform; the other modules do what Terraform does not: the model, the data that serving reads, the
shop page's data, checks, and moving aliases to new code. The resources are described in ``terraform/``; the route
between model versions is moved by ``recsys_deploy.release``.
"""
