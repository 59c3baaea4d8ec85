"""Queue of questions for the shadow model, asked after the reply; in a table or on Amazon SQS.

The queue is bounded. When it is full, new messages are refused and counted in ``refused``: shadow traffic is a sample,
and removing the oldest instead could delete a message in work. Delivery is at least once: a message that is not
acknowledged within its visibility time is delivered again, three times in all, and then dropped. Messages expire after
an hour. The consumer is ``lambda_api.handlers.shadow``.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lambda_api.state.addressing import check_text, digest
from lambda_api.state.routing_record import RouteTarget
from lambda_api.state.table import ConditionFailed, Delete, Key, Matches, Put, Record, Table

CAPACITY = 1_000
LIFETIME_S = 3_600
MAX_DELIVERIES = 3
COUNT_EVERY_S = 1.0
SQS_COUNT_EVERY_S = 10.0
MAX_SQS_BYTES = 256 * 1024
"""Message size that every SQS queue accepts."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShadowMessage:
    """A question for the shadow model.

    Attributes:
        request_id: of the shopper's request, to compare with its exposure.
        question: `lambda_api.serving.question.Question` as JSON.
        target: the model that is to answer.
        enqueued_at: seconds since 1970 UTC.
        receipt: identifies this delivery for ``ack``.
        deliveries: including this one.
    """

    request_id: str
    question: dict[str, Any]
    target: RouteTarget
    enqueued_at: int
    receipt: str
    deliveries: int


class ShadowQueue(Protocol):
    """Port of both adapters; ``refused`` counts messages of this process that were refused, for metrics."""

    refused: int

    def enqueue(self, question_json: Mapping[str, Any], target: RouteTarget, request_id: str) -> bool:
        """Add a message; ``False``: the queue is full or the message too large."""

    def receive(self, max_messages: int = 10, visibility_s: int = 60) -> list[ShadowMessage]:
        """Up to ``max_messages``, oldest first, hidden from other consumers for ``visibility_s``; may be empty."""

    def ack(self, message: ShadowMessage) -> bool:
        """Remove an answered message; ``False``: too late, it has been delivered again."""


class _Backlog:
    """Number of waiting messages, counted at intervals and incremented for each message in between."""

    def __init__(self, count: Callable[[], int], every_s: float, clock: Callable[[], float]) -> None:
        self._count, self._every_s, self._clock = count, every_s, clock
        self._lock = threading.Lock()
        self._known = 0
        self._counted_at: float | None = None

    def take_place(self, capacity: int) -> bool:
        now = self._clock()
        with self._lock:
            due = self._counted_at is None or not 0 <= now - self._counted_at < self._every_s
            if due:
                self._counted_at = now  # set before counting, so that one caller counts and the others do not wait
        if due:
            counted = self._count()
            with self._lock:
                self._known = counted
        with self._lock:
            if self._known >= capacity:
                return False
            self._known += 1
            return True


