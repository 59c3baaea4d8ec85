"""The API end to end on a small served shop: what shoppers get, in HTTP's own terms."""

import base64
import gzip
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lambda_api.handlers import api, dependencies, observe
from lambda_api.handlers.authorizer import UNAVAILABLE
from lambda_api.handlers.dependencies import Serving
from lambda_api.handlers.models import (
    FeedbackResponse,
    HealthResponse,
    ListResponse,
    MetricsResponse,
    RecommendResponse,
)
from tests.handlers.shop import call, event
from tests.json_lines import read_json_lines
from tests.patience import patient
from tests.serving_home import ServedHome


def ids(content: dict[str, Any]) -> list[str]:
    return [item["product_id"] for item in content["recommendations"]]


def test_recommend_answers_as_documented(serving: Serving, served_home: ServedHome) -> None:
    body = {
        "user_id": served_home.shoppers[0],
        "num_recommendations": 7,
        "include_products": True,
        "explain": True,
        "context": {"page": "homepage", "device": "mobile"},
    }
    status, content = call("POST", "/recommend", body, request_id="r-1")
    answer = RecommendResponse.model_validate(content)
    assert status == 200
    assert len(answer.recommendations) == 7
    assert (answer.model_version, answer.variant, answer.request_id) == ("v1.0.0", "champion", "r-1")
    assert answer.fallback is None
    assert all(item.product is not None and item.product.available for item in answer.recommendations)
    assert any(item.explanation for item in answer.recommendations)


def test_a_stranger_gets_a_personal_list_after_one_view(serving: Serving, served_home: ServedHome) -> None:
    request = {"user_id": "nobody-has-met-me", "num_recommendations": 5}
    before = call("POST", "/recommend", request)[1]
    seen = served_home.product_ids[150]
    view = {"event_id": "e1", "user_id": "nobody-has-met-me", "product_id": seen, "event_type": "view"}
    assert call("POST", "/feedback", view)[0] == 202
    after = call("POST", "/recommend", request)[1]
    assert {item["reason_code"] for item in before["recommendations"]} <= {"popular", "popular_in_category"}
    assert ids(after) != ids(before)
    assert any(item.get("reason_product_id") == seen for item in after["recommendations"])


def test_events_of_the_request_count_at_once_and_are_not_stored(serving: Serving, served_home: ServedHome) -> None:
    seen = served_home.product_ids[150]
    events = [{"product_id": seen, "event_type": "view"}]
    personal = call("POST", "/recommend", {"user_id": "s1", "events": events})[1]
    assert any(item.get("reason_product_id") == seen for item in personal["recommendations"])
    assert serving.service._history.recent("s1") == ()


def test_feedback_is_idempotent_and_joined_to_the_list_it_answers(serving: Serving) -> None:
    shown = call("POST", "/recommend", {"user_id": "s2"}, request_id="r-joined")[1]
    product = ids(shown)[0]
    events = [
        {"event_id": "a", "user_id": "s2", "product_id": product, "event_type": "view", "request_id": "r-joined"},
        {"event_id": "b", "user_id": "s3", "product_id": product, "event_type": "view", "request_id": "r-joined"},
        {"event_id": "a", "user_id": "s2", "product_id": product, "event_type": "view"},
    ]
    first = FeedbackResponse.model_validate(call("POST", "/feedback", {"events": events})[1])
    again = FeedbackResponse.model_validate(call("POST", "/feedback", {"events": events})[1])
    assert (first.accepted, first.duplicates, first.retry) == (2, 1, [])
    assert (again.accepted, again.duplicates, again.retry) == (0, 3, [])
    assert len(serving.service._history.recent("s2")) == 1
    records = list(read_json_lines(serving.settings.home / "events", "feedback"))
    variants = {record["event_id"]: record["variant"] for record in reversed(records)}  # the first one counts
    assert variants == {"a": "champion", "b": None}  # whoever was not shown the list did not answer it


