"""The error of a batch, apart from other code because every start of the command line reads this module."""

from lambda_api.errors import RecsysError


class BatchError(RecsysError):
    """A batch cannot run, or its files cannot be used; the message names the file, the rule and the remedy."""
