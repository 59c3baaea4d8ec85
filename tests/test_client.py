"""The Python client: against the real server process, and against a server that fails in every way on purpose."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lambda_api.client import (
    FeedbackIncomplete,
    FeedbackStored,
    NotAllowed,
    Recommendations,
    RequestRefused,
    ServiceUnavailable,
)
from lambda_api.handlers.models import ContextIn, EventIn, FeedbackEvent, FiltersIn
from tests.local_server.processes import Server, running
from tests.serving_home import ServedHome, make_home

LIST: dict[str, Any] = {
    "recommendations": [], "model_version": "v1", "inference_time_ms": 1.0, "request_id": "r", "variant": "champion",
}  # fmt: skip


def event(number: int, **values: Any) -> FeedbackEvent:
    return FeedbackEvent(event_id=f"e{number}", user_id="u", product_id="p", event_type="view", **values)


# -- the real server ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ServedHome:
    return make_home(tmp_path_factory.mktemp("client") / "home", products=300, shoppers=20)


@pytest.fixture(scope="module")
def server(home: ServedHome) -> Iterator[Server]:
    with running(home.settings.home.parent, "--no-static", fakes=False) as started:
        yield started


@pytest.fixture
def shop(home: ServedHome, server: Server) -> Iterator[Recommendations]:
    with Recommendations(f"http://127.0.0.1:{server.port}/", home.key, timeout_s=20) as made:
        yield made


def test_a_stranger_looks_at_something_and_the_list_answers_to_it(shop: Recommendations, home: ServedHome) -> None:
    product = home.product_ids[120]
    before = shop.recommend("stranger", 10)
    stored = shop.feedback(
        [FeedbackEvent(event_id="s1", user_id="stranger", product_id=product, event_type="view",
                       request_id=before.request_id)]
    )  # fmt: skip
    assert (stored.accepted, stored.duplicates, stored.unknown_products) == (1, 0, ())
    after = shop.recommend("stranger", 10, explain=True)
    assert [one.product_id for one in after.recommendations] != [one.product_id for one in before.recommendations]
    assert product in {one.reason_product_id for one in after.recommendations}
    assert any(one.explanation for one in after.recommendations)


def test_every_option_arrives(shop: Recommendations, home: ServedHome) -> None:
    shown = shop.popular(k=50).recommendations
    category = next(one.product.category for one in shown if one.product and one.product.category)
    left_out = next(one.product_id for one in shown if one.product and one.product.category == category)
    answer = shop.recommend(
        home.shoppers[0],
        5,
        exclude_purchased=False,
        exclude_product_ids=[left_out],
        filters=FiltersIn(categories=[category]),
        context=ContextIn(page="product", product_ids=[home.product_ids[0]], device="mobile"),
        events=[EventIn(product_id=home.product_ids[1], event_type="view")],
        include_products=True,
        diversity=0.5,
    )
    assert answer.recommendations and len(answer.recommendations) <= 5
    for one in answer.recommendations:
        assert one.product is not None and one.product.category == category
        assert one.product_id not in (left_out, home.product_ids[0])


def test_similar_popular_and_health(shop: Recommendations, home: ServedHome) -> None:
    assert len(shop.similar(home.product_ids[3], 4).recommendations) == 4
    assert len(shop.popular(k=7).recommendations) == 7
    assert shop.health().models[0].model_version == home.target.version
    with pytest.raises(RequestRefused) as refused:
        shop.similar("nobody knows it?&#", 4)
    assert refused.value.status == 404


def test_feedback_of_any_length_may_be_sent_again(shop: Recommendations) -> None:
    events = [event(number) for number in range(120)]
    first, again = shop.feedback(events), shop.feedback(events)
    assert (first.accepted, first.duplicates) == (120, 0)
    assert (again.accepted, again.duplicates) == (0, 120)
    assert [one.index for one in first.unknown_products] == list(range(120))  # no such product "p"


def test_a_bad_event_costs_no_other_event(shop: Recommendations) -> None:
    future = int(time.time()) + 600
    events = [event(number + 1000, timestamp=future if number == 7 else None) for number in range(120)]
    stored = shop.feedback(events)
    assert (stored.accepted, stored.duplicates) == (119, 0)
    assert [(one.index, one.event_id, one.field) for one in stored.refused] == [(7, "e1007", "events.7.timestamp")]
    assert "in the future" in stored.refused[0].message
    # A batch of bad events only is named event by event too.
    alone = shop.feedback([event(2000, timestamp=future), event(2001, timestamp=future * 1000)])
    assert [one.event_id for one in alone.refused] == ["e2000", "e2001"] and alone.accepted == 0
    assert "milliseconds" in alone.refused[1].message


def test_nothing_to_report(shop: Recommendations) -> None:
    assert shop.feedback([]) == FeedbackStored(0, 0)


def test_refusals_name_field_and_rule_before_and_after_sending(shop: Recommendations, server: Server) -> None:
    with pytest.raises(RequestRefused, match=r"num_recommendations: .*100") as here:
        shop.recommend("u", 101)
    assert (here.value.status, here.value.field) == (0, "num_recommendations")
    with pytest.raises(RequestRefused, match="min_price") as there:
        shop.recommend("u", filters=FiltersIn(min_price=5.0, max_price=1.0))
    assert (there.value.status, there.value.field) == (422, "filters.min_price")
    assert there.value.request_id
    with pytest.raises(NotAllowed) as wrong:
        Recommendations(f"http://127.0.0.1:{server.port}", "rk_wrong").popular()
    assert wrong.value.status == 403


def test_threads_share_a_client_and_get_their_own_answers(shop: Recommendations, home: ServedHome) -> None:
    """Also proves that the server's handlers keep requests of different threads apart."""
    expected = {number: [one.product_id for one in shop.similar(home.product_ids[number], number + 1).recommendations]
                for number in range(16)}  # fmt: skip
    wrong: list[object] = []

    def ask(number: int) -> None:
        try:
            for _ in range(15):
                given = shop.similar(home.product_ids[number], number + 1)
                if [one.product_id for one in given.recommendations] != expected[number]:
                    wrong.append((number, given))
                if len(shop.recommend(f"user-{number}", number + 1).recommendations) != number + 1:
                    wrong.append(number)
        except Exception as error:  # noqa: BLE001 - a thread's error must reach the test
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_was_answered_is_logged_when_the_server_stopped(home: ServedHome) -> None:
    from lambda_api.state.exposures import InferenceLog
    from lambda_api.state.open_table import open_table

    with running(home.settings.home.parent, "--no-static", fakes=False) as server:
        with Recommendations(f"http://127.0.0.1:{server.port}", home.key, timeout_s=20) as shop:
            asked = [shop.recommend(f"logged-{number}", 3) for number in range(60)]
        assert server.stop() == 0
    log = InferenceLog(open_table(home.settings, "exposures"))
    for answer in asked:
        exposure = log.get(answer.request_id)
        assert exposure is not None
        assert [item.product_id for item in exposure.items] == [one.product_id for one in answer.recommendations]


