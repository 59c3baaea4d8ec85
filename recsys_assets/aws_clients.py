"""Clients of AWS services for work that runs for minutes: short time limits, few repetitions by botocore itself."""

from collections.abc import Callable
from typing import Any

from recsys_assets.aws_errors import AwsCallFailed, translate_aws_errors


def open_clients(*services: str) -> tuple[Any, ...]:
    """boto3 clients by name of the service, all in the region that AWS's own configuration names.

    botocore repeats a call for some seconds; whoever waits for a job repeats it for minutes.

    Raises:
        AwsCallFailed: no region is configured.
    """
    # boto3 takes a tenth of a second to import; a laptop never needs it.
    import boto3
    from botocore.config import Config

    client: Callable[..., Any] = boto3.client
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})
    with translate_aws_errors("opening clients of AWS", AwsCallFailed):
        return tuple(client(service, config=config) for service in services)
