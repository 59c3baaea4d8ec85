"""AWS clients of one region, and the same region and credentials for other libraries of this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import boto3
from botocore.config import Config

from recsys_deploy.deploy.errors import DeployError, translated

_RETRIES: Final = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=60)


class Aws:
    """AWS in one region, with the credentials that boto3 finds. Clients retry transient errors up to five times."""

    def __init__(self, region: str) -> None:
        self.region = region
        # Any: boto3's typed overloads take literals, and a name is not one.
        self._session: Any = boto3.Session(region_name=region)
        self._clients: dict[tuple[str, str], Any] = {}
        self._given = dict(os.environ)

    def client(self, service: str, region: str | None = None) -> Any:
        """A client of ``service``, in this region or another."""
        key = (service, region or self.region)
        if key not in self._clients:
            self._clients[key] = self._session.client(service, region_name=key[1], config=_RETRIES)
        return self._clients[key]

    def account(self) -> str:
        """Number of the credentials' account. Raises ``AwsCallFailed`` where AWS refuses them."""
        with translated("sts:GetCallerIdentity"):
            return str(self.client("sts").get_caller_identity()["Account"])

    def expiry(self) -> datetime | None:
        """When the credentials end for good or have to be refreshed; ``None``: not known, or never."""
        found = self._session.get_credentials()
        expiry: datetime | None = getattr(found, "_expiry_time", None)
        stated = self._given.get("AWS_CREDENTIAL_EXPIRATION")
        return expiry or (datetime.fromisoformat(stated) if stated else None)

    def environment(self) -> dict[str, str]:
        """Variables for a child process that finds and refreshes credentials itself, as Terraform's provider does.

        Credentials that were copied into variables cannot be refreshed, and an apply may outlast them.
        """
        return {**self._given, "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}

    def refresh(self) -> None:
        """Inside `shared`: copy the credentials into the variables again, refreshed by boto3 if necessary."""
        with translated("refreshing AWS credentials"):
            frozen = self._session.get_credentials().get_frozen_credentials()
        _set(_variables(self.region, frozen))

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Set this process's variables to this region and these credentials while inside.

        The table port opens its own client, and Arrow's S3 client knows fewer sources of credentials than boto3 (no
        single sign-on).

        Raises:
            DeployError: boto3 finds no credentials.
        """
        with translated("reading AWS credentials"):
            found = self._session.get_credentials()
            frozen = None if found is None else found.get_frozen_credentials()
        if frozen is None:
            raise DeployError(
                "no AWS credentials were found",
                remedy="sign in (aws sso login, with AWS_PROFILE set), or set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY; nothing was changed",
            )
        given = _variables(self.region, frozen)
        before = {name: os.environ.get(name) for name in given}
        try:
            _set(given)
            yield
        finally:
            _set(before)


def _variables(region: str, frozen: Any) -> dict[str, str | None]:
    return {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": frozen.access_key,
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
        "AWS_SESSION_TOKEN": frozen.token,
    }


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
