"""Takes feedback: joins events to the list they answer, stores them durably and passes them to the event stream.

An event is accepted when the history store *and* the event sink have it durably. Otherwise the sender is told to send
it again, which is safe: the store knows event ids, and so do readers of the sink.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lambda_api.serving.counters import Counters
from lambda_api.serving.guard import DependencyFailed, Guard
from lambda_api.state.event_sink import EventSink
from lambda_api.state.exposures import Exposure, InferenceLog
from lambda_api.state.history import HistoryStore, RecordOutcome, StoredEvent

RECORD_BUDGET_S = 1.5
SINK_BUDGET_S = 1.0
JOIN_BUDGET_S = 0.05
OPEN_FOR_S = 2.0
"""Short, because while a guard is open every event has to be sent again."""

MAX_JOINED_LISTS = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeedbackOutcome:
    """What became of a batch: counts of accepted and duplicate events, and ids to send again."""

    accepted: int
    duplicates: int
    retry: tuple[str, ...]
    cause: str | None = None


class FeedbackService:
    """Takes events. A failing dependency raises nothing."""

    def __init__(
        self,
        history: HistoryStore,
        exposures: InferenceLog | None,
        sink: EventSink | None,
        counters: Counters | None = None,
    ) -> None:
        self._history = history
        self._exposures = exposures
        self._sink = sink
        self.counters = counters or Counters()
        self.record_guard = Guard("feedback", RECORD_BUDGET_S, open_for_s=OPEN_FOR_S, answers=(ValueError,))
        self.sink_guard = Guard("event_sink", SINK_BUDGET_S, open_for_s=OPEN_FOR_S)
        self.join_guard = Guard("exposures", JOIN_BUDGET_S)

    def take(self, events: Sequence[StoredEvent]) -> FeedbackOutcome:
        """Store ``events`` (at most one batch of HTTP).

        Raises:
            ValueError: an event that cannot be stored; nothing was stored.
        """
        events = self._with_variants(events)
        try:
            outcome: RecordOutcome = self.record_guard.call(self._history.record, events)
        except DependencyFailed as failure:
            return self._retry(events, f"feedback: {failure.cause}", failure)
        if self._sink is not None:
            # Duplicates too: the first attempt may have reached the store and not the sink.
            first: dict[str, StoredEvent] = {}
            for event in events:
                first.setdefault(event.event_id, event)
            records = [_record(event) for event in first.values()]
            try:
                self.sink_guard.call(self._sink.emit, "feedback", records)
            except DependencyFailed as failure:
                return self._retry(events, f"event_sink: {failure.cause}", failure)
        self.counters.add("feedback_accepted", by=len(outcome.accepted))
        self.counters.add("feedback_duplicates", by=len(outcome.duplicates))
        return FeedbackOutcome(len(outcome.accepted), len(outcome.duplicates), ())

    def _retry(self, events: Sequence[StoredEvent], cause: str, failure: DependencyFailed) -> FeedbackOutcome:
        log.warning("feedback not stored (%s): %s", failure.name, failure.detail)
        self.counters.add("fallbacks", cause)
        self.counters.add("feedback_to_retry", by=len(events))
        ids = tuple(dict.fromkeys(event.event_id for event in events))
        return FeedbackOutcome(0, len(events) - len(ids), ids, cause)

    def _with_variants(self, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """The events, each with the variant of the list it names, if that list was shown to the same shopper."""
        wanted = list(dict.fromkeys(event.request_id for event in events if event.request_id))[:MAX_JOINED_LISTS]
        lists: dict[str, Exposure] = {}
        for request_id in wanted:
            if self._exposures is None:
                break
            try:
                found = self.join_guard.call(self._exposures.get, request_id)
            except DependencyFailed as failure:
                # Store the event without its variant; the sink's records can be joined later.
                self.counters.add("fallbacks", f"exposures: {failure.cause}")
                break
            if found is not None:
                lists[request_id] = found
        return [
            replace(event, variant=shown.variant)
            if event.request_id and (shown := lists.get(event.request_id)) and shown.user_id == event.user_id
            else event
            for event in events
        ]


def _record(event: StoredEvent) -> dict[str, Any]:
    content = asdict(event)
    content["interaction_type"] = event.interaction_type.label
    return content
