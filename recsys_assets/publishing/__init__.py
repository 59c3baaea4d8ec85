"""What serving reads besides a bundle, made from the lake: catalogue, popular products, histories, shop page data.

Put here what turns lake tables into the stores of ``lambda_api`` (``lambda_api.state``, the catalogue folder). Keep how
those stores look inside, and answering from them, in ``lambda_api``; keep routing traffic in ``recsys_deploy.release``.
"""
