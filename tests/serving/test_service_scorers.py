"""The endpoint as a stranger: whatever it answers, a shopper sees only what was checked; and both scorers agree."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from lambda_api.interactions import Event, InteractionType
from lambda_api.serving.bundle_host import BundleHost, CatalogueHost
from lambda_api.serving.endpoints import http_invoke, invoke, sagemaker_invoke
from lambda_api.serving.question import Invocation, PageContext, Question, RankedItem, Ranking, Reason, UnknownProduct
from lambda_api.serving.scorers import (
    EndpointFailed,
    EndpointScorer,
    InProcessScorer,
    RoutedScorer,
    Scored,
    decode_answer,
    encode_answer,
    encode_invocation,
    read_invocation,
)
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import RouteTarget
from tests.serving_home import ServedHome, make_home

QUESTION = Question(
    "u",
    (Event("bought", InteractionType.PURCHASE, 5), Event("seen", InteractionType.VIEW, 6)),
    now=10,
    k=3,
    exclude_product_ids=("out",),
    context=PageContext("product", ("here",)),
)


def answer_of(*ids: str, **changes: Any) -> dict[str, Any]:
    items = tuple(RankedItem(product, 1.0, Reason("for_you", "For you")) for product in ids)
    return {"ranking": Ranking(items, "ranked", True).to_json(), "model_version": "v1"} | changes


def broken_item(**changes: Any) -> dict[str, Any]:
    content = answer_of("a")
    content["ranking"]["items"][0] |= changes
    return content


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "noise": b"\x00\xff\x13\x37" * 50,
    "a page": b"<html>502 Bad Gateway</html>",
    "cut off": json.dumps(answer_of("a", "b")).encode()[:-20],
    "a list": b"[]",
    "another object": b'{"predictions": [1, 2]}',
    "no version": json.dumps({"ranking": answer_of()["ranking"]}).encode(),
    "an empty version": json.dumps(answer_of(model_version="")).encode(),
    "a version that is a number": json.dumps(answer_of(model_version=3)).encode(),
    "more than asked for": json.dumps(answer_of("a", "b", "c", "d")).encode(),
    "a product twice": json.dumps(answer_of("a", "a")).encode(),
    "a product without id": json.dumps(answer_of("")).encode(),
    "an id that is a number": json.dumps(broken_item(product_id=5)).encode(),
    "a score of NaN": json.dumps(broken_item(score=float("nan"))).encode(),
    "a score of infinity": json.dumps(broken_item(score=float("inf"))).encode(),
    "a score as text": json.dumps(broken_item(score="high")).encode(),
    "an unknown reason": json.dumps(broken_item(reason={"code": "magic", "text": "x", "product_id": None})).encode(),
    "a propensity of 2": json.dumps(broken_item(propensity=2.0)).encode(),
    "a field too many": json.dumps(answer_of("a", secret=1)).encode(),
    "no ranking": json.dumps(answer_of(ranking=None)).encode(),
    "deep nesting": b"[" * 100_000,
    "too much": b" " * (5 << 20),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(EndpointFailed):
        EndpointScorer(lambda target, body: garbage).ask(RouteTarget("v", "b", "c", "e"), Invocation.of(QUESTION))


def test_excluded_products_never_slip_through() -> None:
    sent = [json.dumps(answer_of(*ids)).encode() for ids in (("bought", "a", "out"), ("here",), ("a", "b"))]
    scorer = EndpointScorer(lambda target, body: sent.pop(0))
    target = RouteTarget("v", "b", "c", "e")
    for expected, note in (
        (["a"], "endpoint: excluded product"),
        ([], "endpoint: excluded product"),
        (["a", "b"], None),
    ):
        scored = scorer.ask(target, Invocation.of(QUESTION))
        assert ([item.product_id for item in scored.ranking.items], scored.note) == (expected, note)


def test_questions_and_answers_cross_unchanged() -> None:
    for operation in ("answer", "answer_unranked"):
        asked = Invocation.of(QUESTION, operation)  # type: ignore[arg-type]
        assert read_invocation(json.loads(encode_invocation(asked))) == asked
    similar = Invocation.of_similar("日本", 4)
    assert read_invocation(json.loads(encode_invocation(similar))) == similar
    item = RankedItem("a", 0.1, Reason("viewed", "Because", "b"), 0.25, None, (("b", 1 / 3),))
    scored = Scored(Ranking((item,), "candidates", False), "v1")
    assert decode_answer(encode_answer(scored), 1) == scored


@pytest.mark.parametrize(
    "content",
    [{}, {"question": {}}, {"similar": {"product_id": "p"}}, {"similar": {"product_id": "p", "k": 0}}, {"similar": 5},
     {"question": QUESTION.to_json(), "operation": "delete"}, {"question": QUESTION.to_json(), "x": 1}],
)  # fmt: skip
def test_what_is_no_invocation_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_invocation(content)


class Endpoint:
    """An HTTP endpoint that answers as told; ``lost``: bytes at the end before which it hangs up."""

    def __init__(self, respond: Callable[[bytes], tuple[int, bytes]], lost: int = 0) -> None:
        self.connections: set[Any] = set()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                endpoint.connections.add(self.client_address)
                assert self.path == "/invocations"
                status, content = respond(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) - lost])
                self.close_connection = lost > 0

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.target = RouteTarget("v", "b", "c", f"http://127.0.0.1:{self.server.server_port}")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Endpoint]]:
    started: list[Endpoint] = []

    def start(respond: Callable[[bytes], tuple[int, bytes]], lost: int = 0) -> Endpoint:
        started.append(Endpoint(respond, lost))
        return started[-1]

    yield start
    for endpoint in started:
        endpoint.close()


def test_connections_are_kept_and_closed_ones_replaced(serve: Callable[..., Endpoint]) -> None:
    endpoint = serve(lambda body: (200, b"{}"))
    call = http_invoke(5.0)
    for _ in range(3):
        assert call(endpoint.target, b"{}") == b"{}"
    assert len(endpoint.connections) == 1


def test_status_slowness_silence_and_half_answers_are_failures(serve: Callable[..., Endpoint]) -> None:
    failing = serve(lambda body: (503, b"busy"))
    with pytest.raises(EndpointFailed, match="status 503"):
        http_invoke(5.0)(failing.target, b"{}")
    slow = serve(lambda body: (time.sleep(1), (200, b"{}"))[1])
    with pytest.raises(EndpointFailed, match="imed out"):
        http_invoke(0.05)(slow.target, b"{}")
    with pytest.raises(EndpointFailed, match="IncompleteRead"):
        http_invoke(5.0)(serve(lambda body: (200, b"{}"), lost=1).target, b"{}")
    with pytest.raises(EndpointFailed):
        http_invoke(1.0)(RouteTarget("v", "b", "c", "http://127.0.0.1:1"), b"{}")


def test_sagemaker_is_asked_by_name_and_its_errors_are_failures() -> None:
    client = boto3.client("sagemaker-runtime", "eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    target = RouteTarget("v", "b", "c", "shop-v1")
    asked = {"EndpointName": "shop-v1", "ContentType": "application/json", "Accept": "application/json", "Body": b"{}"}
    with Stubber(client) as stub:
        import io

        stub.add_response("invoke_endpoint", {"Body": StreamingBody(io.BytesIO(b"{}"), 2)}, asked)
        assert sagemaker_invoke(1.0, client)(target, b"{}") == b"{}"
        stub.add_client_error("invoke_endpoint", "ModelError", "the container answered 500")
        with pytest.raises(EndpointFailed, match="ModelError"):
            sagemaker_invoke(1.0, client)(target, b"{}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ServedHome:
    return make_home(tmp_path_factory.mktemp("home"), products=300, shoppers=5)


def in_process(home: ServedHome, cache: Path) -> InProcessScorer:
    table = open_table(home.settings, "serving")
    return InProcessScorer(BundleHost(cache / "bundles"), CatalogueHost(table, cache / "catalogues"))


def test_both_scorers_give_the_same_list(home: ServedHome, tmp_path: Path, serve: Callable[..., Endpoint]) -> None:
    inside = in_process(home, tmp_path)

    def container(body: bytes) -> tuple[int, bytes]:
        return 200, encode_answer(inside.ask(home.target, read_invocation(json.loads(body))))

    endpoint = serve(container)
    target = RouteTarget("v1.0.0", home.target.bundle_uri, home.target.checksum, endpoint.target.endpoint)
    outside = RoutedScorer(inside, EndpointScorer(invoke(10.0)))
    seen, bought = home.product_ids[3], home.product_ids[7]
    for number in range(8):
        question = Question(
            f"user_{number}",
            (Event(seen, InteractionType.VIEW, 1000), Event(bought, InteractionType.PURCHASE, 990)),
            now=1001,
            k=12,
            diversity=number / 10,
            explore=0.2 * (number % 2),
            seed=f"r{number}",
            explain=True,
            include_products=True,
        )
        for asked in (Invocation.of(question), Invocation.of(question, "answer_unranked")):
            assert outside.ask(target, asked) == inside.ask(home.target, asked)
    similar = Invocation.of_similar(seen, 5)
    assert outside.ask(target, similar) == inside.ask(home.target, similar)


def test_an_unknown_product_is_not_a_failure(home: ServedHome, tmp_path: Path) -> None:
    with pytest.raises(UnknownProduct):
        in_process(home, tmp_path).ask(home.target, Invocation.of_similar("no such product", 5))


def test_without_a_catalogue_lists_stay_personal_and_say_so(home: ServedHome, tmp_path: Path) -> None:
    table = open_table(home.settings.model_copy(update={"home": tmp_path}), "serving")  # an empty one
    scorer = InProcessScorer(BundleHost(tmp_path / "bundles"), CatalogueHost(table, tmp_path / "catalogues"))
    question = Question("u", (Event(home.product_ids[3], InteractionType.VIEW, 1000),), now=1001, k=5)
    scored = scorer.ask(home.target, Invocation.of(question))
    assert scored.note == "catalogue: missing"
    assert scored.ranking.personal
    assert len(scored.ranking.items) == 5
