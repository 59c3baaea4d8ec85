"""Stage "publishing": writes what serving reads besides a bundle: catalogue, popular products, histories, shop page
data.

How these stores work inside, and answering from them, is in ``lambda_api``; routing traffic in
``recsys_deploy.release``.
"""
