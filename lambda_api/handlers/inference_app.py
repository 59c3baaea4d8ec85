"""The inference container's WSGI application: one model behind ``GET /ping`` and ``POST /invocations``.

Follows "Use Your Own Inference Code with Hosting Services", Amazon SageMaker Developer Guide: ``/ping`` answers 200
once the model answers; ``/invocations`` takes one question as JSON, or one per line as JSON lines (batch transform).
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lambda_api.errors import RecsysError
from lambda_api.handlers.request_validation import Refusal, parse_json
from lambda_api.serving.question import Invocation, Question, UnknownProduct
from lambda_api.serving.scorers import Scored, encode_answer, read_invocation

if TYPE_CHECKING:
    from lambda_api.serving.engine import Engine

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 6 * 1024 * 1024
"""Largest request or batch that SageMaker sends."""

DRAINED_BYTES = 64 * 1024 * 1024
"""Maximum bytes drained from an oversized body before closing."""

MAX_LIST = 1_000
RETRY_S = 5.0

JSON = "application/json"
LINES = "application/jsonlines"

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class ModelUnavailable(RecsysError):
    """The model folder holds no usable model; the message says why."""


@dataclass(frozen=True, slots=True)
class Model:
    """An engine that has answered a first question, and its version."""

    engine: "Engine"
    version: str


class ModelHolder:
    """The model in ``folder``, loaded on first use. After a failure, loading is tried again every ``retry_s``."""

    def __init__(self, folder: Path, retry_s: float = RETRY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._retry_s = retry_s
        self._clock = clock
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._problem: ModelUnavailable | None = None
        self._retry_at = 0.0

    def get(self) -> Model:
        """The model. Raises `ModelUnavailable`."""
        if self._model is not None:
            return self._model
        with self._lock:
            if self._model is None:
                self._load()
        if self._model is None:
            raise self._problem or ModelUnavailable("the model is not loaded")
        return self._model

    def _load(self) -> None:
        if self._problem is not None and self._clock() < self._retry_at:
            return
        try:
            self._model, self._problem = load_model(self.folder), None
        except ModelUnavailable as problem:
            log.error("model in %s cannot be served: %s", self.folder, problem)
            self._problem, self._retry_at = problem, self._clock() + self._retry_s


def load_model(folder: Path) -> Model:
    """The model of ``folder/bundle`` and ``folder/catalogue``. Raises as `open_model`."""
    return open_model(folder / "bundle", folder / "catalogue")


def open_model(bundle_folder: Path, catalogue_folder: Path) -> Model:
    """Read and verify both folders and ask the model a first question.

    Raises:
        ModelUnavailable: one of them is missing or refused, or the model does not answer.
    """
    from lambda_api.recommender.bundle import BundleError, read_bundle
    from lambda_api.recommender.catalogue import CatalogueError, read_catalogue
    from lambda_api.serving.engine import Engine

    try:
        bundle = read_bundle(bundle_folder)
        engine = Engine(bundle.recommender, read_catalogue(catalogue_folder))
    except (BundleError, CatalogueError) as error:
        raise ModelUnavailable(str(error)) from error
    manifest = bundle.manifest
    try:
        engine.answer(Question(user_id="", events=(), now=int(time.time()), k=1))
    except Exception as error:  # any exception means that this model cannot serve
        raise ModelUnavailable(f"the model does not answer: {error!r}") from error
    return Model(engine, manifest.info.version or f"unregistered-{manifest.checksum[:12]}")


def answer(model: Model, content: dict[str, Any]) -> bytes:
    """Answer one invocation (`read_invocation`), encoded by `encode_answer`.

    Raises:
        Refusal: 422, naming the field and the rule.
    """
    invocation = _invocation(content)
    try:
        ranking = model.engine.ask(invocation)
    except UnknownProduct as error:
        raise Refusal(422, "unknown_product", f"similar.product_id: {error}", "similar.product_id") from None
    return encode_answer(Scored(ranking, model.version))


class InferenceApp:
    """The WSGI application. Every answer is JSON, errors included."""

    def __init__(self, holder: ModelHolder) -> None:
        self._holder = holder

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        headers: Mapping[str, str] = {}
        try:
            status, content_type, body = self.respond(environ)
        except Refusal as refusal:
            status, content_type, body = refusal.status, JSON, dump(_error(refusal))
            headers = refusal.headers
        except ModelUnavailable as problem:
            status, content_type = 503, JSON
            body = dump({"error": {"code": "model_unavailable", "message": str(problem)}})
        except Exception:  # logged with its traceback; the caller gets a 500 in JSON
            log.exception("the model failed")
            status, content_type = 500, JSON
            body = dump({"error": {"code": "model_error", "message": "the model failed; see the container's log"}})
        sent = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers.items()]
        start_response(f"{status} {HTTPStatus(status).phrase}", sent)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def respond(self, environ: Mapping[str, Any]) -> tuple[int, str, bytes]:
        """Status, content type and body for a request. Raises `Refusal` and `ModelUnavailable`."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if path == "/ping":
            require_method(method, ("GET", "HEAD"))
            return 200, JSON, dump({"model_version": self._holder.get().version})
        if path != "/invocations":
            raise Refusal(404, "not_found", "there is nothing at this path; it is GET /ping or POST /invocations")
        require_method(method, ("POST",))
        return invoke(environ, self._holder.get)


