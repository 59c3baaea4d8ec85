"""A cloud in one process: moto's server, what moto lacks of it, and programs that really run.

Started as ``python -m tests.aws.cloud``. Put here what stands for AWS. Keep the project's own programs, and assertions,
out: nothing in here may make up for a fault of the product.
"""
