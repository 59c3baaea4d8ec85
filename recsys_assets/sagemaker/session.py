"""Dagster Pipes over S3, the orchestrator's end: writes the context, lists and forwards messages.

dagster-aws has both ends as well, but its reader polls numbered objects from a thread and loses the messages of a
restarted container. Ours lists objects, is called by the client between two looks at the job, and reads from the
beginning when it is attached to a job that is already running.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesContextData

from recsys_assets.sagemaker.messages import BUCKET, KEY, KEY_PREFIX, start_of

_AT_ONCE = ("opened", "log", "log_external_stream")
"""Messages forwarded at once. Results and the end of a start are forwarded only if no later start follows."""


@dataclass(frozen=True)
class S3ContextInjector(dg.PipesContextInjector):
    """Writes the context to ``s3://bucket/<prefix>/context.json``, where it stays for a container that restarts."""

    client: Any
    bucket: str
    prefix: str

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[dict[str, Any]]:
        """See `PipesContextInjector`."""
        key = f"{self.prefix}/context.json"
        self.client.put_object(Bucket=self.bucket, Key=key, Body=json.dumps(context_data).encode())
        yield {BUCKET: self.bucket, KEY: key}

    def no_messages_debug_text(self) -> str:
        """See `PipesContextInjector`."""
        return f"Context was written to s3://{self.bucket}/{self.prefix}/context.json."


@dataclass
class S3MessageReader(dg.PipesMessageReader):
    """Forwards the messages under ``s3://bucket/<prefix>/messages/`` whenever `drain` is called. For one session."""

    client: Any
    bucket: str
    prefix: str
    _handler: dg.PipesMessageHandler | None = None
    _last_key: str = ""
    _held: dict[str, list[Any]] = field(default_factory=dict)

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[dict[str, Any]]:
        """See `PipesMessageReader`."""
        self._handler = handler
        yield {BUCKET: self.bucket, KEY_PREFIX: self._folder}

    def no_messages_debug_text(self) -> str:
        """See `PipesMessageReader`."""
        return f"Messages were looked for under s3://{self.bucket}/{self._folder}/."

    def drain(self, *, ended: bool = False) -> None:
        """Forward new messages; with ``ended`` also the results and the end of the program's last start.

        Raises:
            botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: S3 did not answer; call again.
        """
        for key in self._new_keys():
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            for line in body.decode().splitlines():
                self._receive(key, line)
            self._last_key = key
        if ended and self._held:
            for message in self._held.pop(max(self._held)):
                self._forward(message)
            self._held.clear()

    @property
    def _folder(self) -> str:
        return f"{self.prefix}/messages"

    def _new_keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self._folder}/", StartAfter=self._last_key
        )
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def _receive(self, key: str, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return  # not of the protocol; as dagster's own readers
        if not isinstance(message, dict) or PIPES_PROTOCOL_VERSION_FIELD not in message:
            return
        held = self._held.setdefault(start_of(key), [])
        if message["method"] in _AT_ONCE:
            self._forward(message)
        else:
            held.append(message)

    def _forward(self, message: Any) -> None:
        assert self._handler is not None  # a session opens before anybody drains
        self._handler.handle_message(message)
