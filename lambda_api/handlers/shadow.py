"""Consumer of the shadow queue: asks the shadow model the shoppers' questions and logs its answers as exposures.

Runs as a Lambda function on SQS batches (`handler`), or as a loop on a laptop
(``python -m lambda_api.handlers.shadow``). Nobody sees these lists. Their request id is the shopper's with
`SHADOW_SUFFIX`, so that feedback, which names the shopper's request, does not join them.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lambda_api.errors import RecsysError
from lambda_api.serving.question import Invocation, Question
from lambda_api.serving.scorers import Scorer
from lambda_api.serving.service_answer import shown_items
from lambda_api.state.event_sink import EventSink
from lambda_api.state.exposures import Exposure, InferenceLog
from lambda_api.state.shadow_queue import ShadowMessage, ShadowQueue, read_message
from lambda_api.state.table import TableUnavailable

if TYPE_CHECKING:
    from lambda_api.handlers.dependencies import Serving

log = logging.getLogger(__name__)

SHADOW = "shadow"
SHADOW_SUFFIX = "#shadow"
POLL_S = 1.0
BATCH = 10


class ShadowFailed(RecsysError):
    """The shadow model did not answer; the message may be tried again."""


class Unanswerable(RecsysError):
    """The message holds no valid question; trying again is useless."""


def shadow_request_id(request_id: str) -> str:
    """Request id of the shadow's answer to a shopper's request."""
    return request_id + SHADOW_SUFFIX


class ShadowConsumer:
    """Answers messages. A message delivered again is answered once.

    Args:
        scorer: asked with the message's target.
        inference_log: stores the exposure, and so recognises a second delivery.
        sink: the event stream. A consumer that dies between stream and log writes the record twice; readers take
            exposures by request id.
        clock: seconds since 1970 UTC.
    """

    def __init__(
        self,
        scorer: Scorer,
        inference_log: InferenceLog,
        sink: EventSink | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._scorer = scorer
        self._log = inference_log
        self._sink = sink
        self._clock = clock

    def take(self, message: ShadowMessage) -> bool:
        """Ask, and write the exposure; ``False`` where an earlier delivery did.

        Raises:
            Unanswerable: the message holds no question.
            ShadowFailed: the model asked for did not answer.
            Exception: whatever a store or the scorer raises; deliver the message again.
        """
        request_id = shadow_request_id(message.request_id)
        if self._log.get(request_id) is not None:
            return False
        try:
            question = Question.from_json(message.question)
        except ValueError as error:
            raise Unanswerable(str(error)) from error
        began = time.perf_counter()
        scored = self._scorer.ask(message.target, Invocation.of(question), SHADOW)
        latency_ms = 1000 * (time.perf_counter() - began)
        if scored.model_version != message.target.version:
            # The last good model answered instead, which says nothing about the shadow.
            raise ShadowFailed(f"{message.target.version} did not answer, {scored.model_version} did: {scored.note}")
        exposure = Exposure(
            request_id=request_id,
            user_id=question.user_id,
            at_ms=int(1000 * self._clock()),
            experiment=SHADOW,
            variant=SHADOW,
            variant_propensity=0.0,
            model_version=scored.model_version,
            stage=scored.ranking.stage,
            cause=scored.note,
            items=shown_items(scored.ranking),
            context={
                "shadow_of": message.request_id,
                "page": question.context.page,
                "device": question.context.device,
                "enqueued_at": message.enqueued_at,
            },
            latency_ms=round(latency_ms, 3),
            list_kind="shadow",
        )
        if self._sink is not None:
            self._sink.emit("exposure", [exposure.to_json()])
        self._log.write([exposure])
        return True


def take_batch(consumer: ShadowConsumer, event: Mapping[str, Any]) -> dict[str, Any]:
    """Answer an SQS batch; returns the messages to deliver again (``ReportBatchItemFailures``).

    Unreadable messages are among them, so that the redrive policy moves them to the dead-letter queue.
    """
    failures = []
    for record in event.get("Records", ()):
        message_id = str(record.get("messageId", ""))
        try:
            consumer.take(read_record(record))
        except Exception:  # logged; the other messages are still answered
            log.exception("shadow message %s was not answered", message_id)
            failures.append({"itemIdentifier": message_id})
    return {"batchItemFailures": failures}


def read_record(record: Mapping[str, Any]) -> ShadowMessage:
    """The message in a record of an SQS batch. Raises ``ValueError`` where there is none."""
    try:
        deliveries = int(record["attributes"]["ApproximateReceiveCount"])
        return read_message(record["body"], receipt=record["receiptHandle"], deliveries=deliveries)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a shadow message: {type(error).__name__}: {error}") from error


def drain(consumer: ShadowConsumer, queue: ShadowQueue, max_messages: int = BATCH) -> int:
    """Answer up to ``max_messages`` waiting messages; returns how many were removed from the queue.

    A failed message stays and is delivered again after its visibility time; an unanswerable one is removed. Raises what
    the queue raises.
    """
    done = 0
    for message in queue.receive(max_messages):
        try:
            consumer.take(message)
        except Unanswerable as error:
            log.error("shadow message of request %s can never be answered: %s", message.request_id, error)
        except Exception:  # it will be delivered again
            log.exception("shadow message of request %s was not answered", message.request_id)
            continue
        queue.ack(message)
        done += 1
    return done


def run(consumer: ShadowConsumer, queue: ShadowQueue, stop: threading.Event, poll_s: float = POLL_S) -> None:
    """Answer messages until ``stop`` is set; polls every ``poll_s`` while the queue is empty."""
    while not stop.is_set():
        try:
            busy = drain(consumer, queue) > 0
        except TableUnavailable as error:
            log.warning("shadow queue: %s", error)
            busy = False
        if not busy:
            stop.wait(poll_s)


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Lambda's entry point for the SQS event source."""
    from lambda_api.handlers.dependencies import serving

    return take_batch(_consumer(serving()), event)


def main() -> None:
    """Run the loop until SIGTERM or SIGINT."""
    from lambda_api.handlers.dependencies import serving

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    held = serving()
    if held.shadow_queue is None:
        raise SystemExit("there is no shadow queue: set RECSYS_SHADOW_QUEUE_URL to the URL of the SQS queue")
    run(_consumer(held), held.shadow_queue, stop)
    held.close()


def _consumer(held: "Serving") -> ShadowConsumer:
    return ShadowConsumer(held.scorer, held.inference_log, held.sink)


if __name__ == "__main__":
    main()
