"""The inference container as SageMaker would meet it: a real process on a port, asked over HTTP."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from lambda_api.handlers.inference_app import (
    MAX_BODY_BYTES,
    MAX_LIST,
    Model,
    ModelHolder,
    ModelUnavailable,
    load_model,
)
from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.catalogue import read_catalogue
from lambda_api.serving.endpoints import http_invoke
from lambda_api.serving.engine import Engine
from lambda_api.serving.question import Filters, Invocation, PageContext, Question, UnknownProduct
from lambda_api.serving.scorers import EndpointFailed, EndpointScorer
from lambda_api.state.history import HistoryStore
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import RouteTarget
from tests.patience import PATIENCE_S, wait_until
from tests.serving_home import ServedHome, make_home

NOW = 1_900_000_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> ServedHome:
    return make_home(tmp_path_factory.mktemp("shop"), products=1_500, shoppers=40, events=20, kind="factors")


@pytest.fixture(scope="module")
def model_folder(shop: ServedHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(shop, tmp_path_factory.mktemp("opt_ml_model"))


@pytest.fixture(scope="module")
def port(model_folder: Path) -> Iterator[int]:
    with serving(model_folder) as (_, port):
        yield port


def unpack(shop: ServedHome, folder: Path) -> Path:
    """The model archive as the container finds it."""
    (catalogue,) = Path(shop.settings.catalogue_uri).iterdir()
    shutil.copytree(shop.target.bundle_uri, folder / "bundle")
    shutil.copytree(catalogue, folder / "catalogue")
    return folder


@contextmanager
def serving(folder: Path, workers: int = 2) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The server's process and its port, once it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "SM_MODEL_DIR": str(folder),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "MODEL_SERVER_WORKERS": str(workers),
    }
    command = [sys.executable, "-m", "lambda_api.handlers.inference_server", "serve", "--host", "127.0.0.1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: answers(port), "the server answered", process)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def answers(port: int) -> bool:
    """Whether a model is ready, or said to be missing, behind ``port``."""
    try:
        return ask(port, "GET", "/ping")[0] in (200, 503)
    except (OSError, http.client.HTTPException):
        return False


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def invocation(**changes: object) -> bytes:
    question = Question("ann", (), NOW, 5).to_json()
    return json.dumps({"question": {**question, **changes}}).encode()


def questions(shop: ServedHome) -> list[Question]:
    """Every shopper of the shop, each asked in another manner."""
    history = HistoryStore(open_table(shop.settings, "history"))
    pages = ("homepage", "product", "cart", "category")
    made = []
    for number, shopper in enumerate(shop.shoppers):
        made.append(
            Question(
                user_id=shopper,
                events=history.recent(shopper)[: number if number < 10 else None],
                now=NOW,
                k=1 + number % 23,
                exclude_purchased=number % 2 == 0,
                exclude_product_ids=shop.product_ids[: number % 5],
                filters=Filters(
                    categories=("Category 1", "Category 2") if number % 7 == 1 else (),
                    max_price=15.5 if number % 5 == 2 else None,
                    available_only=number % 3 > 0,
                ),
                context=PageContext(pages[number % 4], shop.product_ids[number : number + number % 3], "Category 3"),
                diversity=(number % 4) / 4,
                explore=0.3 if number % 6 == 5 else 0.0,
                seed=f"r{number}",
                explain=number % 4 == 3,
                include_products=number % 3 == 1,
            )
        )
    unknown = Event("no such product", InteractionType.VIEW, NOW)
    return [*made, Question("", (), NOW, 3), Question("stränger ✂", (unknown,), NOW, 3)]


def test_the_same_question_has_the_same_list_as_in_the_process(shop: ServedHome, model_folder: Path, port: int) -> None:
    engine = Engine(read_bundle(model_folder / "bundle").recommender, read_catalogue(model_folder / "catalogue"))
    target = RouteTarget("v1.0.0", "/elsewhere", "0" * 64, endpoint=f"http://127.0.0.1:{port}")
    scorer = EndpointScorer(http_invoke(timeout_s=10))
    asked = questions(shop)
    for question in asked:
        answered = scorer.ask(target, Invocation.of(question))
        assert answered.model_version == "v1.0.0"
        assert answered.ranking == engine.answer(question)
        assert scorer.ask(target, Invocation.of(question, "answer_unranked")).ranking == engine.answer_unranked(
            question
        )
    assert sum(engine.answer(question).personal for question in asked) > 30
    for product_id in shop.product_ids[:20]:
        assert scorer.ask(target, Invocation.of_similar(product_id, 7)).ranking == engine.similar(product_id, 7)
    with pytest.raises((EndpointFailed, UnknownProduct), match=r"422|no product"):
        scorer.ask(target, Invocation.of_similar("no such product", 7))


def test_ping_names_the_version_and_head_has_no_body(port: int) -> None:
    status, headers, body = ask(port, "GET", "/ping")
    assert (status, json.loads(body)) == (200, {"model_version": "v1.0.0"})
    assert headers["content-type"] == "application/json"
    status, _, body = ask(port, "HEAD", "/ping")
    assert (status, body) == (200, b"")


def test_batch_lines_come_back_one_for_one(shop: ServedHome, port: int) -> None:
    asked = questions(shop)[:12]
    lines = [json.dumps({"question": question.to_json()}) for question in asked]
    lines[3], lines[7] = "{not json", json.dumps({"question": {**asked[7].to_json(), "k": 0}})
    status, headers, body = ask(
        port, "POST", "/invocations", "\n".join(lines).encode(), {"Content-Type": "application/jsonlines"}
    )
    assert (status, headers["content-type"]) == (200, "application/jsonlines")
    answers = [json.loads(line) for line in body.splitlines()]
    assert len(answers) == len(lines) and body.endswith(b"\n")
    assert [place for place, answer in enumerate(answers) if "error" in answer] == [3, 7]
    for place in (0, 4, 11):
        _, _, single = ask(port, "POST", "/invocations", lines[place].encode())
        assert json.loads(single) == answers[place]


REFUSED: list[tuple[str, str, str, bytes | None, dict[str, str], int]] = [
    ("no such path", "GET", "/", None, {}, 404),
    ("a path beside", "POST", "/invocations/x", invocation(), {}, 404),
    ("a method ping does not have", "POST", "/ping", b"{}", {}, 405),
    ("a method invocations does not have", "GET", "/invocations", None, {}, 405),
    ("a method unheard of", "BREW", "/invocations", None, {}, 405),
    ("no type", "POST", "/invocations", invocation(), {"Content-Type": ""}, 415),
    ("another type", "POST", "/invocations", b"a,b", {"Content-Type": "text/csv"}, 415),
    ("nothing", "POST", "/invocations", b"", {}, 400),
    ("no JSON", "POST", "/invocations", b"{", {}, 400),
    ("no UTF-8", "POST", "/invocations", b'{"question": "\xff"}', {}, 400),
    ("NaN", "POST", "/invocations", invocation(diversity=float("nan")), {}, 400),
    ("a key twice", "POST", "/invocations", b'{"question": {}, "question": {}}', {}, 400),
    ("nested deeply", "POST", "/invocations", b"[" * 100_000, {}, 400),
    ("a list", "POST", "/invocations", b"[]", {}, 422),
    ("no question", "POST", "/invocations", b"{}", {}, 422),
    ("an empty question", "POST", "/invocations", b'{"question": {}}', {}, 422),
    ("a question that is text", "POST", "/invocations", b'{"question": "why"}', {}, 422),
    ("an unknown field", "POST", "/invocations", invocation(colour="red"), {}, 422),
    ("an unknown field beside", "POST", "/invocations", b'{"question": {}, "colour": 1}', {}, 422),
    ("an unknown operation", "POST", "/invocations", b'{"question": {}, "operation": "delete"}', {}, 422),
    ("k of nothing", "POST", "/invocations", invocation(k=0), {}, 422),
    ("k that is text", "POST", "/invocations", invocation(k="ten"), {}, 422),
    ("k beyond reason", "POST", "/invocations", invocation(k=MAX_LIST + 1), {}, 422),
    ("diversity out of range", "POST", "/invocations", invocation(diversity=1.5), {}, 422),
    ("an event without a product", "POST", "/invocations", invocation(events=[{"timestamp": 1}]), {}, 422),
    ("an event of no known kind", "POST", "/invocations", invocation(events=[["p", 9, 1]]), {}, 422),
    ("a page unheard of", "POST", "/invocations", invocation(context={"page": "moon"}), {}, 422),
    ("similar to nothing known", "POST", "/invocations", b'{"similar": {"product_id": "x", "k": 3}}', {}, 422),
    ("similar without a length", "POST", "/invocations", b'{"similar": {"product_id": "x"}}', {}, 422),
    ("too long", "POST", "/invocations", b" " * (MAX_BODY_BYTES + 1), {}, 413),
]


@pytest.mark.parametrize(("name", "method", "path", "body", "headers", "status"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_cannot_be_answered_is_refused_with_the_rule(
    port: int, name: str, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    found, answer_headers, content = ask(port, method, path, body, headers)
    assert found == status
    error = json.loads(content)["error"]
    assert error["code"] and error["message"]
    assert b"Traceback" not in content and b'File "' not in content
    assert (status != 405) or answer_headers["allow"]
    assert ask(port, "GET", "/ping")[0] == 200


def test_hostile_but_lawful_questions_are_answered(port: int) -> None:
    events = [{"product_id": "\ud800", "interaction_type": 0, "timestamp": -(10**16)}] * 3
    for changes in (
        {"user_id": ""},
        {"user_id": "\u0000" * 50},
        {"now": -(10**16)},
        {"now": 10**17, "k": MAX_LIST},
        {"events": events},
        {"exclude_product_ids": ["x"] * 20_000},
        {"filters": Filters(categories=("no such",)).to_json()},
    ):
        status, _, content = ask(port, "POST", "/invocations", invocation(**changes))
        assert status == 200, (changes, content)


@pytest.mark.slow
def test_without_a_model_the_container_says_so_and_takes_it_when_it_comes(shop: ServedHome, tmp_path: Path) -> None:
    with serving(tmp_path / "model", workers=1) as (process, port):
        for path, method in (("/ping", "GET"), ("/invocations", "POST")):
            status, _, body = ask(port, method, path, invocation() if method == "POST" else None)
            assert status == 503
            assert json.loads(body)["error"]["code"] == "model_unavailable"
        unpack(shop, tmp_path / "model")
        wait_until(lambda: ask(port, "GET", "/ping")[0] == 200, "the model was taken", process)
        assert ask(port, "POST", "/invocations", invocation())[0] == 200
        assert process.poll() is None


def test_a_model_is_not_read_again_before_its_time_and_a_bad_one_is_refused(shop: ServedHome, tmp_path: Path) -> None:
    folder = unpack(shop, tmp_path / "model")
    array = next((folder / "bundle" / "arrays").iterdir())
    whole = array.read_bytes()
    array.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    now = [0.0]
    holder = ModelHolder(folder, retry_s=5, clock=lambda: now[0])
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        holder.get()
    array.write_bytes(whole)
    now[0] = 4.9
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        holder.get()
    now[0] = 5.1
    model = holder.get()
    assert isinstance(model, Model) and model.version == "v1.0.0"
    shutil.rmtree(folder)
    assert holder.get() is model, "what is mapped stays"
    with pytest.raises(ModelUnavailable, match="missing"):
        load_model(folder)


def test_sigterm_lets_what_is_in_flight_finish(shop: ServedHome, model_folder: Path) -> None:
    line = json.dumps({"question": questions(shop)[20].to_json()})
    batch = "\n".join([line] * 800).encode()
    answers: list[tuple[int, int]] = []

    def run() -> None:
        status, _, body = ask(port, "POST", "/invocations", batch, {"Content-Type": "application/jsonlines"})
        answers.append((status, body.count(b"\n")))

    with serving(model_folder) as (process, port):
        asking = threading.Thread(target=run)
        asking.start()
        time.sleep(0.5)
        assert asking.is_alive(), "the batch was answered before the signal; make it longer"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        asking.join(PATIENCE_S)
        assert answers == [(200, 800)]
        with pytest.raises(OSError):
            ask(port, "GET", "/ping")


def test_a_killed_worker_is_replaced(model_folder: Path) -> None:
    with serving(model_folder, workers=1) as (process, port):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("this kernel does not list children")
        (worker,) = [int(pid) for pid in children.read_text().split()]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: answers(port), "another worker answered", process)
