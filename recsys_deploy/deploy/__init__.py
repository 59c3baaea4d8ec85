"""From this checkout to a running environment on AWS, and back: ``recsys deploy``, ``recsys destroy``, ``recsys cost``.

Put here what drives Terraform and what Terraform does not do: the model, what serving reads, the page's data, moving
aliases, checks. Keep what resources are made of in ``terraform/``, and the route between versions in
``recsys_deploy.release``.
"""
