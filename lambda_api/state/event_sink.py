"""Streams exposures and feedback to the lake: JSON lines in a folder, Amazon Data Firehose, or Amazon Kinesis.

Delivery is at least once: a failed ``emit`` may have delivered some records, and is repeated by the sender. Readers
take exposures by request id and feedback by event id, once each.
"""

import errno
import json
import logging
import os
import random
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from lambda_api.errors import RecsysError
from lambda_api.state.addressing import digest
from lambda_api.state.batches import batches

Kind = Literal["exposure", "feedback"]
KINDS: tuple[Kind, ...] = ("exposure", "feedback")

MAX_RECORDS = 500
"""Records per request, of Kinesis ``PutRecords`` and Firehose ``PutRecordBatch`` (their API references)."""
MAX_ATTEMPTS = 5
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
log = logging.getLogger(__name__)


class SinkUnavailable(RecsysError):
    """Some or all records were not delivered; emit them again."""


class SinkFull(SinkUnavailable):
    """The disk or a quota is full; nothing of this call was written."""


class EventSink(Protocol):
    """Takes event records. Records are plain dicts that JSON can hold, without NaN."""

    def emit(self, kind: Kind, records: Sequence[Mapping[str, Any]]) -> None:
        """Deliver ``records``; feedback is durable when this returns. Raises `SinkUnavailable`."""

    def close(self) -> None:
        """Close files and connections."""


