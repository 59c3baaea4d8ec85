"""Work during Lambda's initialisation, which runs at full CPU, and again after a SnapStart restore."""

import os
from collections.abc import Callable


def on_lambda() -> bool:
    """Whether this process runs in AWS Lambda."""
    return bool(os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))


def prepare_on_lambda(prepare: Callable[[], object]) -> None:
    """On Lambda, call ``prepare`` now and, with SnapStart, after every restore; elsewhere do nothing.

    A snapshot holds the caches, sockets and deadlines of the moment when the version was published, which may be weeks
    ago, so ``prepare`` must replace them. ``snapshot_restore_py`` is part of Lambda's runtime (Lambda Developer Guide,
    "Runtime hooks for Lambda SnapStart", Python).
    """
    if not on_lambda():
        return
    prepare()
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        from snapshot_restore_py import register_after_restore

        register_after_restore(prepare)
