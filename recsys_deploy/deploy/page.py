"""The shop page of an environment: its API key, its data files, and the invalidation of CloudFront's cache.

The key is a SecureString in the Parameter Store, encrypted with the account's key ``alias/aws/ssm``, because every
deployment reads it again. Terraform passes it to CloudFront and therefore keeps it in the state, which is encrypted.
The contents of the data files are made by ``recsys_assets.publishing.storefront``.
"""

import time
from pathlib import Path
from typing import Any, Final

from lambda_api.state.api_keys import ApiKeys, create
from lambda_api.state.table import Table
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import translated

KEY_NAME: Final = "shop page and recsys deploy"


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


def ensure_key(aws: Aws, prefix: str, keys: Table, kept: str | None) -> str:
    """``kept`` if it is a valid key of scope shop, else a new key, which is stored.

    A run that dies between creating and storing a key leaves an unused one, whose secret nobody has.
    """
    with translated("checking the key of the shop page"):
        identity = ApiKeys(keys).verify(kept, time.time())
    if kept and identity is not None and "shop" in identity.scopes:
        return kept
    with translated(f"storing the key of the shop page as {parameter_name(prefix)}"):
        key = create(keys, KEY_NAME, {"shop"})
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


def upload_page_data(aws: Aws, files: tuple[Path, ...], bucket: str, distribution: str | None) -> int:
    """Upload ``files`` to ``data/`` of the page's bucket and invalidate CloudFront's cache; how many changed."""
    s3 = aws.client("s3")
    changed = 0
    for file in files:
        content = file.read_bytes()
        key = f"data/{file.name}"
        with translated(f"uploading {key} to {bucket}"):
            if _stored(s3, bucket, key) == content:
                continue
            s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="application/json", CacheControl="no-cache")
        changed += 1
    # Also where nothing changed: an earlier run may have been stopped between upload and invalidation.
    if distribution:
        batch = {"Paths": {"Quantity": 1, "Items": ["/data/*"]}, "CallerReference": f"recsys-deploy-{time.time_ns()}"}
        with translated(f"invalidating the data in CloudFront ({distribution})"):
            aws.client("cloudfront").create_invalidation(DistributionId=distribution, InvalidationBatch=batch)
    return changed


def _stored(s3: Any, bucket: str, key: str) -> bytes | None:
    try:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None