class TableShadowQueue:
    """The queue in a table of its own (``shadow_queue``).

    Two records per message, so that polling does not read questions: ``queue/<ms>#<digest>`` with the delivery state,
    and ``body#<digest>/message``. The backlog is counted at most once a second per process, so several processes
    together may exceed ``capacity`` by what they add within a second.

    Raises `lambda_api.state.table.TableUnavailable` from every method.

    Args:
        table: the table port.
        capacity: messages it holds.
        clock: seconds since 1970 UTC.
    """

    def __init__(self, table: Table, *, capacity: int = CAPACITY, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._capacity = capacity
        self._clock = clock
        self._backlog = _Backlog(self._count, COUNT_EVERY_S, clock)
        self.refused = 0

    def enqueue(self, question_json: Mapping[str, Any], target: RouteTarget, request_id: str) -> bool:
        """See `ShadowQueue.enqueue`; one transaction. Raises ``ValueError`` on an empty request id."""
        check_text("request_id", request_id)
        if not self._backlog.take_place(self._capacity):
            self.refused += 1
            return False
        now = self._clock()
        expires_at = int(now) + LIFETIME_S
        name = digest(f"{request_id}\x1f{secrets.token_hex(8)}")[:32]
        body = {"request_id": request_id, "question": dict(question_json), "target": target.to_json()}
        entry = {"enqueued_at": int(now), "visible_at": 0, "deliveries": 0, "receipt": ""}
        self._table.write(
            [
                Put(Key("queue", f"{int(now * 1000):014d}#{name}"), entry, expires_at=expires_at),
                Put(Key(f"body#{name}", "message"), body, expires_at=expires_at),
            ]
        )
        return True

    def receive(self, max_messages: int = 10, visibility_s: int = 60) -> list[ShadowMessage]:
        """See `ShadowQueue.receive`. Consumers claim messages by compare-and-swap."""
        messages: list[ShadowMessage] = []
        now = int(self._clock())
        for entry in self._table.query("queue"):
            if len(messages) == max_messages:
                break
            if entry.attributes["visible_at"] > now:
                continue
            if (message := self._claim(entry, now + visibility_s)) is not None:
                messages.append(message)
        return messages

    def ack(self, message: ShadowMessage) -> bool:
        """See `ShadowQueue.ack`."""
        sort, _, receipt = message.receipt.partition("|")
        return self._delete(Key("queue", sort), {"receipt": receipt})

    def _claim(self, entry: Record, visible_at: int) -> ShadowMessage | None:
        found = entry.attributes
        body = self._table.get(self._body_of(entry.key))
        if found["deliveries"] >= MAX_DELIVERIES or body is None:
            log.warning("shadow message %s given up after %s deliveries", entry.key.sort, found["deliveries"])
            self._delete(entry.key, found)
            return None
        receipt = secrets.token_hex(8)
        claimed = {**found, "visible_at": visible_at, "deliveries": found["deliveries"] + 1, "receipt": receipt}
        expires_at = found["enqueued_at"] + LIFETIME_S
        try:
            self._table.write([Put(entry.key, claimed, condition=Matches(found), expires_at=expires_at)])
        except ConditionFailed:
            return None  # claimed by another consumer
        return ShadowMessage(
            request_id=body.attributes["request_id"],
            question=body.attributes["question"],
            target=RouteTarget.from_json(body.attributes["target"]),
            enqueued_at=found["enqueued_at"],
            receipt=f"{entry.key.sort}|{receipt}",
            deliveries=claimed["deliveries"],
        )

    def _delete(self, key: Key, expected: Mapping[str, Any]) -> bool:
        try:
            self._table.write([Delete(key, condition=Matches(expected)), Delete(self._body_of(key))])
        except ConditionFailed:
            return False
        return True

    def _count(self) -> int:
        return len(self._table.query("queue", limit=self._capacity))

    @staticmethod
    def _body_of(key: Key) -> Key:
        return Key(f"body#{key.sort.partition('#')[2]}", "message")


def read_message(body: str, *, receipt: str, deliveries: int) -> ShadowMessage:
    """The message in an SQS body of `SqsShadowQueue`. Raises ``ValueError`` if it is invalid."""
    try:
        fields = json.loads(body)
        question, enqueued_at, request_id = fields["question"], fields["enqueued_at"], fields["request_id"]
        if not isinstance(question, dict) or type(enqueued_at) is not int:
            raise ValueError("question must be an object and enqueued_at whole seconds")
        check_text("request_id", request_id)
        target = RouteTarget.from_json(fields["target"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a shadow message: {type(error).__name__}: {error}") from error
    return ShadowMessage(request_id, question, target, enqueued_at, receipt, deliveries)


class SqsShadowQueue:
    """The queue on Amazon SQS (a standard queue; its retention should be `LIFETIME_S`).

    The bound is approximate: ``ApproximateNumberOfMessages`` is read every ten seconds. Messages over 256 KB are
    refused. Unreadable messages, and those delivered three times, are deleted and logged.

    Raises botocore's exceptions from every method.

    Args:
        queue_url: of the queue.
        client: a ``boto3.client("sqs")``; thread-safe, may be shared.
        capacity: messages waiting, about.
        clock: seconds since 1970 UTC.
    """

    def __init__(
        self, queue_url: str, client: Any, *, capacity: int = CAPACITY, clock: Callable[[], float] = time.time
    ) -> None:
        self._queue_url = queue_url
        self._client = client
        self._capacity = capacity
        self._clock = clock
        self._backlog = _Backlog(self._count, SQS_COUNT_EVERY_S, clock)
        self.refused = 0

    def enqueue(self, question_json: Mapping[str, Any], target: RouteTarget, request_id: str) -> bool:
        """See `ShadowQueue.enqueue`. Raises ``ValueError`` on an empty request id."""
        check_text("request_id", request_id)
        message = {
            "request_id": request_id,
            "question": dict(question_json),
            "target": target.to_json(),
            "enqueued_at": int(self._clock()),
        }
        body = json.dumps(message, allow_nan=False, separators=(",", ":"))
        if len(body) > MAX_SQS_BYTES or not self._backlog.take_place(self._capacity):
            self.refused += 1
            return False
        self._client.send_message(QueueUrl=self._queue_url, MessageBody=body)
        return True

    def receive(self, max_messages: int = 10, visibility_s: int = 60) -> list[ShadowMessage]:
        """See `ShadowQueue.receive`; at most ten at a time, in any order, as standard queues have none."""
        response = self._client.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=min(10, max_messages),
            VisibilityTimeout=visibility_s,
            AttributeNames=["ApproximateReceiveCount"],
        )
        messages = [self._read(received) for received in response.get("Messages", ())]
        return [message for message in messages if message is not None]

    def ack(self, message: ShadowMessage) -> bool:
        """See `ShadowQueue.ack`; always ``True``, because SQS does not report late acknowledgements."""
        self._client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message.receipt)
        return True

    def _read(self, received: Mapping[str, Any]) -> ShadowMessage | None:
        deliveries = int(received["Attributes"]["ApproximateReceiveCount"])
        receipt = received["ReceiptHandle"]
        try:
            if deliveries > MAX_DELIVERIES:
                raise ValueError(f"delivered {deliveries} times")
            return read_message(received["Body"], receipt=receipt, deliveries=deliveries)
        except ValueError as error:
            log.warning("shadow message %s given up: %s", received.get("MessageId"), error)
            self._client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=receipt)
            return None

    def _count(self) -> int:
        name = "ApproximateNumberOfMessages"
        found = self._client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=[name])
        return int(found["Attributes"][name])