# -- a server that fails on purpose ------------------------------------------------------------------------------------


class Script:
    """A server that answers its n-th request as told; the last answer repeats. Remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.asked: list[dict[str, Any]] = []
        self.connections = 0
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                script.connections += 1

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                script.asked.append({"path": self.path, "body": json.loads(body or b"null")})
                script.answers[min(len(script.asked), len(script.answers)) - 1](self)

            do_GET = do_POST = answer

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def says(status: int, content: object, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def hangs_up_within_the_answer(handler: BaseHTTPRequestHandler) -> None:
    body = json.dumps(LIST).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:-1])
    handler.close_connection = True


def answers_then_hangs_up_silently(handler: BaseHTTPRequestHandler) -> None:
    says(200, LIST)(handler)
    handler.wfile.flush()
    handler.close_connection = True


def keeps_quiet(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    threading.Event().wait(1.0)


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()
    yield made
    made.http.shutdown()
    made.http.server_close()


def client_of(script: Script, pauses: list[float] | None = None, **options: Any) -> Recommendations:
    sleeps = [] if pauses is None else pauses
    return Recommendations(
        f"http://127.0.0.1:{script.http.server_port}/v1", "k", sleep=sleeps.append, uniform=lambda low, high: high,
        **{"timeout_s": 5.0, **options},
    )  # fmt: skip


@pytest.mark.parametrize(
    "failure",
    [
        says(500, {}), says(502, b"<html>"), says(503, {}), says(504, {}), says(429, {}), says(408, {}), hangs_up,
        hangs_up_within_the_answer,
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again_a_few_times(script: Script, failure: Any) -> None:
    script.answers = [failure, failure, says(200, LIST)]
    pauses: list[float] = []
    assert client_of(script, pauses).recommend("u").model_version == "v1"
    assert len(script.asked) == 3 and script.asked[0] == script.asked[2]
    assert pauses == [0.1, 0.2]
    assert script.asked[0]["path"] == "/v1/recommend"
    script.answers, script.asked = [failure], []
    with pytest.raises(ServiceUnavailable, match="3 times"):
        client_of(script).recommend("u")
    assert len(script.asked) == 3


def test_an_answer_that_does_not_come_is_a_time_out(script: Script) -> None:
    script.answers = [keeps_quiet]
    with pytest.raises(ServiceUnavailable, match=r"[Tt]ime"):
        client_of(script, timeout_s=0.2, retries=1).popular()
    assert len(script.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422])
def test_a_refusal_is_final(script: Script, status: int) -> None:
    script.answers = [says(status, {"error": {"code": "c", "message": "m", "field": "a.b"}, "request_id": "r"})]
    with pytest.raises(RequestRefused, match=r"c: a.b: m \(request r\)") as refused:
        client_of(script).recommend("u")
    assert (refused.value.status, refused.value.field) == (status, "a.b")
    assert isinstance(refused.value, NotAllowed) is (status in (401, 403))
    assert len(script.asked) == 1


@pytest.mark.parametrize("content", [{"message": "Forbidden"}, b"", b"<html>", [], {"error": "text"}, {"error": None}])
def test_the_gateways_own_refusals_are_understood(script: Script, content: object) -> None:
    script.answers = [says(403, content)]
    with pytest.raises(NotAllowed):
        client_of(script).popular()


def test_fields_of_a_newer_server_are_passed_over(script: Script) -> None:
    item = {"product_id": "p", "score": 1, "reason": "r", "reason_code": "popular", "colour": "red"}
    script.answers = [says(200, {**LIST, "recommendations": [item], "region": {"a": 1}})]
    assert client_of(script).recommend("u").recommendations[0].product_id == "p"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", {"recommendations": "none"}, b"\xff"])
def test_an_answer_that_is_none_is_an_error(script: Script, content: object) -> None:
    script.answers = [says(200, content)]
    with pytest.raises(ServiceUnavailable, match="does not have the expected form"):
        client_of(script).recommend("u")


def test_connections_are_kept_and_a_stale_one_costs_no_attempt(script: Script) -> None:
    client = client_of(script, retries=0)
    script.answers = [says(200, LIST)]
    for _ in range(5):
        client.recommend("u")
    assert script.connections == 1
    script.answers, script.asked = [answers_then_hangs_up_silently], []
    for _ in range(5):
        client.recommend("u")
    assert len(script.asked) == 5


def test_events_the_service_asks_for_again_are_sent_again(script: Script) -> None:
    script.answers = [
        says(202, {"accepted": 1, "duplicates": 0, "retry": ["e1", "e2"], "request_id": "r"}),
        says(202, {"accepted": 1, "duplicates": 0, "retry": ["e2"], "request_id": "r"}),
        says(202, {"accepted": 0, "duplicates": 1, "retry": [], "request_id": "r"}),
    ]
    assert client_of(script).feedback([event(0), event(1), event(2)]) == FeedbackStored(2, 1)
    sent = [[one["event_id"] for one in asked["body"]["events"]] for asked in script.asked]
    assert sent == [["e0", "e1", "e2"], ["e1", "e2"], ["e2"]]


def test_events_that_cannot_be_stored_are_named(script: Script) -> None:
    script.answers = [says(202, {"accepted": 0, "duplicates": 0, "retry": ["e1"], "request_id": "r"})]
    with pytest.raises(FeedbackIncomplete) as incomplete:
        client_of(script).feedback([event(0), event(1)])
    assert incomplete.value.unsent == ("e1",)
    stored = says(202, {"accepted": 50, "duplicates": 0, "retry": ["e7"], "request_id": "r"})
    script.answers, script.asked = [stored, says(503, {})], []
    with pytest.raises(FeedbackIncomplete) as incomplete:
        client_of(script).feedback([event(number) for number in range(52)])
    assert incomplete.value.unsent == ("e7", "e50", "e51") and incomplete.value.accepted == 50


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ServiceUnavailable, match="refused"):
        Recommendations(f"http://127.0.0.1:{port}", "k", sleep=lambda seconds: None).health()
    for url in ("127.0.0.1:8000", "ftp://x", "http://"):
        with pytest.raises(ValueError, match="url must be"):
            Recommendations(url, "k")
