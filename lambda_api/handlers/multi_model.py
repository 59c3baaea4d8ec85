"""The WSGI application of a multi-model endpoint: SageMaker loads and unloads models while it runs.

Follows "Build Your Own Container for SageMaker AI Multi-Model Endpoints", Amazon SageMaker Developer Guide: ``POST
/models`` loads (409: already loaded; 507: no room, upon which SageMaker unloads another and tries again), ``GET
/models`` lists, ``GET /models/{name}`` describes, ``DELETE /models/{name}`` unloads, ``POST /models/{name}/invoke``
asks. All models live in one process, because workers do not share what one of them has loaded.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from lambda_api.handlers.inference_app import (
    JSON,
    InferenceApp,
    Model,
    ModelUnavailable,
    dump,
    invoke,
    load_model,
    parse_body,
    read_body,
    require_method,
)
from lambda_api.handlers.request_validation import Refusal

log = logging.getLogger(__name__)

MODELS_VARIABLE: Final = "MODEL_SERVER_MODELS"
PAGE: Final = 100
MAX_MODELS: Final = 16
"""Default of ``MODEL_SERVER_MODELS``. Model files are memory-mapped: only pages that are read take memory."""


class ModelCache:
    """Loaded models by the names that SageMaker gives them. Thread-safe.

    Args:
        capacity: models held at once.
        open_folder: opens the model in a folder, or raises `ModelUnavailable`.
    """

    def __init__(self, capacity: int = MAX_MODELS, open_folder: Callable[[Path], Model] = load_model) -> None:
        self._capacity = capacity
        self._open = open_folder
        self._lock = threading.Lock()
        self._models: dict[str, tuple[Model, str]] = {}

    def load(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Load a model; ``content`` is ``{"model_name", "url"}``, the URL being the folder of the unpacked archive.

        Raises:
            Refusal: 422 for a missing field, 409 if already loaded, 507 without room, 404 if the folder holds no model.
        """
        name, url = content.get("model_name"), content.get("url")
        for field, value in (("model_name", name), ("url", url)):
            if not isinstance(value, str) or not value:
                raise Refusal(422, "invalid_request", f"{field}: is required", field)
        with self._lock:
            if name in self._models:
                raise Refusal(409, "model_loaded", f"model {name!r} is loaded; unload it before loading another")
            if len(self._models) >= self._capacity:
                raise Refusal(
                    507, "no_room", f"all {self._capacity} places are taken; unload a model or raise {MODELS_VARIABLE}"
                )
            try:
                self._models[str(name)] = (self._open(Path(str(url))), str(url))
            except MemoryError:
                raise Refusal(507, "no_room", "there is not enough memory for another model; unload one") from None
            except ModelUnavailable as problem:
                log.error("model %s in %s cannot be served: %s", name, url, problem)
                raise Refusal(404, "model_unavailable", f"{url} holds no model: {problem}"[:500]) from None
        return self.describe(str(name))

    def unload(self, name: str) -> dict[str, Any]:
        """Forget a model; requests in flight on it still finish. Raises `Refusal` (404)."""
        with self._lock:
            described = self.describe(name)
            del self._models[name]
        return described

    def page(self, start: str = "") -> dict[str, Any]:
        """A page of models in order of name, beginning at ``start``."""
        names = [name for name in sorted(self._models) if name >= start]
        page: dict[str, Any] = {"models": [self.describe(name) for name in names[:PAGE]]}
        return {**page, "nextPageToken": names[PAGE]} if len(names) > PAGE else page

    def describe(self, name: str) -> dict[str, Any]:
        """A model's name and folder. Raises `Refusal` (404)."""
        return {"modelName": name, "modelUrl": self._find(name)[1]}

    def get(self, name: str) -> Model:
        """A loaded model. Raises `Refusal` (404)."""
        return self._find(name)[0]

    def _find(self, name: str) -> tuple[Model, str]:
        found = self._models.get(name)
        if found is None:
            raise Refusal(404, "model_not_found", f"model {name!r} is not loaded; load it with POST /models")
        return found


class MultiModelApp(InferenceApp):
    """The WSGI application of a multi-model endpoint."""

    def __init__(self, cache: ModelCache) -> None:
        self._cache = cache

    def respond(self, environ: Mapping[str, Any]) -> tuple[int, str, bytes]:
        """See `InferenceApp.respond`."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if path == "/ping":
            require_method(method, ("GET", "HEAD"))
            return 200, JSON, dump({})
        if path == "/models":
            require_method(method, ("GET", "POST"))
            if method == "POST":
                return 200, JSON, dump(self._cache.load(parse_body(read_body(environ))))
            return 200, JSON, dump(self._cache.page(_page_token(environ.get("QUERY_STRING", ""))))
        name, asks = path.removeprefix("/models/"), path.endswith("/invoke")
        if not path.startswith("/models/") or not name or (asks and name == "invoke"):
            raise Refusal(
                404, "not_found", "there is nothing at this path; it is /ping, /models, /models/NAME[/invoke]"
            )
        if asks:
            require_method(method, ("POST",))
            return invoke(environ, lambda: self._cache.get(name.removesuffix("/invoke")))
        require_method(method, ("GET", "DELETE"))
        return 200, JSON, dump(self._cache.unload(name) if method == "DELETE" else self._cache.describe(name))


def _page_token(query: str) -> str:
    return parse_qs(query).get("next_page_token", [""])[0]
