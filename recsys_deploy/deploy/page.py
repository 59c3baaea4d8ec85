"""The shop page of an environment: its API key, its files, and the invalidation of CloudFront's cache.

The key is a SecureString in the Parameter Store, encrypted with the account's key ``alias/aws/ssm``, because every
deployment reads it again. Terraform passes it to CloudFront and therefore keeps it in the state, which is encrypted.
The contents of ``data/`` are made by ``recsys_assets.publishing.storefront``.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from lambda_api.settings import Settings
from lambda_api.state.api_keys import ApiKeys, create, list_keys
from lambda_api.state.table import Table
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import DeployError, translated
from recsys_deploy.up import CONFIG_JSON, page_config

KEY_NAME: Final = "shop page and recsys deploy"
FOLDER: Final = "storefront"
INDEX: Final = "index.html"
DATA: Final = "data/"

CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
"""Of the page's files; files with another suffix are not part of it."""


def parameter_name(prefix: str) -> str:
    """Name of the environment's key in the Parameter Store."""
    return f"/{prefix}/storefront-key"


def read_key(aws: Aws, prefix: str) -> str | None:
    """The stored key; ``None`` where there is none yet."""
    client = aws.client("ssm")
    with translated(f"reading the parameter {parameter_name(prefix)}"):
        try:
            found = client.get_parameter(Name=parameter_name(prefix), WithDecryption=True)
        except client.exceptions.ParameterNotFound:
            return None
        return str(found["Parameter"]["Value"])


def ensure_key(aws: Aws, prefix: str, keys: Table, key: str) -> str:
    """The stored key of scope shop: ``key`` unless it was revoked or has another scope, else a new one.

    Args:
        keys: the table of keys.
        key: the stored key, or a new one that neither the Parameter Store nor the table has yet.
    """
    with translated("checking the key of the shop page"):
        identity = ApiKeys(keys).verify(key, time.time())
        if identity is not None and "shop" in identity.scopes:
            return store_key(aws, prefix, key)
        known = any(stored.key_id in key.split("_") for stored in list_keys(keys))
        return store_key(aws, prefix, create(keys, KEY_NAME, {"shop"}, key=None if known else key))


def store_key(aws: Aws, prefix: str, key: str) -> str:
    """Keep ``key`` in the Parameter Store, and return it."""
    if read_key(aws, prefix) != key:
        with translated(f"storing the key of the shop page as {parameter_name(prefix)}"):
            aws.client("ssm").put_parameter(
                Name=parameter_name(prefix),
                Value=key,
                Type="SecureString",
                Overwrite=True,
                Description="API key that CloudFront adds to the shop page's requests",
            )
    return key


def forget_key(aws: Aws, prefix: str) -> bool:
    """Remove the stored key; ``False`` where there was none."""
    client = aws.client("ssm")
    with translated(f"removing the parameter {parameter_name(prefix)}"):
        try:
            client.delete_parameter(Name=parameter_name(prefix))
        except client.exceptions.ParameterNotFound:
            return False
    return True


def page_files(folder: Path) -> dict[str, bytes]:
    """Files of the page by their place in the bucket: those with a type of `CONTENT_TYPES`.

    ``data/`` is left out: it is published from the lake, and a key on a developer's disk must not travel along.

    Raises:
        DeployError: there is no page.
    """
    if not (folder / INDEX).is_file():
        raise DeployError(f"{folder / INDEX} is missing", remedy="deploy from a complete checkout")
    found = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {
        name: file.read_bytes()
        for name, file in found.items()
        if file.suffix in CONTENT_TYPES and not name.startswith(DATA)
    }


def config_file(settings: Settings) -> dict[str, bytes]:
    """The page's configuration without a key: CloudFront adds it to requests, and no browser ever sees it."""
    return {f"{DATA}{CONFIG_JSON}": json.dumps(page_config(settings, "")).encode()}


def upload(aws: Aws, files: Mapping[str, bytes], bucket: str, *, remove: bool = False) -> int:
    """Upload what changed; returns how many files changed.

    Args:
        files: content by place in the bucket.
        bucket: of the page, encrypted with S3's own key, so that an object's ETag is the MD5 of its content.
        remove: also remove objects outside of ``data/`` that are not among ``files``.
    """
    s3 = aws.client("s3")
    with translated(f"listing {bucket}"):
        pages: Any = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        stored = {one["Key"]: one["ETag"].strip('"') for page in pages for one in page.get("Contents", ())}
    changed = {
        name: content
        for name, content in files.items()
        if stored.get(name) != hashlib.md5(content, usedforsecurity=False).hexdigest()
    }
    old = [name for name in stored if remove and name not in files and not name.startswith(DATA)]
    # index.html names the other files, so it comes last.
    for name in sorted(changed, key=lambda name: (name == INDEX, name)):
        kind = CONTENT_TYPES[PurePosixPath(name).suffix]
        with translated(f"uploading {name} to {bucket}"):
            s3.put_object(Bucket=bucket, Key=name, Body=changed[name], ContentType=kind, CacheControl="no-cache")
    for name in old:
        with translated(f"removing {name} from {bucket}"):
            s3.delete_object(Bucket=bucket, Key=name)
    return len(changed) + len(old)


def invalidate(aws: Aws, distribution: str) -> None:
    """Let CloudFront fetch everything anew."""
    batch = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": f"recsys-deploy-{time.time_ns()}"}
    with translated(f"invalidating the page in CloudFront ({distribution})"):
        aws.client("cloudfront").create_invalidation(DistributionId=distribution, InvalidationBatch=batch)
