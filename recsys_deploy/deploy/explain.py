"""What AWS and Terraform said, as an error that says what to do.

Put the recognising of troubles here. Keep what is done about them in the modules that call.

The same trouble reaches us in three dialects: Terraform's diagnostics, botocore's errors and Arrow's S3 client.
`explain` reads them all, because all three repeat the service's own error code and message.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ReadTimeoutError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from lambda_api.state.table import TableUnavailable
from recsys_deploy.deploy.errors import (
    AccessDenied,
    CredentialsExpired,
    CredentialsMissing,
    DeployError,
    NameTaken,
    ServiceTrouble,
    StateBucketMissing,
    StateLocked,
    Throttled,
    WrongRegion,
)

_ACTION: Final = re.compile(
    r"not authorized to perform:?\s*(?P<action>[a-zA-Z0-9-]+:[A-Za-z0-9*]+)"
    r"(?:\s+on\s+(?:resource:\s*)?(?P<resource>\S+))?"
)
_OPERATION: Final = re.compile(
    r"calling the (?P<boto>\w+) operation|operation error [A-Za-z0-9 ]+: (?P<sdk>[A-Z]\w+),"
    r"|during (?P<arrow>\w+) operation"
)
_LOCK: Final = {
    name: re.compile(rf"^\W*{name}:\s*(?P<value>.+?)\s*$", re.MULTILINE)
    for name in ("ID", "Who", "Created", "Operation")
}
_EXPIRED: Final = re.compile(
    r"ExpiredToken|RequestExpired|InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|security token included in the request is (?:expired|invalid)|[Tt]oken has expired|SSO session .*expired"
    r"|AuthFailure|EXPIRED_TOKEN|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID"
)
_MISSING: Final = re.compile(
    r"No valid credential sources found|no EC2 IMDS role found|failed to refresh cached credentials"
)
_DENIED: Final = re.compile(
    r"AccessDenied|UnauthorizedOperation|not authorized to perform|ACCESS_DENIED|StatusCode: 403|\b403\b.*Forbidden"
)
_THROTTLED: Final = re.compile(
    r"Throttl|TooManyRequests|SlowDown|SLOW_DOWN|RequestLimitExceeded|Rate exceeded|ProvisionedThroughputExceeded"
)
_REGION: Final = re.compile(
    r"PermanentRedirect|AuthorizationHeaderMalformed|BucketRegionError|StatusCode: 301|\(301\)|\bcode[: ]+301\b"
    r"|requested bucket from \"[^\"]+\", actual location|HTTP status code 301|HTTP response code: 301"
)
_REGION_NAMES: Final = re.compile(r"(?:actual location|expecting) [\"']?(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)")
_TAKEN: Final = re.compile(r"AlreadyExists|BucketAlreadyOwnedByYou")
_NO_BUCKET: Final = re.compile(r"S3 bucket \"(?P<bucket>[^\"]+)\" does not exist|NoSuchBucket|NO_SUCH_BUCKET")
_UNREACHABLE: Final = re.compile(
    r"no such host|connection refused|i/o timeout|TLS handshake timeout|RequestTimeout|ServiceUnavailable"
    r"|InternalServerError|InternalFailure|StatusCode: 50[0-9]|context deadline exceeded|Could not connect"
    r"|NETWORK_CONNECTION|curlCode"
)


def explain(text: str, what: str) -> DeployError | None:
    """The error that ``text`` (in anybody's dialect) means; ``None`` where it is none of the known kinds.

    Args:
        text: what Terraform, botocore or Arrow said.
        what: that was being done, as a noun phrase: ``terraform apply``, ``the upload of the bundle``.
    """
    said = " ".join(text.split())[:600]
    if "Error acquiring the state lock" in text:
        return StateLocked(_locked(text))
    if _EXPIRED.search(text):
        return CredentialsExpired(
            f"{what}: AWS takes these credentials no more ({said}). Sign in again (aws sso login, or fresh keys in the "
            "environment), then run the same command: it goes on where it stopped"
        )
    if _MISSING.search(text):
        return CredentialsMissing(_no_credentials(what))
    if _REGION.search(text):
        found = _REGION_NAMES.search(text)
        where = f"in {found['region']}" if found else "in another region than the one named"
        return WrongRegion(
            f"{what}: the bucket lies {where} ({said}). Name its region in backend.hcl if it is the bucket of the "
            f"state, or in terraform.tfvars if it is the environment's; a bucket itself cannot be moved"
        )
    if _THROTTLED.search(text):
        return Throttled(
            f"{what}: AWS asks to slow down ({said}). Wait some minutes, then run the same command: it goes on where "
            f"it stopped. If this comes back, ask for a higher quota (Service Quotas)"
        )
    if _DENIED.search(text):
        return AccessDenied(_denied(text, what, said))
    if _TAKEN.search(text):
        return NameTaken(
            f"{what}: the name is taken by something that Terraform does not know of ({said}). An interrupted apply "
            f"leaves this where AWS had answered too late. Make sure that it is nobody else's, remove it or take it in "
            f"(terraform import, with the address and the name above), then run the same command"
        )
    if found := _NO_BUCKET.search(text):
        name = found["bucket"] or "it needs"
        return StateBucketMissing(f"{what}: the bucket {name} does not exist ({said})")
    if _UNREACHABLE.search(text):
        return ServiceTrouble(
            f"{what}: AWS could not be reached or failed ({said}). Look at the network and at health.aws.amazon.com, "
            f"then run the same command: it goes on where it stopped"
        )
    return None


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what boto3, Arrow and the table port raise inside into a `DeployError` that says what to do."""
    try:
        yield
    except (NoCredentialsError, NoRegionError) as error:
        raise CredentialsMissing(_no_credentials(what)) from error
    except (TokenRetrievalError, SSOTokenLoadError, UnauthorizedSSOTokenError) as error:
        raise CredentialsExpired(
            f"{what}: {error}. Sign in again (aws sso login), then run the same command"
        ) from error
    except (EndpointConnectionError, ConnectTimeoutError, ReadTimeoutError) as error:
        raise ServiceTrouble(
            f"{what}: {error}. Look at the network, then run the same command: it goes on where it stopped"
        ) from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        found = explain(f"{error} StatusCode: {status}", what)
        raise (found or DeployError(f"{what}: {error}")) from error
    except (BotoCoreError, TableUnavailable) as error:
        raise (explain(str(error), what) or DeployError(f"{what}: {error}; run the same command again")) from error
    except OSError as error:
        # Arrow raises OSError for S3; a full disk of ours is one, too, and says so itself.
        raise (explain(str(error), what) or DeployError(f"{what}: {error}")) from error


def _no_credentials(what: str) -> str:
    return (
        f"{what}: no AWS credentials were found. Sign in (aws sso login, with AWS_PROFILE set), or put "
        f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the environment; nothing was changed"
    )


def _denied(text: str, what: str, said: str) -> str:
    action = _ACTION.search(text)
    if action:
        on = f" on {action['resource'].rstrip('.,')}" if action["resource"] else ""
        may = f"these credentials may not {action['action']}{on}"
    else:
        called = _OPERATION.search(text)
        name = called and (called["boto"] or called["sdk"] or called["arrow"])
        may = f"these credentials may not do {name}" if name else "AWS refuses these credentials"
    return (
        f"{what}: {may} ({said}). Let an administrator add it to the role that deploys, or use another profile "
        "(AWS_PROFILE); then run the same command: it goes on where it stopped"
    )


def _locked(text: str) -> str:
    lock = {name: found["value"] if (found := pattern.search(text)) else "unknown" for name, pattern in _LOCK.items()}
    return (
        f"another run holds the state of this environment: {lock['Who']}, {lock['Operation']}, since "
        f"{lock['Created']}. Wait for it to end. Only if that run is certainly dead, free the state with "
        f"`terraform -chdir=terraform/stack force-unlock {lock['ID']}`, then run the same command"
    )
