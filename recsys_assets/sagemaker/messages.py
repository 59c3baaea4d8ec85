"""Pipes messages of a job on S3: how its program writes them and in what order they are read back.

Put the layout of message objects and the writing end here. Keep the orchestrator's end
(``recsys_assets.sagemaker.session``) and what is told (``progress.py``) out.

A spot job starts its container anew after an interruption, with the same variables. dagster-pipes' own S3 writer then
counts from 1 again and overwrites what it wrote before, so each start of the program writes under a folder of its own:
``<prefix>/<UTC start>-<random>/<number>.json``, which sorts in the order of writing.
"""

import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Final

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    PipesBlobStoreMessageWriter,
    PipesBlobStoreMessageWriterChannel,
    PipesContext,
    PipesS3ContextLoader,
    decode_param,
    open_dagster_pipes,
)

BUCKET: Final = "bucket"
KEY: Final = "key"
KEY_PREFIX: Final = "key_prefix"
SECONDS_BETWEEN_UPLOADS: Final = 10.0


class S3MessageChannel(PipesBlobStoreMessageWriterChannel):
    """Uploads what was told in numbered objects under this start's own folder."""

    def __init__(self, client: Any, bucket: str, key_prefix: str, interval: float) -> None:
        super().__init__(interval=interval)
        self._client = client
        self._bucket = bucket
        self._folder = f"{key_prefix}/{start_name(datetime.now(UTC))}"

    def upload_messages_chunk(self, payload: IO[str], index: int) -> None:
        """Write one object."""
        key = f"{self._folder}/{index:08d}.json"
        self._client.put_object(Bucket=self._bucket, Key=key, Body=payload.read().encode())


class S3MessageWriter(PipesBlobStoreMessageWriter[S3MessageChannel]):
    """Writes messages under the prefix that the orchestrator names."""

    def __init__(self, client: Any, *, interval: float = SECONDS_BETWEEN_UPLOADS) -> None:
        super().__init__(interval=interval)
        self._client = client

    def make_channel(self, params: Mapping[str, Any]) -> S3MessageChannel:
        """The channel into ``params``' bucket and prefix."""
        return S3MessageChannel(self._client, params[BUCKET], params[KEY_PREFIX], self.interval)


def start_name(started: datetime) -> str:
    """Name of one start of a program: sorts by time, and differs between two starts within a microsecond."""
    return f"{started:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"


def start_of(key: str) -> str:
    """Which start of the program wrote the object ``key``."""
    return key.rsplit("/", 2)[-2]


def open_pipes(environment: Mapping[str, str] = os.environ) -> PipesContext:
    """The Dagster run that launched this program, over S3 where the launcher said so, over local files otherwise.

    Raises:
        botocore.exceptions.ClientError: the context on S3 cannot be read.
    """
    where = decode_param(environment[DAGSTER_PIPES_CONTEXT_ENV_VAR])
    if BUCKET not in where:
        return open_dagster_pipes()
    # Only jobs on AWS need boto3; the laptop's training does not wait for it.
    import boto3

    client = boto3.client("s3")
    return open_dagster_pipes(context_loader=PipesS3ContextLoader(client), message_writer=S3MessageWriter(client))