class JsonLinesSink:
    """Appends to ``<folder>/<kind>/date=YYYY-MM-DD/<process>-<random>.jsonl`` (UTC days), one file per process and day.

    Every call is one append of whole lines; a partial append is cut off again. No other process writes to the file
    (process ids repeat between containers, hence the random part). A process killed within an append can leave one
    unfinished line at the end, which readers skip. Feedback is flushed to disk before a call returns;
    exposures are flushed by the operating system.

    Thread-safe; a forked child starts its own files.

    Args:
        folder: made on first use.
        clock: seconds since 1970 UTC; chooses the day.
    """

    def __init__(self, folder: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = Path(folder)
        self._clock = clock
        self._owner = 0
        self._reset_after_fork()

    def emit(self, kind: Kind, records: Sequence[Mapping[str, Any]]) -> None:
        """See `EventSink.emit`; one append, for feedback one flush. Raises `SinkFull` when the disk is full."""
        if not records:
            return
        content = b"".join(_line(record) for record in records)
        if self._owner != os.getpid():
            self._reset_after_fork()
        with self._lock:
            try:
                self._append(self._open(kind), content, durable=kind == "feedback")
            except OSError as error:
                self._forget(kind)
                full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
                raise (SinkFull if full else SinkUnavailable)(
                    f"{len(records)} {kind} records not written under {self.folder}: {error.strerror}"
                ) from error

    def close(self) -> None:
        """Close the files; further use opens new ones."""
        with self._lock:
            for kind in list(self._files):
                self._forget(kind)

    def _reset_after_fork(self) -> None:
        # In a forked child the lock may be held by a thread of the parent, and the files are the parent's.
        self._lock = threading.Lock()
        self._files: dict[Kind, tuple[str, int]] = {}
        self._owner = os.getpid()
        self._name = f"{self._owner}-{secrets.token_hex(4)}.jsonl"

    def _open(self, kind: Kind) -> int:
        day = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
        opened = self._files.get(kind)
        if opened is not None and opened[0] == day and os.fstat(opened[1]).st_nlink:
            return opened[1]  # the link count is zero for a removed file
        self._forget(kind)
        folder = self.folder / kind / f"date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / self._name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._files[kind] = (day, file)
        _flush_folder(folder)  # otherwise a power failure could lose the file's name and so its content
        return file

    def _append(self, file: int, content: bytes, *, durable: bool) -> None:
        before = os.fstat(file).st_size
        try:
            written = os.write(file, content)
            while written < len(content):  # a nearly full disk writes a part and fails at the next call
                written += os.write(file, content[written:])
            if durable:
                os.fsync(file)
        except OSError:
            os.ftruncate(file, before)
            raise

    def _forget(self, kind: Kind) -> None:
        opened = self._files.pop(kind, None)
        if opened is not None:
            os.close(opened[1])


class BatchSink(ABC):
    """Sends records in batches to a service of AWS: one JSON line each, ``{"kind": ..., ...record}``.

    The services may accept some records of a batch and refuse others; the refused ones are sent again, with full
    jitter, up to `MAX_ATTEMPTS` times in all. A repetition may reorder records, so readers sort by time.

    Args:
        stream: name of the stream.
        client: a client of boto3 with short time limits; thread-safe, may be shared.
        sleep, jitter: pause of so many seconds, and a draw from [0, 1): injectable for tests.
    """

    service: ClassVar[str]
    max_record_bytes: ClassVar[int]
    max_request_bytes: ClassVar[int]

    def __init__(
        self,
        stream: str,
        client: Any,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.stream = stream
        self._client = client
        self._sleep = sleep
        self._jitter = jitter

    def emit(self, kind: Kind, records: Sequence[Mapping[str, Any]]) -> None:
        """See `EventSink.emit`. Raises ``ValueError`` for a record over the service's limit; none is sent then."""
        sized = []
        for record in records:
            entry = self._entry(_line({"kind": kind, **record}), record)
            size = sum(map(len, entry.values()))
            if size > self.max_record_bytes:
                raise ValueError(f"{kind} record of {size} bytes; {self.service} accepts {self.max_record_bytes}")
            sized.append(([entry], size))
        for request in batches(sized, MAX_RECORDS, self.max_request_bytes):
            self._put(request)

    def close(self) -> None:  # noqa: B027 - nothing to close
        """See `EventSink.close`."""

    @abstractmethod
    def _entry(self, line: bytes, record: Mapping[str, Any]) -> dict[str, Any]:
        """The entry of one record in a request."""

    @abstractmethod
    def _send(self, entries: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """One request; returns the service's answer to each entry."""

    def _put(self, records: list[dict[str, Any]]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        left, reason = records, ""
        for attempt in range(MAX_ATTEMPTS):
            try:
                answers = self._send(left)
            except ClientError as error:
                reason = str(error)
                if error.response["Error"]["Code"] not in _PASSING_ERRORS:
                    break
            except BotoCoreError as error:
                reason = str(error)  # unreachable; the client has retried it already
                break
            else:
                refused = [(sent, got) for sent, got in zip(left, answers, strict=True) if got.get("ErrorCode")]
                if not refused:
                    return
                left = [sent for sent, _ in refused]
                reason = f"{refused[0][1]['ErrorCode']}: {refused[0][1].get('ErrorMessage', '')}"
            if attempt + 1 < MAX_ATTEMPTS:
                self._sleep(self._jitter() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt))
        raise SinkUnavailable(
            f"{self.service} stream {self.stream!r} did not take {len(left)} of {len(records)}: {reason}"
        )


class KinesisSink(BatchSink):
    """Puts records into a Kinesis stream. Records of one user share a partition key, and so a shard."""

    service = "Kinesis"
    max_record_bytes = 1024 * 1024
    max_request_bytes = 5 * 1024 * 1024

    def _entry(self, line: bytes, record: Mapping[str, Any]) -> dict[str, Any]:
        return {"Data": line, "PartitionKey": digest(str(record.get("user_id", "")))}

    def _send(self, entries: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        return self._client.put_records(StreamName=self.stream, Records=entries)["Records"]


class FirehoseSink(BatchSink):
    """Puts records into a delivery stream of Amazon Data Firehose, which writes them to the lake."""

    service = "Firehose"
    max_record_bytes = 1000 * 1024
    max_request_bytes = 4 * 1024 * 1024

    def _entry(self, line: bytes, record: Mapping[str, Any]) -> dict[str, Any]:
        return {"Data": line}

    def _send(self, entries: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        answer = self._client.put_record_batch(DeliveryStreamName=self.stream, Records=entries)
        return answer["RequestResponses"]


_PASSING_ERRORS = frozenset(
    {
        "InternalFailure",
        "KMSThrottlingException",
        "ProvisionedThroughputExceededException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)


def _line(record: Mapping[str, Any]) -> bytes:
    # ASCII with escapes, because some readers take Unicode line separators for ends of lines.
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