def invoke(environ: Mapping[str, Any], get_model: Callable[[], Model]) -> tuple[int, str, bytes]:
    """Answer one question, or one on every line. Raises `Refusal`, and whatever ``get_model`` raises."""
    content_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if content_type not in (JSON, LINES):
        raise Refusal(415, "unsupported_media_type", f"send {JSON} or {LINES}", "content-type")
    body = read_body(environ)
    model = get_model()
    if content_type == LINES:
        return 200, LINES, b"".join(answer_line(model, line) + b"\n" for line in body.splitlines() if line.strip())
    return 200, JSON, answer(model, parse_body(body))


def answer_line(model: Model, line: bytes) -> bytes:
    """Answer one line of a batch; a line at fault is answered by its error, and the others are not affected."""
    try:
        return answer(model, parse_body(line))
    except Refusal as refusal:
        return dump(_error(refusal))


def _invocation(content: dict[str, Any]) -> Invocation:
    try:
        invocation = read_invocation(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, problem["loc"]))[:200]
        raise Refusal(422, "invalid_request", f"{field}: {problem['msg']}", field) from None
    if invocation.k > MAX_LIST:
        raise Refusal(422, "invalid_request", f"question.k: must be at most {MAX_LIST}", "question.k")
    return invocation


def require_method(method: str, allowed: tuple[str, ...]) -> None:
    """Raise `Refusal` (405) unless ``method`` is allowed."""
    if method not in allowed:
        message = f"this path answers {' and '.join(allowed)} only"
        raise Refusal(405, "method_not_allowed", message, headers={"Allow": ", ".join(allowed)})


def read_body(environ: Mapping[str, Any]) -> bytes:
    """The request's body. Raises `Refusal` (413) when it is too long."""
    stream = environ["wsgi.input"]
    body: bytes = stream.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        # Most clients read the answer only after they have sent the whole body.
        left = DRAINED_BYTES
        while left > 0 and (part := stream.read(min(left, 1 << 16))):
            left -= len(part)
        raise Refusal(413, "body_too_large", f"the body is longer than {MAX_BODY_BYTES} bytes; send less", "body")
    return body


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises `Refusal` (400) when it is not one."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Refusal(400, "malformed_json", "the body is not valid UTF-8", "body") from None
    return parse_json(text)


def _error(refusal: Refusal) -> dict[str, Any]:
    field = {} if refusal.field is None else {"field": refusal.field}
    return {"error": {"code": refusal.code, "message": refusal.message, **field}}


def dump(content: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
