"""A multi-model endpoint's container as SageMaker would meet it: a real process, models loaded, asked, unloaded."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody

from lambda_api.handlers.inference_app import Model, ModelUnavailable
from lambda_api.handlers.multi_model import PAGE, ModelCache
from lambda_api.handlers.request_validation import Refusal
from lambda_api.serving.endpoints import sagemaker_invoke
from lambda_api.serving.question import Invocation, Question
from lambda_api.serving.scorers import encode_invocation
from lambda_api.state.routing_record import RouteTarget
from tests.patience import PATIENCE_S
from tests.serving.test_inference_server import unpack
from tests.serving_home import ServedHome, make_home

QUESTION = Question("somebody", (), 1_900_000_000, 5)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[ServedHome, Path]]:
    """Two models with different products."""
    made = []
    for seed in (0, 1):
        shop = make_home(tmp_path_factory.mktemp(f"shop{seed}"), products=60 + seed, shoppers=3, events=5, seed=seed)
        made.append((shop, unpack(shop, tmp_path_factory.mktemp(f"model{seed}"))))
    return made


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    environment = {
        **os.environ,
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_BIND_TO_PORT": str(number),
        "MODEL_SERVER_WORKERS": "2",
        "MODEL_SERVER_MODELS": "2",
        "SM_MODEL_DIR": "/nowhere",
    }
    command = [sys.executable, "-m", "lambda_api.handlers.inference_server", "serve", "--host", "127.0.0.1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                ask(number, "GET", "/ping")
                break
            except OSError:
                time.sleep(0.05)
        yield number
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


def ask(port: int, method: str, path: str, content: Any = None, kind: str = "application/json") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    body = content if isinstance(content, bytes) else None if content is None else json.dumps(content).encode()
    connection.request(method, path, body, {"Content-Type": kind})
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, json.loads(answer) if kind == "application/json" else answer


def test_models_are_loaded_asked_and_unloaded(port: int, shops: list[tuple[ServedHome, Path]]) -> None:
    assert ask(port, "GET", "/ping")[0] == 200, "an endpoint without a model is well"
    assert ask(port, "GET", "/models") == (200, {"models": []})
    for name, (_, folder) in zip("ab", shops, strict=True):
        loaded = {"modelName": name, "modelUrl": str(folder)}
        assert ask(port, "POST", "/models", {"model_name": name, "url": str(folder)}) == (200, loaded)
        assert ask(port, "GET", f"/models/{name}") == (200, loaded)
    assert [one["modelName"] for one in ask(port, "GET", "/models")[1]["models"]] == ["a", "b"]
    question = encode_invocation(Invocation.of(QUESTION))
    answers = [ask(port, "POST", f"/models/{name}/invoke", question) for name in "ab"]
    assert [status for status, _ in answers] == [200, 200]
    lists = [[item["product_id"] for item in answer["ranking"]["items"]] for _, answer in answers]
    assert lists[0] != lists[1] and all(len(one) == 5 for one in lists)
    _, lines = ask(port, "POST", "/models/a/invoke", question + b"\n" + question, "application/jsonlines")
    assert [json.loads(line) for line in lines.splitlines()] == [answers[0][1]] * 2
    status, refused = ask(port, "POST", "/models", {"model_name": "a", "url": "/elsewhere"})
    assert (status, refused["error"]["code"]) == (409, "model_loaded")
    status, refused = ask(port, "POST", "/models", {"model_name": "c", "url": str(shops[0][1])})
    assert (status, refused["error"]["code"]) == (507, "no_room")
    assert ask(port, "DELETE", "/models/a")[0] == 200
    assert ask(port, "POST", "/models/a/invoke", question)[0] == 404
    assert ask(port, "DELETE", "/models/a")[0] == 404
    assert ask(port, "POST", "/models/b/invoke", question)[0] == 200
    status, refused = ask(port, "POST", "/models", {"model_name": "c", "url": "/nowhere"})
    assert (status, refused["error"]["code"]) == (404, "model_unavailable")
    assert ask(port, "DELETE", "/models/b")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/models", {"url": "/x"}, 422),
        ("POST", "/models", {"model_name": 3, "url": "/x"}, 422),
        ("POST", "/models", b"{", 400),
        ("PUT", "/models", None, 405),
        ("GET", "/models/a/invoke", None, 405),
        ("PUT", "/models/a", None, 405),
        ("POST", "/models/invoke", b"{}", 404),
        ("POST", "/invocations", b"{}", 404),
        ("GET", "/models/", None, 404),
        ("GET", "/elsewhere", None, 404),
    ],
)
def test_what_is_no_such_request_is_refused(port: int, method: str, path: str, content: Any, status: int) -> None:
    assert ask(port, method, path, content)[0] == status


def shelf(**failures: Exception) -> ModelCache:
    def open_folder(folder: Path) -> Model:
        if folder.name in failures:
            raise failures[folder.name]
        return Model(engine=None, version=folder.name)  # type: ignore[arg-type]

    return ModelCache(1_000, open_folder)


def test_pages_hold_every_model_once() -> None:
    models = shelf()
    names = [f"m{number:04d}" for number in range(2 * PAGE + 1)]
    for name in names:
        models.load({"model_name": name, "url": f"/models/{name}"})
    found, token, pages = [], "", 0
    while pages == 0 or token:
        page = models.page(token)
        found += [one["modelName"] for one in page["models"]]
        token, pages = page.get("nextPageToken", ""), pages + 1
    assert (found, pages) == (names, 3)


@pytest.mark.parametrize(
    ("failure", "status"), [(MemoryError(), 507), (ModelUnavailable("no bundle"), 404)], ids=["memory", "no model"]
)
def test_a_model_that_cannot_be_opened_takes_no_place(failure: Exception, status: int) -> None:
    models = shelf(bad=failure)
    with pytest.raises(Refusal) as refusal:
        models.load({"model_name": "a", "url": "/models/bad"})
    assert refusal.value.status == status
    assert models.page() == {"models": []}


@pytest.mark.parametrize(
    ("endpoint", "sent"),
    [
        ("recsys-dev-v7", {"EndpointName": "recsys-dev-v7"}),
        (
            "recsys-dev-models/abc/model.tar.gz",
            {"EndpointName": "recsys-dev-models", "TargetModel": "abc/model.tar.gz"},
        ),
    ],
)
def test_a_route_target_names_one_of_many_models_behind_its_endpoint(endpoint: str, sent: dict[str, str]) -> None:
    calls: list[dict[str, Any]] = []

    class Runtime:
        def invoke_endpoint(self, **arguments: Any) -> dict[str, Any]:
            calls.append(arguments)
            return {"Body": StreamingBody(io.BytesIO(b"{}"), 2)}

    target = RouteTarget("v7", "somewhere", "abc", endpoint=endpoint)
    assert sagemaker_invoke(1.0, Runtime())(target, b"{}") == b"{}"
    assert {name: calls[0][name] for name in ("EndpointName", "TargetModel") if name in calls[0]} == sent
