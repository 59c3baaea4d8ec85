"""Errors of deploying. Errors of AWS itself are `recsys_assets.aws_errors.AwsCallFailed`."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from lambda_api.errors import RecsysError
from lambda_api.state.table import TableUnavailable
from recsys_assets.aws_errors import AwsCallFailed, translate_aws_errors

Confirm = Callable[[str], bool]
"""Asks a person a question; whether they agree."""


class DeployError(RecsysError):
    """Deploying cannot go on."""


class NotConfirmed(DeployError):
    """A person has to agree first; nothing was changed."""


class CheckFailed(DeployError):
    """New code or a new model answers wrongly; shoppers are still answered by the previous one."""


def require_consent(confirm: Confirm | None, question: str, refusal: str) -> None:
    """Raise `NotConfirmed` with ``refusal`` unless a person agrees; ``confirm`` is ``None`` where nobody is there."""
    if confirm is None or not confirm(question):
        raise NotConfirmed(refusal, remedy="" if confirm else "agree with --yes")


def translated(action: str) -> AbstractContextManager[None]:
    """Raise errors of boto3, the table port and Arrow inside as `AwsCallFailed`; ``action``: what was being done."""
    # Arrow raises OSError for S3. A full disk is an OSError too, and its message says so.
    return translate_aws_errors(action, AwsCallFailed, also=(OSError, TableUnavailable))
