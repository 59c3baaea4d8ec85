"""The inference container: one model behind ``GET /ping`` and ``POST /invocations``, as SageMaker asks of a container.

Put here what that contract says: paths, port, status codes, batch lines, stopping. Keep how a question is answered
(``lambda_api.serving.engine``) and calling such a container (``lambda_api.serving.scorers``) out.

Start it with ``python -m lambda_api.handlers.inference_server serve``. The model folder (``/opt/ml/model``, the
unpacked model archive) holds ``bundle/`` and ``catalogue/``. Variables: ``SAGEMAKER_BIND_TO_PORT`` (8080) and
``SM_MODEL_DIR``, ``MODEL_SERVER_WORKERS`` (one per core), as SageMaker's own containers call them; with
``SAGEMAKER_MULTI_MODEL=true`` it is a multi-model endpoint (``multi_model``) with ``MODEL_SERVER_MODELS`` at most.

"Use Your Own Inference Code with Hosting Services", Amazon SageMaker Developer Guide: ``/ping`` answers 200 when the
container can take requests; SIGTERM, then SIGKILL after 30 s.
"""

import argparse
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lambda_api.errors import RecsysError
from lambda_api.handlers.request_validation import Refusal, parse_json
from lambda_api.serving.question import Question
from lambda_api.serving.scorers import Invocation, Scored, encode_answer, read_invocation

if TYPE_CHECKING:
    from lambda_api.serving.engine import Engine

log = logging.getLogger(__name__)

MODEL_FOLDER = Path("/opt/ml/model")
PORT = 8080
STOP_WITHIN_S = 25
"""Requests in flight are given so long after SIGTERM; SageMaker kills the container after 30 s."""

MAX_BODY_BYTES = 6 * 1024 * 1024
"""What SageMaker hands over at most in one request or one batch."""

DRAINED_BYTES = 64 * 1024 * 1024
"""Read and thrown away of a body that is too long; beyond it the connection is cut."""

MAX_LIST = 1_000
MOST_MODELS = 16
"""Held at once by a multi-model endpoint. Arrays are mapped from disk, so what counts is what is touched."""
THREADS = 2
RETRY_S = 5.0

JSON = "application/json"
LINES = "application/jsonlines"

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class ModelUnavailable(RecsysError):
    """The model folder holds nothing that answers; the message says why."""


@dataclass(frozen=True, slots=True)
class Model:
    """An engine that has answered once, and what its version is called."""

    engine: "Engine"
    version: str


class ModelHolder:
    """The model in ``folder``, loaded on first use and tried again every ``retry_s`` while it cannot be."""

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
    """Read both folders, every file verified, and ask the model for its first list.

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
    except Exception as error:  # whatever a model raises, it does not answer
        raise ModelUnavailable(f"the model does not answer: {error!r}") from error
    return Model(engine, manifest.info.version or f"unregistered-{manifest.checksum[:12]}")


def answer(model: Model, content: dict[str, Any]) -> bytes:
    """Answer one invocation (`lambda_api.serving.scorers.read_invocation`), in the form callers read.

    Raises:
        Refusal: 422, naming the field and the rule.
    """
    from lambda_api.serving.engine import UnknownProduct

    invocation = _invocation(content)
    if invocation.similar is not None:
        try:
            ranking = model.engine.similar(*invocation.similar)
        except UnknownProduct as error:
            raise Refusal(422, "unknown_product", f"similar.product_id: {error}", "similar.product_id") from None
    elif invocation.question is not None:
        engine = model.engine
        ask = engine.answer if invocation.operation == "answer" else engine.answer_unranked
        ranking = ask(invocation.question)
    else:
        raise Refusal(422, "invalid_request", "question: is required", "question")
    return encode_answer(Scored(ranking, model.version))


class InferenceApp:
    """The WSGI application. Every answer is JSON; nothing a caller sends ends in a traceback."""

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
        except Exception:  # the caller must have an answer, and the log the cause
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
    """One line of a batch, without its end: a line that cannot be answered says so in its place and spoils no other."""
    try:
        return answer(model, parse_body(line))
    except Refusal as refusal:
        return dump(_error(refusal))


def _invocation(content: dict[str, Any]) -> Invocation:
    try:
        invocation = read_invocation(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(["question", *(str(part) for part in problem["loc"])])[:200]
        raise Refusal(422, "invalid_request", f"{field}: {problem['msg']}", field) from None
    except ValueError as error:
        raise Refusal(422, "invalid_request", str(error)[:300]) from None
    if invocation.question is not None and invocation.question.k > MAX_LIST:
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
        # A client reads the refusal only after it was able to send what it had to say.
        left = DRAINED_BYTES
        while left > 0 and (part := stream.read(min(left, 1 << 16))):
            left -= len(part)
        raise Refusal(413, "body_too_large", f"the body is longer than {MAX_BODY_BYTES} bytes; send less", "body")
    return body


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises `Refusal` (400) when it is none."""
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


def serve(folder: Path, host: str, port: int, workers: int, models: int = 0) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight. Every worker maps the same files.

    Args:
        models: above 0, a multi-model endpoint that holds so many at once, in one worker; ``folder`` is not read.
    """
    from gunicorn.app.base import BaseApplication

    holder = ModelHolder(folder)

    class Server(BaseApplication):
        def load_config(self) -> None:
            chosen = {
                "bind": f"{host}:{port}",
                "workers": 1 if models else workers,
                "worker_class": "gthread",
                "threads": THREADS * workers if models else THREADS,
                "graceful_timeout": STOP_WITHIN_S,
                "timeout": 60,
                "keepalive": 30,
                "proc_name": "recsys-inference",
                "post_worker_init": lambda worker: None if models else _warm(holder),
                "loglevel": "warning",
                "control_socket_disable": True,
            }
            for name, value in chosen.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> InferenceApp:
            if not models:
                return InferenceApp(holder)
            from lambda_api.handlers.multi_model import ModelShelf, MultiModelApp

            return MultiModelApp(ModelShelf(models))

    Server().run()


def _warm(holder: ModelHolder) -> None:
    try:
        holder.get()
    except ModelUnavailable:
        return  # logged where it was found; /ping says so until it can be loaded


def main(arguments: Sequence[str] | None = None) -> None:
    """``serve``: run the container's server in the foreground."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    environment = os.environ
    parser = argparse.ArgumentParser(prog="inference_server", description="Serve one model as SageMaker asks for it.")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--model", type=Path, default=Path(environment.get("SM_MODEL_DIR") or MODEL_FOLDER))
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=int(environment.get("SAGEMAKER_BIND_TO_PORT") or PORT))
    workers = int(environment.get("MODEL_SERVER_WORKERS") or os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=workers)
    several = environment.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"
    models = int(environment.get("MODEL_SERVER_MODELS") or MOST_MODELS) if several else 0
    parser.add_argument("--models", type=int, default=models, help="held at once; above 0: a multi-model endpoint")
    given = parser.parse_args(arguments)
    serve(given.model, given.host, given.port, given.workers, given.models)


if __name__ == "__main__":
    main()