def test_one_bad_event_of_a_batch_is_named_and_the_others_are_stored(serving: Serving, served_home: ServedHome) -> None:
    known = served_home.product_ids[3]
    events: list[Any] = [
        {"event_id": f"b{number}", "user_id": "s4", "product_id": known, "event_type": "view"} for number in range(50)
    ]
    events[7]["timestamp"] = int(time.time()) + 600
    events[9]["event_type"] = "rating"
    events[11] = {"event_id": "b11", "colour": "red"}
    events[13] = "no event"
    status, content = call("POST", "/feedback", {"events": events})
    answer = FeedbackResponse.model_validate(content)
    assert (status, answer.accepted, answer.retry, answer.unknown_products) == (202, 46, [], [])
    assert {(one.index, one.event_id, one.field) for one in answer.refused} == {
        (7, "b7", "events.7.timestamp"),
        (9, "b9", "events.9.rating"),
        (11, "b11", "events.11.user_id"),
        (11, "b11", "events.11.product_id"),
        (11, "b11", "events.11.event_type"),
        (11, "b11", "events.11.colour"),
        (13, None, "events.13"),
    }
    assert all(one.message.startswith(one.field) for one in answer.refused)
    assert len(serving.service._history.recent("s4")) == 46


def test_products_that_the_catalogue_lacks_are_flagged_and_their_events_stored(
    serving: Serving, served_home: ServedHome
) -> None:
    call("POST", "/recommend", {"user_id": "s5"})  # loads the catalogue
    view = {"user_id": "s5", "event_type": "view"}
    events = [view | {"event_id": "k", "product_id": served_home.product_ids[0]}]
    events += [view | {"event_id": "n", "product_id": "no such product"}]
    answer = FeedbackResponse.model_validate(call("POST", "/feedback", {"events": events})[1])
    assert answer.accepted == 2
    assert [(one.index, one.product_id) for one in answer.unknown_products] == [(1, "no such product")]


@pytest.mark.parametrize(
    "odd", ["a/b c+d%2Fe?f#g", "..", "ünï 靴下 🧦", "quote\"s'", "https://shop.example/" + "category/" * 20, "🧦" * 512]
)
def test_ids_that_ingest_accepts_are_accepted_back(serving: Serving, odd: str) -> None:
    event_of = {"event_id": odd, "user_id": f"  {odd} ", "product_id": odd, "event_type": "view"}
    assert call("POST", "/feedback", event_of)[0] == 202
    assert [one.product_id for one in serving.service._history.recent(odd)] == [odd]  # trimmed: one shopper, not two
    status, content = call("POST", "/recommend", {"user_id": odd, "exclude_product_ids": [odd]})
    assert (status, content["shopper_known"]) == (200, True)
    status, content = call("GET", f"/similar/{odd}")
    assert (status, content["error"]["code"]) == (404, "unknown_product")  # asked of the model, not refused as an id


def test_an_unknown_shopper_is_said_to_be_unknown(serving: Serving, served_home: ServedHome) -> None:
    assert call("POST", "/recommend", {"user_id": "never seen"})[1]["shopper_known"] is False
    assert call("POST", "/recommend", {"user_id": served_home.shoppers[0]})[1]["shopper_known"] is True
    seen = [{"product_id": served_home.product_ids[0], "event_type": "view"}]
    assert call("POST", "/recommend", {"user_id": "never seen", "events": seen})[1]["shopper_known"] is True


