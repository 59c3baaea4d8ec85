"""The shop page of an environment: its key, its data, and CloudFront told to fetch them anew.

Put here what the page needs beyond Terraform. Keep what its data holds in ``recsys_assets.publishing.storefront``.

The key is kept as a SecureString in the Parameter Store of the environment's account, under the account's own key
``alias/aws/ssm``: a deployment must read it again, and nothing else in the account may hold a plain one. Terraform
hands it to CloudFront and so keeps it in the state, which is encrypted and read by those who deploy.
"""

import time
from pathlib import Path
from typing import Any, Final

from lambda_api.state.api_keys import ApiKeys, create
from lambda_api.state.table import Table
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.explain import explained

KEY_NAME: Final = "shop page and recsys deploy"


def parameter_name(prefix: str) -> str:
    """Where the key of the environment is kept."""
    return f"/{prefix}/storefront-key"


def read_key(aws: Aws, prefix: str) -> str | None:
    """The key that was kept; ``None`` where there is none yet."""
    client = aws.client("ssm")
    with explained(f"reading the parameter {parameter_name(prefix)}"):
        try:
            found = client.get_parameter(Name=parameter_name(prefix), WithDecryption=True)
        except client.exceptions.ParameterNotFound:
            return None
        return str(found["Parameter"]["Value"])


def ensure_key(aws: Aws, prefix: str, keys: Table, kept: str | None) -> str:
    """``kept`` where it opens the shop, else a new key, which is kept from then on.

    A run that dies between making a key and keeping it leaves one that nobody knows, and that opens nothing to anybody.
    """
    with explained("looking at the key of the shop page"):
        identity = ApiKeys(keys).verify(kept, time.time())
    if kept and identity is not None and "shop" in identity.scopes:
        return kept
    with explained(f"making the key of the shop page and keeping it as {parameter_name(prefix)}"):
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
    """Remove the kept key; ``False`` where there was none."""
    client = aws.client("ssm")
    with explained(f"removing the parameter {parameter_name(prefix)}"):
        try:
            client.delete_parameter(Name=parameter_name(prefix))
        except client.exceptions.ParameterNotFound:
            return False
    return True


def upload_page_data(aws: Aws, files: tuple[Path, ...], bucket: str, distribution: str | None) -> int:
    """Put ``files`` under ``data/`` of the page's bucket, and have CloudFront forget the old ones; how many changed."""
    s3 = aws.client("s3")
    changed = 0
    for file in files:
        content = file.read_bytes()
        key = f"data/{file.name}"
        with explained(f"uploading {key} to {bucket}"):
            if _stored(s3, bucket, key) == content:
                continue
            s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="application/json", CacheControl="no-cache")
        changed += 1
    # Also where nothing changed: the run that uploaded it may have been stopped before this.
    if distribution:
        batch = {"Paths": {"Quantity": 1, "Items": ["/data/*"]}, "CallerReference": f"recsys-deploy-{time.time_ns()}"}
        with explained(f"having CloudFront forget the old data ({distribution})"):
            aws.client("cloudfront").create_invalidation(DistributionId=distribution, InvalidationBatch=batch)
    return changed


def _stored(s3: Any, bucket: str, key: str) -> bytes | None:
    try:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None
