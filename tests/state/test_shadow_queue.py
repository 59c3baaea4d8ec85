"""One suite for both queues (a table of each adapter, SQS), and what only one of them can get wrong."""

import json
import multiprocessing
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from lambda_api.state.routing_record import RouteTarget
from lambda_api.state.shadow_queue import (
    LIFETIME_S,
    MAX_DELIVERIES,
    SQS_COUNT_EVERY_S,
    ShadowQueue,
    SqsShadowQueue,
    TableShadowQueue,
)
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Table
from tests.patience import PATIENCE_S
from tests.state.tables import ODD_IDS, Clock, CountingTable, fake_dynamodb, open_adapter

TARGET = RouteTarget("v2", "s3://models/v2", "c" * 64, endpoint="shadow")
QUESTION = {"user_id": "u", "events": [["p", 0, 1]], "k": 10, "context": {"page": "homepage"}}

Opening = Callable[..., ShadowQueue]


@pytest.fixture(params=["sqlite", "dynamodb", "sqs"])
def opening(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Opening]:
    """Opens one empty queue; again: another consumer of the same."""
    with fake_dynamodb() as dynamodb:
        if request.param == "sqs":
            client: Any = boto3.client("sqs")
            url = client.create_queue(QueueName=f"shadow-{uuid.uuid4().hex}")["QueueUrl"]
            yield lambda **given: SqsShadowQueue(url, client, clock=clock, **given)
        else:
            with open_adapter(request.param, tmp_path, dynamodb, clock) as table:
                yield lambda **given: TableShadowQueue(table, clock=clock, **given)


def test_questions_arrive_as_they_were_sent(opening: Opening, clock: Clock) -> None:
    queue = opening()
    assert queue.receive() == []
    assert queue.enqueue(QUESTION, TARGET, "r-1")
    (message,) = queue.receive()
    assert (message.request_id, message.question, message.target) == ("r-1", QUESTION, TARGET)
    assert (message.enqueued_at, message.deliveries) == (int(clock.now), 1)
    assert queue.ack(message)
    assert queue.receive() == []


def test_each_message_goes_to_one_consumer_until_it_is_visible_again(opening: Opening, clock: Clock) -> None:
    queue, other = opening(), opening()
    for n in range(15):
        queue.enqueue({"n": n}, TARGET, f"r-{n}")
    first, second = queue.receive(10), other.receive(10)
    assert len(first) == 10
    assert sorted(m.question["n"] for m in first + second) == list(range(15))
    assert queue.receive() == []
    assert all(queue.ack(message) for message in first)
    assert queue.receive() == []


def test_any_request_id_will_do(opening: Opening) -> None:
    queue = opening()
    for odd in ODD_IDS:
        assert queue.enqueue({"user_id": odd}, TARGET, odd)
    found = []
    while messages := queue.receive():
        found += messages
    assert sorted(m.request_id for m in found) == sorted(ODD_IDS)
    with pytest.raises(ValueError, match="request_id must be"):
        queue.enqueue(QUESTION, TARGET, "")


def test_a_full_queue_refuses_the_newest_and_counts(opening: Opening, clock: Clock) -> None:
    queue = opening(capacity=5)
    taken = [queue.enqueue({"n": n}, TARGET, f"r-{n}") for n in range(8)]
    assert taken == [True] * 5 + [False] * 3
    assert queue.refused == 3
    messages = queue.receive()
    assert sorted(m.question["n"] for m in messages) == [0, 1, 2, 3, 4]
    for message in messages:
        queue.ack(message)
    clock.now += SQS_COUNT_EVERY_S
    assert queue.enqueue(QUESTION, TARGET, "r-9")
    other = opening(capacity=1)
    assert not other.enqueue(QUESTION, TARGET, "r-10")  # another process sees what is waiting


@pytest.fixture(params=["sqlite", "dynamodb"])
def shadow_table(
    request: pytest.FixtureRequest, tmp_path: Path, dynamodb: DynamoDBClient, clock: Clock
) -> Iterator[Table]:
    with open_adapter(request.param, tmp_path, dynamodb, clock) as table:
        yield table