def test_compressed_bodies_and_milliseconds_get_their_own_sentence(serving: Serving) -> None:
    body = gzip.compress(b'{"user_id": "u"}')
    packed = {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    status, content = call("POST", "/recommend", headers={"content-encoding": "gzip"}, replace=packed)
    assert (status, content["error"]["field"]) == (415, "content-encoding")
    assert "uncompressed" in content["error"]["message"]
    status, content = call("POST", "/recommend", replace=packed)
    assert status == 400 and "gzip" in content["error"]["message"]
    late = {"event_id": "m", "user_id": "u", "product_id": "p", "event_type": "view"}
    status, content = call("POST", "/feedback", late | {"timestamp": int(time.time() * 1000)})
    assert status == 422
    assert content["error"]["message"] == "timestamp: looks like milliseconds; give seconds since 1970 UTC"


def test_a_key_that_has_made_its_requests_of_the_day_is_answered_429(serving: Serving) -> None:
    limited = {"name": "test", "key_id": "k2", "scopes": "shop", "requests_per_day": "2"}
    body = {"user_id": "u"}
    assert [call("POST", "/recommend", body, identity=limited)[0] for _ in range(2)] == [200, 200]
    refused = api.handler(event("POST", "/recommend", body, identity=limited), None)
    assert refused["statusCode"] == 429 and 0 < int(refused["headers"]["Retry-After"]) <= 86_400
    said = json.loads(refused["body"])["error"]
    assert said["code"] == "quota_exceeded" and "2 requests of today" in said["message"]
    assert call("GET", "/popular", identity=limited)[0] == 429, "the quota is of the key, not of a route"
    assert call("GET", "/health", identity=None)[0] == 200
    assert call("POST", "/recommend", body)[0] == 200, "other keys have none"


def test_a_key_that_cannot_be_checked_is_answered_503(serving: Serving) -> None:
    response = api.handler(event("POST", "/recommend", {"user_id": "u"}, identity=dict(UNAVAILABLE["context"])), None)
    assert response["statusCode"] == 503
    assert response["headers"]["Retry-After"] == "2"
    assert json.loads(response["body"])["error"]["code"] == "keys_unavailable"


def test_every_list_is_in_the_inference_log_with_ranks_and_scores(serving: Serving, served_home: ServedHome) -> None:
    request = {"user_id": served_home.shoppers[0], "num_recommendations": 3}
    shown = call("POST", "/recommend", request, request_id="r-log")[1]
    exposure = serving.inference_log.get("r-log")
    assert exposure is not None
    assert [(item.product_id, item.score, item.rank) for item in exposure.items] == [
        (item["product_id"], item["score"], rank) for rank, item in enumerate(shown["recommendations"], start=1)
    ]
    assert (exposure.variant, exposure.variant_propensity, exposure.stage) == ("champion", 1.0, "ranked")
    assert (exposure.experiment, exposure.revision, exposure.list_kind) == ("none", 1, "recommend")
    assert [record["request_id"] for record in read_json_lines(serving.settings.home / "events", "exposure")] == [
        "r-log"
    ]


def test_popular_and_similar_answer_with_products(serving: Serving, served_home: ServedHome) -> None:
    status, content = call("GET", "/popular", query="k=4")
    popular = ListResponse.model_validate(content)
    assert status == 200
    assert len(popular.recommendations) == 4
    assert popular.recommendations[0].product is not None
    category = popular.recommendations[0].product.category
    narrow = ListResponse.model_validate(call("GET", "/popular", query=f"category={category}&k=3")[1])
    assert {item.product.category for item in narrow.recommendations if item.product} == {category}
    similar = ListResponse.model_validate(call("GET", f"/similar/{served_home.product_ids[0]}", query="k=4")[1])
    assert len(similar.recommendations) == 4
    assert served_home.product_ids[0] not in {item.product_id for item in similar.recommendations}


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options(serving: Serving, method: str) -> None:
    response = api.handler(event(method, "/popular"), None)
    assert response["body"] == ""
    assert response["statusCode"] == (200 if method == "HEAD" else 204)
    if method == "OPTIONS":
        assert response["headers"]["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=UTF-8",
        "application/vnd.shop+json",
        "application/x-www-form-urlencoded",
    ],
)
def test_json_is_read_under_the_names_it_goes_by(serving: Serving, content_type: str | None) -> None:
    sent = event("POST", "/recommend", {"user_id": "u"})
    sent["headers"] = {} if content_type is None else {"Content-Type": content_type}
    assert api.handler(sent, None)["statusCode"] == 200
    sent |= {"body": base64.b64encode(sent["body"].encode()).decode(), "isBase64Encoded": True}
    assert api.handler(sent, None)["statusCode"] == 200


def test_a_body_of_exactly_64_kilobytes_is_read(serving: Serving) -> None:
    assert call("POST", "/recommend", json.dumps({"user_id": "u"}).ljust(65_536))[0] == 200


