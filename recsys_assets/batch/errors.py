"""The error of a batch.

Put it here and nothing else: the command line reads this module at every start.
"""

from lambda_api.errors import RecsysError


class BatchError(RecsysError):
    """A batch cannot be made, or is not fit for use; the message names what, the rule and the remedy."""
