"""Powertools' resolver for HTTP APIs, made thread-safe and strict."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from lambda_api.handlers.models import rule_of
from lambda_api.handlers.request_validation import Refusal, parse_json
from lambda_api.handlers.responses import error_response

MAX_DETAILS = 20


def _of_this_thread(name: str, empty: Callable[[], Any]) -> property:
    """A member of the resolver of which every thread has its own."""

    def read(resolver: "Resolver") -> Any:
        return resolver._local.__dict__.setdefault(name, empty())

    def write(resolver: "Resolver", value: Any) -> None:
        setattr(resolver._local, name, value)

    return property(read, write)


class Resolver(APIGatewayHttpResolver):
    """The resolver with thread-local request state.

    Powertools keeps event, context and routing state on the class or the instance, which is correct for Lambda's one
    request at a time; behind a threaded server, requests would get each other's answers. Here these members are
    properties over a thread-local object, which take precedence over the attributes that the base class sets.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        super().__init__(debug=False, enable_validation=True, json_body_deserializer=parse_json)
        self.exception_handler(Refusal)(error_response)
        self.exception_handler(RequestValidationError)(invalid)

    @property
    def current_event(self) -> Any:  # type: ignore[override]
        """The request of this thread."""
        return self._local.event

    @property
    def lambda_context(self) -> Any:  # type: ignore[override]
        """Lambda's context of this thread's request; ``None`` elsewhere."""
        return self._local.lambda_context

    context = _of_this_thread("context", dict)
    processed_stack_frames = _of_this_thread("frames", list)

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer one validated request."""
        self._local.event = self._to_proxy_event(dict(event))
        self._local.lambda_context = context
        try:
            return super().resolve(event, context)
        finally:
            self._local.event = self._local.lambda_context = None

    @property
    def request_id(self) -> str:
        """Of this thread's request."""
        found: str = self.current_event["requestContext"]["requestId"]
        return found

    @property
    def notes(self) -> dict[str, Any]:
        """Values that routes add to log line and metrics."""
        found: dict[str, Any] = self.current_event["notes"]
        return found


def invalid(error: RequestValidationError) -> Response[str]:
    """422 with the field and the rule of every problem, without the values sent."""
    problems = [(_field(problem["loc"]), rule_of(problem)) for problem in error.errors()[:MAX_DETAILS]]
    field, message = problems[0]
    return error_response(Refusal(422, "invalid_request", f"{field}: {message}", field, tuple(problems)))


def _field(location: tuple[Any, ...]) -> str:
    """``("body", "batch", "events", 0, "rating")`` as ``events.0.rating``, without the variant of the body."""
    source, *path = location
    if source == "body" and path and path[0] in ("batch", "event"):
        path = path[1:]
    return ".".join(str(part)[:100] for part in path) or str(source)