def test_ids_of_every_script_and_percent_signs_are_products_like_others(serving: Serving) -> None:
    assert call("POST", "/recommend", {"user_id": "Zoë/50%?#&日本"})[0] == 200
    for sent in ("a%2Fb", "50%25", "%E6%97%A5", "日本", "a b", "a%250Ab", "%E6%97%A5" * 60):
        status, content = call("GET", f"/similar/{sent}")
        assert (status, content["error"]["code"]) == (404, "unknown_product"), sent


def test_filters_and_exclusions_hold(serving: Serving, served_home: ServedHome) -> None:
    everything = call("POST", "/recommend", {"user_id": "s5", "num_recommendations": 50, "include_products": True})[1]
    first = everything["recommendations"][0]["product"]
    request = {
        "user_id": "s5",
        "num_recommendations": 50,
        "include_products": True,
        "exclude_product_ids": [first["product_id"]],
        "filters": {"categories": [first["category"]], "max_price": 1000},
    }
    narrow = call("POST", "/recommend", request)[1]["recommendations"]
    assert narrow
    assert {item["product"]["category"] for item in narrow} == {first["category"]}
    assert first["product_id"] not in {item["product_id"] for item in narrow}


def test_lists_are_as_the_shops_settings_want_them_unless_a_request_says_otherwise(serving: Serving) -> None:
    asked = {"user_id": "s5", "num_recommendations": 20, "include_products": True}
    plain = call("POST", "/recommend", asked)[1]["recommendations"]
    bought = plain[0]["product_id"]
    purchase = {"user_id": "s5", "product_id": bought, "event_type": "purchase", "event_id": "b1"}
    assert call("POST", "/feedback", purchase)[0] == 202
    everything = {
        "user_id": "s5",
        "num_recommendations": 100,
        "filters": {"categories": [plain[0]["product"]["category"]]},
    }
    assert bought not in ids(call("POST", "/recommend", everything)[1])
    wanted = {"allow_repeats": True, "max_per_category": 6, "max_per_brand": 1}
    dependencies.use(patient(serving.settings.model_copy(update=wanted)))
    assert bought in ids(call("POST", "/recommend", everything)[1])
    assert bought not in ids(call("POST", "/recommend", {**everything, "exclude_purchased": True})[1])
    limited = call("POST", "/recommend", asked)[1]["recommendations"]
    for field, limit in (("category", 6), ("brand", 1)):
        before, after = (max(Counter(one["product"][field] for one in some).values()) for some in (plain, limited))
        assert after <= limit < before, field


def test_health_tells_what_is_served_and_no_secret(serving: Serving) -> None:
    before = HealthResponse.model_validate(call("GET", "/health", identity=None)[1])
    assert before.models[0].loaded_version is None
    call("POST", "/recommend", {"user_id": "u"})
    status, content = call("GET", "/health", identity=None)
    after = HealthResponse.model_validate(content)
    assert (status, after.status, after.problems) == (200, "ok", [])
    assert (after.models[0].loaded_version, after.models[0].weight) == ("v1.0.0", 1.0)
    assert after.models[0].since is not None
    assert after.catalogue is not None
    assert after.catalogue.products == 400
    assert {"routing", "history", "scoring/champion", "catalogue"} <= {guard.name for guard in after.dependencies}
    assert str(serving.settings.home) not in json.dumps(content)


def test_metrics_count_in_json_and_for_prometheus(serving: Serving) -> None:
    call("POST", "/recommend", {"user_id": "u", "num_recommendations": 3})
    content = MetricsResponse.model_validate(call("GET", "/metrics")[1])
    assert content.counters["items_shown"] == 3
    assert content.counters["requests:/recommend 200"] == 1
    assert content.latencies[0].count == 1
    response = api.handler(event("GET", "/metrics", headers={"accept": "text/plain;version=0.0.4"}), None)
    assert response["headers"]["Content-Type"].startswith("text/plain")
    assert "recsys_items_shown_total 3\n" in response["body"]


def test_threads_get_their_own_answers(serving: Serving) -> None:
    def ask(number: int) -> tuple[int, str, int]:
        k = number % 20 + 1
        content = call(
            "POST", "/recommend", {"user_id": f"t{number}", "num_recommendations": k}, request_id=f"r{number}"
        )[1]
        return k, content["request_id"], len(content["recommendations"])

    with ThreadPoolExecutor(8) as pool:
        for number, (k, request_id, count) in enumerate(pool.map(ask, range(160))):
            assert (request_id, count) == (f"r{number}", k)


