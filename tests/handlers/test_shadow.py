"""The shadow's consumer on the real queue and log (SQLite): once per request, however often it is delivered."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from lambda_api.handlers import shadow
from lambda_api.handlers.shadow import ShadowConsumer, drain, shadow_request_id, take_batch
from lambda_api.interactions import Event, InteractionType
from lambda_api.serving.question import Invocation, PageContext, Question, RankedItem, Ranking, Reason
from lambda_api.serving.scorers import Scored
from lambda_api.state.event_sink import JsonLinesSink
from lambda_api.state.exposures import Exposure, InferenceLog, ShownItem, join_feedback
from lambda_api.state.history import StoredEvent
from lambda_api.state.routing_record import RouteTarget
from lambda_api.state.shadow_queue import MAX_DELIVERIES, TableShadowQueue
from lambda_api.state.sqlite_table import SqliteTable
from tests.json_lines import read_json_lines
from tests.patience import wait_until

TARGET = RouteTarget("v2.0.0", "/models/v2.0.0", "c" * 64)
RANKING = Ranking(
    (
        RankedItem("lamp", 2.5, Reason("viewed", "Because you viewed Mug", "mug")),
        RankedItem("rug", 1.5, Reason("popular", "Popular"), propensity=0.25),
    ),
    "ranked",
    True,
)
QUESTION = Question(
    "ann", (Event("mug", InteractionType.VIEW, 90),), now=100, k=2, context=PageContext(device="mobile")
)


class Scorer:
    """Answers with `RANKING`, as the version it is told to be; counts who asked."""

    def __init__(self, version: str = TARGET.version, fails: int = 0) -> None:
        self.version, self.fails = version, fails
        self.asked: list[tuple[RouteTarget, Question, str]] = []

    def ask(self, target: RouteTarget, asked: Invocation, variant: str = "champion") -> Scored:
        assert asked.question is not None
        self.asked.append((target, asked.question, variant))
        if len(self.asked) <= self.fails:
            raise OSError("the endpoint hung up")
        return Scored(RANKING, self.version)

    def ready(self, target: RouteTarget, variant: str) -> None:
        raise NotImplementedError


class Shop:
    """Queue, log and stream in one folder, on a clock of its own."""

    def __init__(self, folder: Path, scorer: Scorer) -> None:
        self.now = 1_000.0
        self.scorer = scorer
        # Tables of one file purge each other's expired records, so they share a clock.
        queue, log = (
            SqliteTable(folder / "s.sqlite3", name, clock=self.time) for name in ("shadow_queue", "exposures")
        )
        self.queue = TableShadowQueue(queue, clock=self.time)
        self.log = InferenceLog(log, clock=self.time)
        self.sink = JsonLinesSink(folder / "events")
        self.folder = folder
        self.consumer = ShadowConsumer(scorer, self.log, self.sink, clock=self.time)

    def time(self) -> float:
        return self.now

    @property
    def streamed(self) -> list[dict[str, Any]]:
        return list(read_json_lines(self.folder / "events", "exposure"))


def test_an_answer_becomes_an_exposure_beside_the_shoppers_own(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Scorer())
    own = Exposure(
        "r1",
        "ann",
        99_000,
        "none",
        "champion",
        1.0,
        "v1",
        "ranked",
        None,
        (ShownItem("mat", 1.0, 1, None, "popular"),),
        {},
        2.0,
    )
    shop.log.write([own])
    assert shop.queue.enqueue(QUESTION.to_json(), TARGET, "r1")
    assert drain(shop.consumer, shop.queue) == 1
    assert shop.scorer.asked == [(TARGET, QUESTION, "shadow")]
    found = shop.log.get(shadow_request_id("r1"))
    assert found is not None
    assert (found.variant, found.model_version, found.user_id, found.stage) == ("shadow", "v2.0.0", "ann", "ranked")
    assert found.items == (ShownItem("lamp", 2.5, 1, None, "viewed"), ShownItem("rug", 1.5, 2, 0.25, "popular"))
    assert found.context["shadow_of"] == "r1" and found.context["device"] == "mobile"
    assert shop.log.get("r1") == own
    assert [Exposure.from_json(record) for record in shop.streamed] == [found]
    click = StoredEvent("e1", "ann", "lamp", InteractionType.VIEW, 120, request_id="r1")
    assert all(not joined.events for joined in join_feedback([own, found], [click]))
    shop.now += 3_600
    assert shop.queue.receive() == []


def test_a_second_delivery_writes_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Scorer())
    shop.queue.enqueue(QUESTION.to_json(), TARGET, "r1")
    (message,) = shop.queue.receive()
    assert shop.consumer.take(message)
    first = shop.log.get(shadow_request_id("r1"))
    shop.now += 120  # its consumer died before acknowledging: it is visible again
    (again,) = shop.queue.receive()
    assert again.deliveries == 2
    assert not shop.consumer.take(again)
    assert shop.queue.ack(again)
    assert shop.log.get(shadow_request_id("r1")) == first
    assert len(shop.streamed) == 1 and len(shop.scorer.asked) == 1


def test_a_failure_is_tried_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Scorer(fails=1))
    shop.queue.enqueue(QUESTION.to_json(), TARGET, "r1")
    assert drain(shop.consumer, shop.queue) == 0
    assert shop.log.get(shadow_request_id("r1")) is None and shop.streamed == []
    shop.now += 120
    assert drain(shop.consumer, shop.queue) == 1
    assert shop.log.get(shadow_request_id("r1")) is not None
    hopeless = Shop(tmp_path / "other", Scorer(fails=100))
    hopeless.queue.enqueue(QUESTION.to_json(), TARGET, "r2")
    for _ in range(MAX_DELIVERIES + 3):
        hopeless.now += 120
        drain(hopeless.consumer, hopeless.queue)
    assert len(hopeless.scorer.asked) == MAX_DELIVERIES


def test_the_answer_of_another_version_is_not_taken_for_the_shadows(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Scorer(version="v1.0.0"))
    shop.queue.enqueue(QUESTION.to_json(), TARGET, "r1")
    assert drain(shop.consumer, shop.queue) == 0
    assert shop.log.get(shadow_request_id("r1")) is None and shop.streamed == []


def test_what_is_no_question_is_taken_off_the_queue(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Scorer())
    shop.queue.enqueue({"user_id": 7}, TARGET, "r1")
    shop.queue.enqueue(QUESTION.to_json(), TARGET, "r2")
    assert drain(shop.consumer, shop.queue) == 2
    shop.now += 120
    assert shop.queue.receive() == []
    assert len(shop.scorer.asked) == 1


def record(request_id: str, message_id: str, **changes: Any) -> dict[str, Any]:
    body = {"request_id": request_id, "question": QUESTION.to_json(), "target": TARGET.to_json(), "enqueued_at": 90}
    return {
        "messageId": message_id,
        "receiptHandle": "h",
        "body": json.dumps({**body, **changes}),
        "attributes": {"ApproximateReceiveCount": "1"},
    }


def test_a_batch_of_sqs_names_exactly_what_failed(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Scorer())
    batch = [
        record("r1", "m1"),
        {"messageId": "m2", "body": "not json", "receiptHandle": "h", "attributes": {"ApproximateReceiveCount": "1"}},
        record("r3", "m3", question={"k": 0}),
        record("r4", "m4", target={"version": ""}),
        {"messageId": "m5"},
        record("r6", "m6"),
        record("r6", "m7"),
    ]
    answer = take_batch(shop.consumer, {"Records": batch})
    assert answer == {"batchItemFailures": [{"itemIdentifier": name} for name in ("m2", "m3", "m4", "m5")]}
    assert {line["request_id"] for line in shop.streamed} == {shadow_request_id("r1"), shadow_request_id("r6")}
    assert len(shop.streamed) == 2
    assert take_batch(shop.consumer, {"Records": []}) == {"batchItemFailures": []}


def test_the_loop_ends_when_told_to(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Scorer())
    for number in range(25):
        shop.queue.enqueue(QUESTION.to_json(), TARGET, f"r{number}")
    stop = threading.Event()
    loop = threading.Thread(target=shadow.run, args=(shop.consumer, shop.queue, stop, 0.01))
    loop.start()
    try:
        wait_until(lambda: len(shop.streamed) == 25, "all answers were streamed")
    finally:
        stop.set()
        loop.join(10)
    assert not loop.is_alive()
    assert len(shop.streamed) == 25


@pytest.mark.parametrize("missing", ["request_id", "question", "target", "enqueued_at"])
def test_a_record_without_a_part_is_no_message(missing: str) -> None:
    whole = record("r1", "m1")
    body = json.loads(whole["body"])
    del body[missing]
    with pytest.raises(ValueError):
        shadow.read_record({**whole, "body": json.dumps(body)})
