"""`recsys monitor` on a real home, a real HTTP answer and simulated alarms."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from typer.testing import CliRunner

from lambda_api.settings import Settings, make_settings
from recsys_assets.monitoring.findings import Finding, ReportSummary, save_summary
from recsys_deploy import cli
from recsys_deploy.monitoring.findings import Observed
from recsys_deploy.monitoring.observe import observe
from recsys_deploy.release.route import route_champion
from tests.monitoring.test_findings import HEALTH
from tests.publishing.shops import Home, random_log, write_log

PRODUCTS = [f"p{number}" for number in range(30)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home.at(tmp_path / "home")
    write_log(home.lake, random_log(1, users=20, products=30, events=200))
    version = home.promote(*PRODUCTS)
    route_champion(home.registry, home.serving, str(version.version), now=1)
    monkeypatch.setenv("RECSYS_HOME", str(home.settings.home))
    return home


@pytest.fixture
def url() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = HEALTH.model_dump_json().encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["monitor", *arguments], terminal_width=200)
    return result.exit_code, " ".join(result.output.split())


def test_well_and_not_well(home: Home, url: str, tmp_path: Path) -> None:
    forgiving = ("--data-days", "36500", "--model-days", "36500")
    summary = tmp_path / "summary.md"
    code, said = run("--url", url, *forgiving, "--summary", str(summary))
    assert code == 0, said
    assert summary.read_text().count("| well |") == 4
    code, said = run("--url", url)
    assert (code, "newest accepted" in said) == (1, True), "the log ends in 2024"
    code, said = run("--url", "http://127.0.0.1:9", *forgiving)
    assert (code, "does not answer" in said) == (1, True)


def test_the_newest_reports_stand_below(home: Home) -> None:
    findings = (Finding("concept", "warning", "Hit rate 0.100 of 60 shoppers."), Finding("twin", "too few", "No twin."))
    save_summary(ReportSummary("drift_report", date(2024, 5, 1), findings), home.settings.home / "reports")
    code, said = run("--data-days", "36500", "--model-days", "36500")
    assert code == 0, "a report's warning is no failure of the environment"
    assert "drift_report of 2024-05-01" in said and "Hit rate 0.100 of 60 shoppers." in said and "too few" in said


def test_it_goes_on_looking_until_something_fails(home: Home, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def look(settings: Settings, *rest: Any) -> Observed:
        return observe(settings if len(looks) < 3 else elsewhere, *rest)

    elsewhere = make_settings({"home": home.settings.home / "elsewhere"})
    # The module's own name alone: sleeps of other threads are none of ours.
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=looks.append)
    monkeypatch.setattr("recsys_deploy.monitoring.commands.time", clock)
    monkeypatch.setattr("recsys_deploy.monitoring.commands.observe", look)
    code, said = run("--minutes", "10", "--data-days", "36500", "--model-days", "36500")
    assert (code, looks) == (1, [60.0, 60.0, 60.0])
    assert "nothing is live" in said


def test_alarms_of_this_environment_alone(home: Home) -> None:
    with mock_aws():
        cloudwatch = boto3.client("cloudwatch", region_name="eu-central-1")
        for name, state in (("recsys-a", "ALARM"), ("recsys-b", "OK"), ("other-c", "ALARM")):
            cloudwatch.put_metric_alarm(
                AlarmName=name,
                MetricName="Errors",
                Namespace="AWS/Lambda",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1,
                ComparisonOperator="GreaterThanThreshold",
                Statistic="Sum",
            )
            cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="test")
        seen = observe(home.settings, None, lambda: cloudwatch).alarms
        assert seen is not None and seen.value is not None
        assert [alarm.name for alarm in seen.value] == ["recsys-a"]


def test_while_a_version_is_released_its_composite_alarm_decides(home: Home) -> None:
    prefix = home.settings.table_prefix
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def alarm(name: str, state: str) -> dict[str, Any]:
        return {"AlarmName": f"{prefix}{name}", "StateValue": state, "StateUpdatedTimestamp": moment}

    def sounding(releasing: bool, *composite: dict[str, Any]) -> list[str]:
        page = {"CompositeAlarms": composite, "MetricAlarms": [alarm("api-5xx", "OK"), alarm("shadow-late", "ALARM")]}
        cloudwatch = boto3.client("cloudwatch", "eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
        with Stubber(cloudwatch) as stub:
            expected = {"AlarmNamePrefix": prefix, "AlarmTypes": ["CompositeAlarm", "MetricAlarm"]}
            stub.add_response("describe_alarms", page, expected)
            seen = observe(home.settings, None, lambda: cloudwatch, releasing).alarms
        assert seen is not None and seen.value is not None
        return [one.name for one in seen.value]

    assert sounding(True) == [f"{prefix}shadow-late"], "without a composite alarm every alarm counts"
    assert sounding(True, alarm("release", "OK")) == []
    assert sounding(True, alarm("release", "ALARM")) == [f"{prefix}release"]
    assert sounding(False, alarm("release", "ALARM")) == [f"{prefix}shadow-late"]


def test_a_cloudwatch_that_refuses_spoils_nothing_else(home: Home) -> None:
    seen = observe(
        home.settings,
        None,
        lambda: boto3.client(
            "cloudwatch",
            region_name="eu-central-1",
            endpoint_url="http://127.0.0.1:9",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        ),
    )
    assert seen.alarms is not None and "EndpointConnectionError" in seen.alarms.trouble
    assert seen.route.value is not None and seen.newest_day.value is not None
