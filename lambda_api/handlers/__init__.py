"""Entry points of AWS Lambda, which the local server runs as well, and the inference container.

``api`` (with ``shopper_routes``, ``operator_routes``, ``request_validation``, ``models``), ``authorizer`` and
``shadow`` are Lambda functions; ``dependencies`` builds what they use from the settings; ``inference_server`` is the
container's program. What a shopper is shown is decided in ``lambda_api.serving``, and state is stored by
``lambda_api.state``. Import the submodules directly; none of them imports numpy before a model has to answer.
"""
