"""A typed Python client of the API: ``Recommendations(url, key).recommend("user_123")``.

Client and server share the models in ``lambda_api.handlers.models``. Only the standard library and pydantic are needed;
instances are thread-safe.

All calls are idempotent: recommendations change nothing, and feedback is identified by ``event_id``. A lost connection,
a time-out, 408, 429 and 5xx are therefore retried a few times, after random, growing pauses ("full jitter":
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

import http.client
import json
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from lambda_api.errors import RecsysError
from lambda_api.handlers.models import (
    ContextIn,
    EventIn,
    FeedbackBatch,
    FeedbackEvent,
    FeedbackResponse,
    FiltersIn,
    HealthResponse,
    ListResponse,
    RecommendRequest,
    RecommendResponse,
    RefusedEvent,
    UnknownProductEvent,
    problems_of,
)

BATCH: Final = 50
"""Events per request to ``/feedback``."""

LONGEST_ANSWER: Final = 4 * 1024 * 1024
LONGEST_PAUSE_S: Final = 2.0
RETRIED: Final = frozenset((408, 429, 500, 502, 503, 504))

_EVENT_FIELD: Final = re.compile(r"events\.(\d+)(?:\..*)?")

_Model = TypeVar("_Model", bound=BaseModel)


class RecommendationsError(RecsysError):
    """Base of all errors of this client."""


class RequestRefused(RecommendationsError):
    """The request breaks a rule: the message names field and rule. Repeating it does not help.

    ``status`` is 0 where it was refused before sending; ``details`` holds (field, rule) of every problem.
    """

    def __init__(
        self, status: int, code: str, message: str, details: Sequence[tuple[str, str]] = (), request_id: str = ""
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.code = code
        self.details = tuple(details)
        self.request_id = request_id

    @property
    def field(self) -> str | None:
        """The first field at fault, if any."""
        return self.details[0][0] if self.details else None


class NotAllowed(RequestRefused):
    """The API key is missing, invalid or lacks the scope (401, 403)."""


class ServiceUnavailable(RecommendationsError):
    """No usable answer after all attempts; the message holds the last reason."""


class FeedbackIncomplete(ServiceUnavailable):
    """Some events are not stored: send those with ids in ``unsent`` again later."""

    def __init__(self, accepted: int, duplicates: int, unsent: Sequence[str], reason: str) -> None:
        super().__init__(f"{len(unsent)} events are not stored ({reason}): send them again")
        self.accepted = accepted
        self.duplicates = duplicates
        self.unsent = tuple(unsent)


@dataclass(frozen=True)
class FeedbackStored:
    """Outcome of `Recommendations.feedback`: ``accepted`` now, ``duplicates`` before, perhaps by an earlier attempt.

    ``refused`` names the events that break a rule and were not stored: ``index`` in the events given, ``field``,
    ``message``. ``unknown_products`` are stored events whose product the shop's catalogue does not have.
    """

    accepted: int
    duplicates: int
    refused: tuple[RefusedEvent, ...] = ()
    unknown_products: tuple[UnknownProductEvent, ...] = ()


class Recommendations:
    """The API of one shop.

    Args:
        url: base address: ``http://127.0.0.1:8000``, with a path if the API has one.
        key: API key with the scope ``shop``.
        timeout_s: per attempt: to connect, and to wait for the next bytes.
        retries: attempts after the first.
        backoff_s: longest first pause; the limit doubles with each attempt.
        sleep, uniform: for tests.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 2.0,
        retries: int = 2,
        backoff_s: float = 0.1,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url must be http://host or https://host; is {url!r}")
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._key = key
        self._timeout_s = timeout_s
        self._retries = retries
        self._backoff_s = backoff_s
        self._sleep = sleep
        self._uniform = uniform
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections. The client may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def recommend(
        self,
        user_id: str,
        num_recommendations: int = 10,
        *,
        exclude_purchased: bool | None = None,
        exclude_product_ids: Sequence[str] = (),
        filters: FiltersIn | None = None,
        context: ContextIn | None = None,
        events: Sequence[EventIn] = (),
        include_products: bool = False,
        diversity: float = 0.0,
        explain: bool = False,
    ) -> RecommendResponse:
        """A list for a shopper; arguments as in `RecommendRequest`. Send its ``request_id`` with feedback.

        Raises:
            RequestRefused: an argument breaks a rule.
            ServiceUnavailable: no usable answer.
        """
        body = _made(
            RecommendRequest,
            user_id=user_id,
            num_recommendations=num_recommendations,
            exclude_purchased=exclude_purchased,
            exclude_product_ids=list(exclude_product_ids),
            filters=filters or FiltersIn(),
            context=context or ContextIn(),
            events=list(events),
            include_products=include_products,
            diversity=diversity,
            explain=explain,
        )
        return self._call(RecommendResponse, "POST", "/recommend", body)

    def feedback(self, events: Sequence[FeedbackEvent]) -> FeedbackStored:
        """Report any number of events; those that could not be stored are sent again.

        An event that breaks a rule does not affect the others; see `FeedbackStored.refused`.

        Raises:
            NotAllowed: the API key is not accepted.
            FeedbackIncomplete: after all attempts some events are not stored.
        """
        accepted = duplicates = 0
        refused: list[RefusedEvent] = []
        unknown: dict[int, UnknownProductEvent] = {}
        waiting = list(enumerate(events))
        for attempt in range(self._retries + 1):
            if attempt:
                self._pause(attempt)
            again: list[tuple[int, FeedbackEvent]] = []
            for start in range(0, len(waiting), BATCH):
                batch = waiting[start : start + BATCH]
                try:
                    answer = self._send_batch([event for _, event in batch])
                except ServiceUnavailable as error:
                    # All attempts failed; further batches would fail in the same way.
                    unsent = [event.event_id for _, event in (*again, *waiting[start:])]
                    raise FeedbackIncomplete(accepted, duplicates, unsent, str(error)) from error
                accepted += answer.accepted
                duplicates += answer.duplicates
                refused += [one.model_copy(update={"index": batch[one.index][0]}) for one in answer.refused]
                for one in answer.unknown_products:
                    place = batch[one.index][0]
                    unknown[place] = one.model_copy(update={"index": place})
                asked = set(answer.retry)
                again += [(place, event) for place, event in batch if event.event_id in asked]
            if not again:
                return FeedbackStored(
                    accepted, duplicates, tuple(refused), tuple(unknown[at] for at in sorted(unknown))
                )
            waiting = again
        reason = "the service could not store them"
        raise FeedbackIncomplete(accepted, duplicates, [event.event_id for _, event in waiting], reason)

    def _send_batch(self, batch: list[FeedbackEvent]) -> FeedbackResponse:
        """Send one batch. A batch without any valid event is refused as a whole by the API, and by event here."""
        try:
            return self._call(FeedbackResponse, "POST", "/feedback", _made(FeedbackBatch, events=batch))
        except NotAllowed:
            raise
        except RequestRefused as error:
            if error.status != 422:
                raise
            found = [(_EVENT_FIELD.fullmatch(field), field, rule) for field, rule in error.details]
            rows = {int(match[1]): (field, rule) for match, field, rule in reversed(found) if match}
            if len(rows) != len(batch):
                raise
            refused = [
                RefusedEvent(index=at, event_id=batch[at].event_id, field=rows[at][0], message=rows[at][1])
                for at in sorted(rows)
            ]
            return FeedbackResponse(
                accepted=0, duplicates=0, retry=[], refused=refused, request_id=error.request_id or "-"
            )

    def similar(self, product_id: str, k: int = 10) -> ListResponse:
        """Products similar to one; raises `RequestRefused` (404) for an unknown product."""
        return self._call(ListResponse, "GET", f"/similar/{quote(product_id, safe='')}?{urlencode({'k': k})}")

    def popular(self, category: str | None = None, k: int = 10) -> ListResponse:
        """Popular products of the shop or of a category."""
        query = {"k": str(k)} | ({} if category is None else {"category": category})
        return self._call(ListResponse, "GET", f"/popular?{urlencode(query)}")

    def health(self) -> HealthResponse:
        """Models in service and the state of all dependencies."""
        return self._call(HealthResponse, "GET", "/health")

    # -- one call ------------------------------------------------------------------------------------------------------

    def _call(self, model: type[_Model], method: str, path: str, body: BaseModel | None = None) -> _Model:
        content = None if body is None else body.model_dump_json(exclude_none=True, exclude_defaults=True).encode()
        reason = ""
        for attempt in range(self._retries + 1):
            if attempt:
                self._pause(attempt)
            try:
                status, answer = self._exchange(method, path, content)
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if status < 300:
                return _read(model, answer)
            if status not in RETRIED:
                raise _refusal(status, answer)
            reason = f"status {status}"
        raise ServiceUnavailable(f"{method} {path.partition('?')[0]} failed {self._retries + 1} times; last: {reason}")

    def _exchange(self, method: str, path: str, content: bytes | None) -> tuple[int, bytes]:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            with suppress(ConnectionError):  # the server had closed this idle connection; a new one may work
                return self._send(kept, method, path, content)
        return self._send(self._kind(self._host, self._port, timeout=self._timeout_s), method, path, content)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, content: bytes | None
    ) -> tuple[int, bytes]:
        headers = {"X-API-Key": self._key, "Accept": "application/json", "User-Agent": "recsys-client"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._prefix + path, content, headers)
            response = connection.getresponse()
            answer = response.read(LONGEST_ANSWER + 1)
            if len(answer) > LONGEST_ANSWER:
                raise http.client.HTTPException(f"the answer is longer than {LONGEST_ANSWER} bytes")
            if response.length:  # `read` with a size does not tell that the connection was lost
                raise http.client.IncompleteRead(answer, response.length)
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return response.status, answer

    def _pause(self, attempt: int) -> None:
        self._sleep(self._uniform(0.0, min(LONGEST_PAUSE_S, self._backoff_s * 2 ** (attempt - 1))))


