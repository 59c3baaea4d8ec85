"""Dagster Pipes messages on S3, the program's end: layout of the objects and the writer.

A spot job restarts its container after an interruption with the same variables. dagster-pipes' own S3 writer would then
count from 1 again and overwrite its earlier messages, so each start of the program writes under a folder of its own:
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
    """Uploads messages as numbered objects under this start's own folder."""

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
    """Writes messages under the prefix given by the orchestrator."""

    def __init__(self, client: Any, *, interval: float = SECONDS_BETWEEN_UPLOADS) -> None:
        super().__init__(interval=interval)
        self._client = client

    def make_channel(self, params: Mapping[str, Any]) -> S3MessageChannel:
        """The channel into ``params``' bucket and prefix."""
        return S3MessageChannel(self._client, params[BUCKET], params[KEY_PREFIX], self.interval)


def start_name(started: datetime) -> str:
    """Unique name of one start of a program; names sort by time."""
    return f"{started:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"


def start_of(key: str) -> str:
    """The start of the program that wrote the object ``key``."""
    return key.rsplit("/", 2)[-2]


def open_pipes(environment: Mapping[str, str] = os.environ) -> PipesContext:
    """The Dagster run that launched this program, over S3 or local files as the launcher chose.

    Raises:
        botocore.exceptions.ClientError: the context on S3 cannot be read.
    """
    where = decode_param(environment[DAGSTER_PIPES_CONTEXT_ENV_VAR])
    if BUCKET not in where:
        return open_dagster_pipes()
    # Only jobs on AWS need boto3, which takes a tenth of a second to import.
    import boto3

    client = boto3.client("s3")
    return open_dagster_pipes(context_loader=PipesS3ContextLoader(client), message_writer=S3MessageWriter(client))