def test_unacknowledged_messages_come_again_and_are_given_up_in_the_end(shadow_table: Table, clock: Clock) -> None:
    queue = TableShadowQueue(shadow_table, clock=clock)
    queue.enqueue(QUESTION, TARGET, "r-1")
    late = []
    for delivery in range(1, MAX_DELIVERIES + 1):
        (message,) = queue.receive(visibility_s=60)
        assert message.deliveries == delivery
        late.append(message)
        clock.now += 59
        assert queue.receive() == []
        clock.now += 1
    assert not queue.ack(late[0])  # its time was over; somebody else may have it
    assert queue.receive() == []
    assert shadow_table.query("queue") == []


def test_the_oldest_comes_first_and_what_is_too_old_not_at_all(shadow_table: Table, clock: Clock) -> None:
    queue = TableShadowQueue(shadow_table, clock=clock, capacity=3)
    for n in range(3):
        queue.enqueue({"n": n}, TARGET, f"r-{n}")
        clock.now += 100
    assert [m.question["n"] for m in queue.receive(2, visibility_s=5)] == [0, 1]
    clock.now += LIFETIME_S - 301
    assert [m.question["n"] for m in queue.receive()] == [0, 1, 2]
    clock.now += LIFETIME_S
    assert queue.enqueue(QUESTION, TARGET, "r-4")  # without any consumer the queue empties itself
    assert [m.request_id for m in queue.receive()] == ["r-4"]


def test_counting_does_not_cost_every_message(shadow_table: Table, clock: Clock) -> None:
    counting = CountingTable(shadow_table)
    queue = TableShadowQueue(counting, clock=clock)
    for n in range(50):
        queue.enqueue(QUESTION, TARGET, f"r-{n}")
    assert Counter(counting.calls) == {"query": 1, "write": 50}


def _consume(path: Path, results: Any) -> None:
    queue = TableShadowQueue(SqliteTable(path, "shadow_queue"))
    seen: list[int] = []
    idle = 0
    while idle < 20:
        messages = queue.receive(5)
        idle = 0 if messages else idle + 1
        for message in messages:
            seen.append(message.question["n"])
            assert queue.ack(message)
        time.sleep(0.005)
    results.put(seen)


def test_racing_consumers_share_the_work(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    consumers = [context.Process(target=_consume, args=(path, results)) for _ in range(3)]
    queue = TableShadowQueue(SqliteTable(path, "shadow_queue"))
    for n in range(30):
        queue.enqueue({"n": n}, TARGET, f"r-{n}")
    for consumer in consumers:
        consumer.start()
    for n in range(30, 60):
        queue.enqueue({"n": n}, TARGET, f"r-{n}")
    seen = [results.get(timeout=PATIENCE_S) for _ in consumers]
    for consumer in consumers:
        consumer.join(30)
    assert Counter(n for numbers in seen for n in numbers) == Counter(range(60))
    assert sum(bool(numbers) for numbers in seen) > 1


@pytest.fixture
def sqs() -> Iterator[tuple[Any, str]]:
    with fake_dynamodb():
        client: Any = boto3.client("sqs")
        yield client, client.create_queue(QueueName=f"shadow-{uuid.uuid4().hex}")["QueueUrl"]


def test_sqs_delivers_again_and_gives_up(sqs: tuple[Any, str]) -> None:
    client, url = sqs
    queue = SqsShadowQueue(url, client)
    queue.enqueue(QUESTION, TARGET, "r-1")
    for delivery in range(1, MAX_DELIVERIES + 1):
        (message,) = queue.receive(visibility_s=0)
        assert message.deliveries == delivery
    assert queue.receive(visibility_s=0) == []
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    assert attributes == {"ApproximateNumberOfMessages": "0"}


@pytest.mark.parametrize("body", ["not json", "[]", "{}", '{"target": {}}', json.dumps({"target": TARGET.to_json()})])
def test_a_message_nobody_can_read_is_removed_and_the_others_arrive(sqs: tuple[Any, str], body: str) -> None:
    client, url = sqs
    queue = SqsShadowQueue(url, client)
    client.send_message(QueueUrl=url, MessageBody=body)
    queue.enqueue(QUESTION, TARGET, "r-1")
    assert [m.request_id for m in queue.receive(visibility_s=0)] == ["r-1"]
    assert [m.request_id for m in queue.receive(visibility_s=0)] == ["r-1"]


def test_what_is_too_large_for_a_message_is_refused(sqs: tuple[Any, str]) -> None:
    client, url = sqs
    queue = SqsShadowQueue(url, client)
    assert not queue.enqueue({"pad": "x" * 300_000}, TARGET, "r-1")
    assert queue.refused == 1
    assert queue.receive() == []
