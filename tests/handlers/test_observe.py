"""CloudWatch metrics of a request, as lines in embedded metric format."""

import json
from typing import Any

import pytest

from lambda_api.handlers import observe

NOTES = {"items": 10, "variant": "challenger", "version_failed": True, "causes": ["scoring: error"]}


def emitted(notes: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    observe.emit_metrics("/recommend", 200, 12.5, notes)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_alarms_of_a_rollout_find_failures_and_latency_by_variant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(observe, "on_lambda", lambda: True)
    route, cause, variant = emitted(NOTES, capsys)
    assert (route["route"], route["Fallback"], cause["cause"]) == ("/recommend", [1], "scoring: error")
    assert (variant["variant"], variant["VersionFailed"], variant["VariantLatency"]) == ("challenger", [1], [12.5])
    (declared,) = variant["_aws"]["CloudWatchMetrics"]
    assert (declared["Namespace"], sorted(declared["Dimensions"][0])) == ("Recsys", ["service", "variant"])
    # Experiments by hand may name variants as they like; their names must not become metrics without a bound.
    assert len(emitted(NOTES | {"variant": "anything", "causes": []}, capsys)) == 1
