"""The authorizer's answers to events of payload format 2.0, good, hostile and broken ones."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api import settings as settings_module
from lambda_api.handlers import authorizer as authorizer_module
from lambda_api.handlers.authorizer import UNAVAILABLE, Authorizer, handler
from lambda_api.state.api_keys import ApiKeys, create
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import TableUnavailable
from tests.patience import PATIENCE_S
from tests.state.tables import Clock, CountingTable, ModelTable

DENIED = {"isAuthorized": False, "context": {}}


def event(
    key: object = None, path: str = "/recommend", method: str = "POST", stage: str = "$default"
) -> dict[str, Any]:
    """What API Gateway sends, shortened to what differs."""
    headers: dict[str, Any] = {"content-type": "application/json", "host": "shop.example"}
    if key is not None:
        headers["x-api-key"] = key
    return {
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": f"arn:aws:execute-api:eu-west-1:123456789012:abcdef/{stage}/{method}{path}",
        "identitySource": [key],
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {"http": {"method": method, "path": path}, "requestId": "r", "stage": stage},
    }


@pytest.fixture(scope="module")
def table() -> CountingTable:
    return CountingTable(ModelTable(Clock()))


@pytest.fixture(scope="module")
def shop(table: CountingTable) -> str:
    return create(table, "storefront")


@pytest.fixture(scope="module")
def operations(table: CountingTable) -> str:
    return create(table, "on call", {"operations"})


@pytest.fixture(scope="module")
def authorizer(table: CountingTable) -> Authorizer:
    return Authorizer(ApiKeys(table))


def allowed(answer: dict[str, Any]) -> bool:
    assert set(answer) == {"isAuthorized", "context"}
    assert type(answer["isAuthorized"]) is bool
    json.dumps(answer)
    return answer["isAuthorized"]


def test_the_answer_says_who_and_what_for(authorizer: Authorizer, shop: str) -> None:
    answer = authorizer(event(shop))
    key_id = shop.split("_")[1]
    assert answer == {
        "isAuthorized": True,
        "context": {"name": "storefront", "key_id": key_id, "scopes": "shop"},
    }
    assert shop not in json.dumps(answer)


def test_a_quota_travels_with_the_answer(table: CountingTable, authorizer: Authorizer) -> None:
    limited = create(table, "a trial", requests_per_day=500)
    assert authorizer(event(limited))["context"]["requests_per_day"] == "500"


@pytest.mark.parametrize("name", ["x-api-key", "X-API-Key", "X-Api-Key", "X-API-KEY"])
def test_header_names_have_no_case(authorizer: Authorizer, shop: str, name: str) -> None:
    asked = event()
    asked["headers"][name] = f" {shop}\t"
    assert allowed(authorizer(asked))


@pytest.mark.parametrize(
    ("path", "stage", "shop_may"),
    [
        ("/recommend", "$default", True),
        ("/similar/metrics", "$default", True),  # a product of that name
        ("/popular", "prod", True),
        ("/prod/popular", "prod", True),
        ("/metrics", "$default", False),
        ("/forget", "$default", False),
        ("/prod/forget", "prod", False),
        ("/metrics/", "$default", False),
        ("//metrics", "$default", False),
        ("/./metrics", "$default", False),
        ("/Metrics", "$default", False),
        ("/%6detrics", "$default", False),
        ("/metrics;x=1", "$default", False),
        ("/prod/metrics", "prod", False),
        ("/metrics", "prod", False),
        ("/recommend/../metrics", "$default", False),
        ("/recommend/%2e%2e/metrics", "$default", False),
    ],
)
def test_metrics_are_for_operations(
    authorizer: Authorizer, shop: str, operations: str, path: str, stage: str, shop_may: bool
) -> None:
    assert allowed(authorizer(event(shop, path, stage=stage))) is shop_may
    assert allowed(authorizer(event(operations, path, stage=stage)))


def test_a_missing_key_is_refused(authorizer: Authorizer) -> None:
    assert authorizer(event()) == DENIED


@pytest.mark.parametrize(
    "value",
    ["", " ", "x" * 100_000, "rk_", 7, None, ["a"], {"a": 1}, "\ud800", "Bearer x", "é", "\x00", "rk_" + "0" * 60],
    ids=lambda value: repr(value)[:20],
)
def test_garbage_in_the_header_is_refused(authorizer: Authorizer, value: object) -> None:
    asked = event()
    asked["headers"]["x-api-key"] = value
    assert authorizer(asked) == DENIED


def test_repeated_headers_are_refused_even_when_one_is_right(authorizer: Authorizer, shop: str) -> None:
    assert authorizer(event(f"{shop},{shop}")) == DENIED  # how API Gateway joins them
    assert authorizer(event(f"wrong, {shop}")) == DENIED
    twice = event(shop)
    twice["headers"]["X-API-Key"] = shop
    assert authorizer(twice) == DENIED


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "event",
        7,
        {},
        {"headers": None},
        {"headers": []},
        {"headers": {7: "x"}},
        {"headers": {"x-api-key": "x"}},
    ],
    ids=repr,
)
def test_broken_events_are_refused(authorizer: Authorizer, broken: object) -> None:
    assert authorizer(broken) == DENIED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(
    field=st.sampled_from(["version", "routeKey", "rawPath", "headers", "requestContext", "identitySource"]),
    value=json_values,
)
def test_no_event_makes_it_raise_and_none_opens_metrics(
    authorizer: Authorizer, shop: str, field: str, value: object
) -> None:
    asked = copy.deepcopy(event(shop, "/metrics"))
    asked[field] = value
    if field in ("rawPath", "requestContext"):
        asked["rawPath"] = "/metrics"
    assert not allowed(authorizer(asked))


def test_a_table_that_fails_refuses_nobody_and_serves_only_known_keys(table: CountingTable, shop: str) -> None:
    stranger = create(table, "stranger")
    authorizer = Authorizer(ApiKeys(table))
    assert allowed(authorizer(event(shop)))
    table.fail = TableUnavailable("locked")
    try:
        assert allowed(authorizer(event(shop)))
        assert authorizer(event(stranger)) == UNAVAILABLE  # perhaps a valid key: the handler answers 503
        assert authorizer(event("no key of ours")) == DENIED
    finally:
        table.fail = None


def test_a_failure_inside_is_a_refusal(shop: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def verify(self, plain: str, now: float) -> None:
            raise RuntimeError(f"cannot check {plain}")

    assert Authorizer(Broken())(event(shop)) == DENIED  # type: ignore[arg-type]
    assert "RuntimeError" in caplog.text
    assert shop not in caplog.text


@pytest.fixture
def fresh_settings() -> Any:
    for cached in (settings_module.current_settings, authorizer_module._from_settings):
        cached.cache_clear()
    yield
    for cached in (settings_module.current_settings, authorizer_module._from_settings):
        cached.cache_clear()


def test_the_entry_point_reads_the_table_its_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    table = SqliteTable(tmp_path / "state.sqlite3", "api_keys")
    plain = create(table, "shop")
    table.close()
    assert allowed(handler(event(plain), None))
    assert handler(event("rk_" + "0" * 16 + "_" + "A" * 43), None) == DENIED


def test_unreadable_settings_refuse_until_they_are_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    plain = create(SqliteTable(tmp_path / "state.sqlite3", "api_keys"), "shop")
    with monkeypatch.context() as broken:
        broken.setenv("RECSYS_TARGET", "moon")
        assert handler(event(plain), None) == DENIED
    assert allowed(handler(event(plain), None))


def test_it_starts_light() -> None:
    heavy = ["numpy", "pandas", "boto3", "botocore", "aws_lambda_powertools", "onnxruntime"]
    program = f"""
import sys
from lambda_api.handlers.authorizer import handler
handler({event("rk_" + "0" * 16 + "_" + "A" * 43)!r}, None)
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
        env={"RECSYS_HOME": "/nonexistent/home"},
    )
    assert done.stdout.decode().strip() == "[]"