def failing(*arguments: object) -> None:
    raise OSError("disk on fire")


class Broken:
    """Stands for dependencies that cannot even be composed."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("composition failed")


@pytest.fixture
def broken() -> Iterator[None]:
    dependencies.use(Broken())  # type: ignore[arg-type]
    yield
    dependencies.use(None)


FEEDBACK = {"events": [{"event_id": "a", "user_id": "u", "product_id": "p", "event_type": "view"}]}


@pytest.mark.parametrize(
    ("request_", "status", "model"),
    [
        (("POST", "/recommend", {"user_id": "u"}), 200, RecommendResponse),
        (("POST", "/feedback", FEEDBACK), 202, FeedbackResponse),
        (("GET", "/popular"), 200, ListResponse),
        (("GET", "/similar/p"), 200, ListResponse),
        (("GET", "/health"), 200, HealthResponse),
        (("GET", "/metrics"), 200, MetricsResponse),
    ],
)
def test_the_last_resort_has_the_documented_form(broken: None, request_: Any, status: int, model: Any) -> None:
    found, content = call(*request_)
    assert found == status
    answer = model.model_validate(content)
    if isinstance(answer, FeedbackResponse):
        assert answer.retry == ["a"]
    if isinstance(answer, RecommendResponse):
        assert (answer.model_version, answer.fallback) == ("baseline", "handler: error")


@pytest.mark.parametrize(
    "sent", [None, [], "x", 1, {}, {"version": "1.0"}, {"requestContext": {"http": {"method": 5}}}]
)
def test_what_is_no_event_at_all_is_answered(serving: Serving, sent: Any) -> None:
    response = api.handler(sent, None)
    assert 400 <= response["statusCode"] < 500
    assert json.loads(response["body"])["request_id"]


def test_nothing_personal_is_logged(serving: Serving) -> None:
    log = io.StringIO()
    before = observe.logger.registered_handler.setStream(log)  # type: ignore[attr-defined]
    observe.logger.setLevel("INFO")
    try:
        key = {"x-api-key": "rk_secret_key"}
        call("POST", "/recommend", {"user_id": "shopper-name"}, headers=key, request_id="r-logged")
    finally:
        observe.logger.setLevel("WARNING")
        observe.logger.registered_handler.setStream(before)  # type: ignore[attr-defined]
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["correlation_id"], line["route"], line["status"]) == ("r-logged", "/recommend", 200)
    assert line["model_version"] == "v1.0.0"
    assert "shopper-name" not in json.dumps(line)
    assert "rk_secret_key" not in json.dumps(line)


def test_on_lambda_metrics_are_embedded_in_the_log(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "api")
    monkeypatch.setattr(serving.service._history, "recent", failing)
    call("POST", "/recommend", {"user_id": "u", "num_recommendations": 3})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    per_route = next(line for line in lines if "route" in line)
    assert per_route["ItemsShown"] == [3.0]
    assert per_route["Fallback"] == [1.0]
    assert next(line for line in lines if "cause" in line)["cause"] == "history: error"
    dimensions = {
        name for line in lines for d in line["_aws"]["CloudWatchMetrics"] for s in d["Dimensions"] for name in s
    }
    assert dimensions == {"service", "route", "cause", "variant"}


def test_the_reply_does_not_wait_for_the_inference_log(served_home: ServedHome, serving: Serving) -> None:
    held = patient(serving.settings, immediate=False)
    dependencies.use(held)
    writing = threading.Event()
    release = threading.Event()

    def slow(exposures: object) -> None:
        writing.set()
        release.wait(5)

    held.after_reply._writer._exposures.write = slow  # type: ignore[attr-defined]
    began = time.monotonic()
    assert call("POST", "/recommend", {"user_id": "u"})[0] == 200
    answered_after = time.monotonic() - began
    assert writing.wait(5)
    assert answered_after < 5  # the write above is still going on
    assert not release.is_set()
    release.set()
    assert held.close()
