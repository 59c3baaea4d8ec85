"""SageMaker endpoints, one per model version.

``requests`` and ``autoscaling`` hold names, requests and rules, ``manager`` the calls to AWS, ``archive`` the model
archive, ``shop_endpoints`` what joins them with registry and settings, ``commands`` the command ``recsys endpoints``.
"""