def _made(model: type[_Model], **values: Any) -> _Model:
    try:
        return model(**values)
    except ValidationError as error:
        details = problems_of(error)
        message = "; ".join(f"{field}: {rule}" for field, rule in details)
        raise RequestRefused(0, "validation_error", message, details) from error


def _read(model: type[_Model], answer: bytes) -> _Model:
    """The answer as a model. Unknown fields, which a newer server may send, are ignored."""
    try:
        content = json.loads(answer)
        try:
            return model.model_validate(content)
        except ValidationError as error:
            problems = error.errors()
            if any(problem["type"] != "extra_forbidden" for problem in problems):
                raise
            for problem in problems:
                *path, name = problem["loc"]
                inner = content
                for step in path:
                    inner = inner[step]
                inner.pop(name, None)
            return model.model_validate(content)
    except ValueError as error:
        raise ServiceUnavailable(f"the answer does not have the expected form: {error}") from error


def _refusal(status: int, answer: bytes) -> RequestRefused:
    try:
        content = json.loads(answer)
    except ValueError:
        content = None
    # API Gateway's own answers are {"message": ...}; everything else is {"error": {...}}.
    content = content if isinstance(content, dict) else {}
    error = content.get("error")
    error = error if isinstance(error, dict) else {"message": content.get("message", f"status {status}")}
    message = str(error.get("message"))
    details = [(str(one.get("field")), str(one.get("message"))) for one in error.get("details") or ()]
    if not details and error.get("field"):
        details = [(str(error["field"]), message)]
    if details and details[0][0] not in message:
        message = f"{details[0][0]}: {message}"
    kind = NotAllowed if status in (401, 403) else RequestRefused
    return kind(status, str(error.get("code", status)), message, details, str(content.get("request_id", "")))
