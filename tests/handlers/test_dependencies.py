"""The composition root: one per process, nothing opened early, AWS only where the settings say so."""

import json
import threading
from pathlib import Path

import pytest

from lambda_api.handlers import dependencies
from lambda_api.handlers.after_reply import Background, Immediate
from lambda_api.handlers.dependencies import Serving
from lambda_api.settings import make_settings
from lambda_api.state.dynamodb_table import DynamoDbTable
from lambda_api.state.event_sink import FirehoseSink, JsonLinesSink, KinesisSink
from lambda_api.state.shadow_queue import SqsShadowQueue, TableShadowQueue
from tests.handlers.shop import call
from tests.patience import patient

S3 = {"lake_uri": "s3://shop/lake", "models_uri": "s3://shop/models", "catalogue_uri": "s3://shop/catalogue"}


def test_a_laptop_needs_no_aws_and_building_touches_nothing(tmp_path: Path) -> None:
    held = dependencies.build(make_settings({"home": tmp_path / "home"}))
    assert isinstance(held.sink, JsonLinesSink)
    assert isinstance(held.shadow_queue, TableShadowQueue)
    assert isinstance(held.after_reply, Background)
    assert not (tmp_path / "home").exists()
    assert held.close()


def test_on_aws_the_stream_and_the_queue_are_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    values = {"home": tmp_path, "target": "aws", **S3}
    bare = dependencies.build(make_settings(values))
    assert (bare.sink, bare.shadow_queue) == (None, None)
    assert all(isinstance(table, DynamoDbTable) for table in bare.tables)
    queue = "https://sqs.eu-central-1.amazonaws.com/1/shadow"
    full = dependencies.build(make_settings({**values, "event_stream": "events", "shadow_queue_url": queue}))
    assert isinstance(full.sink, KinesisSink)
    direct = dependencies.build(make_settings({**values, "event_delivery": "events"}))
    assert isinstance(direct.sink, FirehoseSink) and direct.sink.stream == "events"
    assert isinstance(full.shadow_queue, SqsShadowQueue)


def test_on_lambda_without_its_extensions_work_is_done_before_the_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "api")
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)
    assert isinstance(dependencies.build(make_settings({"home": tmp_path})).after_reply, Immediate)
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")
    assert isinstance(dependencies.build(make_settings({"home": tmp_path})).after_reply, Immediate)


def test_threads_share_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "current_settings", lambda: make_settings({"home": tmp_path}))
    dependencies.use(None)
    found: list[Serving] = []
    threads = [threading.Thread(target=lambda: found.append(dependencies.serving())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dependencies.use(None)
    assert len({id(held) for held in found}) == 1


def test_an_empty_home_answers_and_says_what_is_missing(tmp_path: Path) -> None:
    held = patient(make_settings({"home": tmp_path}))
    dependencies.use(held)
    try:
        held.warm()
        status, content = call("POST", "/recommend", {"user_id": "u"})
        assert (status, content["recommendations"], content["model_version"]) == (200, [], "baseline")
        assert content["fallback"] == "routing: nothing released"
        health = call("GET", "/health")[1]
        assert health["status"] == "degraded"
        assert any(problem.startswith("routing") for problem in health["problems"])
    finally:
        dependencies.use(None)


def test_without_the_inference_log_nothing_is_logged(serving: Serving) -> None:
    settings = serving.settings.model_copy(update={"inference_log": False})
    held = patient(settings)
    dependencies.use(held)
    assert call("POST", "/recommend", {"user_id": "u"}, request_id="r-unlogged")[0] == 200
    assert held.inference_log.get("r-unlogged") is None
    assert not list((settings.home / "events").glob("*exposure*"))


def test_exploration_is_logged_with_its_chances(serving: Serving) -> None:
    held = patient(serving.settings.model_copy(update={"exploration_share": 0.5}))
    dependencies.use(held)
    call("POST", "/recommend", {"user_id": "user_0", "num_recommendations": 20}, request_id="r-explored")
    exposure = held.inference_log.get("r-explored")
    assert exposure is not None
    assert all(item.propensity is not None and 0 < item.propensity <= 1 for item in exposure.items)
    assert {item.propensity for item in exposure.items} != {1.0}
    assert json.dumps(exposure.to_json())
