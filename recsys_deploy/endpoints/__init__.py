"""SageMaker endpoints: one per model version, serverless or on instances.

Put what stands between a registered bundle and an endpoint that answers here. Keep who gets which traffic (the routing
record), calling endpoints (``lambda_api.serving``) and the container's program (``lambda_api.handlers``) out.
"""
