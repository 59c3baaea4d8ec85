"""What can go wrong between here and an environment.

Put an error here when somebody deploying must act differently on it. Keep recognising them in ``explain``.
"""

from lambda_api.errors import RecsysError


class DeployError(RecsysError):
    """Deploying cannot go on; the message names what is wrong and what to do."""


class TerraformMissing(DeployError):
    """There is no terraform on the path, or one that is too old."""


class ProviderMissing(DeployError):
    """Terraform cannot get the AWS provider."""


class InitFailed(DeployError):
    """``terraform init`` failed for another reason."""


class PlanFailed(DeployError):
    """The plan was refused: a wrong value, or something AWS would refuse."""


class ApplyFailed(DeployError):
    """The apply stopped half-way; what was made stands, and another run goes on from there."""


class NameTaken(DeployError):
    """Something of the wanted name stands that Terraform does not know of."""


class StateLocked(DeployError):
    """Another run holds the state."""


class StateBucketMissing(DeployError):
    """The bucket of Terraform's state is not there."""


class CredentialsMissing(DeployError):
    """No AWS credentials were found."""


class CredentialsExpired(DeployError):
    """The AWS credentials are no longer valid."""


class AccessDenied(DeployError):
    """These credentials may not do something; the message names the action where AWS says it."""


class Throttled(DeployError):
    """AWS asks to slow down, also after retries."""


class WrongRegion(DeployError):
    """A bucket lies in another region."""


class WrongAccount(DeployError):
    """The credentials belong to another account than the environment."""


class ServiceTrouble(DeployError):
    """AWS could not be reached, or failed on its side."""


class NotConfirmed(DeployError):
    """Somebody has to agree first."""


class EnvironmentRefused(DeployError):
    """The environment does not exist, or must not be treated like this."""


class CheckFailed(DeployError):
    """New code answers wrongly; shoppers keep being answered by the old."""


class ModelRefused(DeployError):
    """The model cannot be brought into the environment."""
