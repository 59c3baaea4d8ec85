"""The reports on the synthetic shop, with and without injected drift, through the assets; the sensor; alerts."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from lambda_api.recommender.bundle import DataWindow
from lambda_api.settings import Settings, make_settings
from lambda_api.state.open_table import open_table
from recsys_assets.ingest.served import LIST_OUTCOMES
from recsys_assets.ingest.synthetic import Drift, DriftKind, SyntheticShop, SyntheticShopConfig
from recsys_assets.lake import Lake
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.monitoring import alerts
from recsys_assets.monitoring.alerts import Alert, AlertError, LogAlerts, WebhookAlerts, open_alerts
from recsys_assets.monitoring.assets import business_report, data_quality_report, drift_report
from recsys_assets.monitoring.business import variant_figures
from recsys_assets.monitoring.drift import EVIDENCE_SCHEMA, EVIDENCE_TABLE, stored_evidence
from recsys_assets.monitoring.drift_statistics import judge
from recsys_assets.monitoring.findings import load_summaries
from recsys_assets.monitoring.groups import group_ratio, importance_ndcg
from recsys_assets.monitoring.quality_trend import DailyQuality, quality_findings
from recsys_assets.monitoring.samples import compare_samples, weekly_samples
from recsys_assets.monitoring.served_hits import one_row_per_shopper, update_hits
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.schema import INTERACTIONS
from recsys_assets.sensors import DECISIONS_TABLE, drift_sensor
from recsys_assets.training.candidate import fit_bundle

FIRST, DAYS, DRIFT_AT = date(2024, 1, 1), 112, 105


def shop(folder: Path, *drift: Drift, days: int = DAYS) -> Settings:
    """A shop with a champion that has learned from the first 60 days."""
    made = SyntheticShop(
        SyntheticShopConfig(
            seed=4, start=FIRST, days=days, n_users=1_600, n_products=250, n_categories=8, n_brands=10,
            sessions_per_user_per_day=0.3, drift=drift,
        )
    )  # fmt: skip
    settings = make_settings({"home": folder / "home", "first_day": FIRST.isoformat(), "source": "synthetic", "k": 20})
    lake = Lake(settings.lake_uri)
    lake.write_table("products", made.products())
    lake.write_table("users", made.users())
    for number in range(days):
        day = FIRST + timedelta(days=number)
        lake.write_day("interactions", day, INTERACTIONS.conform(made.day_events(day)))
    start = datetime(2024, 1, 1, tzinfo=UTC)
    window = DataWindow(start=start, end=start + timedelta(days=60))
    fit_bundle(ItemKnn(), lake, window, folder / "bundle", {}, print)
    registry = ModelRegistry(open_table(settings, "registry"))
    version = register_bundle(registry, BundleStore(settings.models_uri), folder / "bundle", run_id="r", metrics={})
    registry.promote(version.version, None)
    return settings


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return shop(tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    start = FIRST + timedelta(days=DRIFT_AT)
    return shop(
        tmp_path_factory.mktemp("changed"),
        Drift(DriftKind.TASTE_SHIFT, start, 1.0),
        Drift(DriftKind.PRICE_SHIFT, start, 0.6),
    )


def materialise(settings: Settings, day: date) -> dict[str, Any]:
    """The three reports of a day; check results by asset."""
    with dg.instance_for_test() as instance:
        result = dg.materialize(
            [data_quality_report, drift_report, business_report],
            partition_key=day.isoformat(),
            instance=instance,
            resources={
                "lake": Lake(settings.lake_uri),
                "settings": settings,
                "registry": ModelRegistry(open_table(settings, "registry")),
                "bundles": BundleStore(settings.models_uri),
            },
        )
        assert result.success
        return {one.asset_key.to_user_string(): one.passed for one in result.get_asset_check_evaluations()}


@pytest.mark.slow
def test_calm_days_raise_no_feature_alarm_and_a_change_is_found(calm: Settings, changed: Settings) -> None:
    """Rolling weeks of a shop without drift, and the week after prices and tastes changed."""
    lake = Lake(calm.lake_uri)
    alarms = 0
    for number in range(76, DAYS, 7):
        columns = judge(compare_samples(weekly_samples(lake, FIRST + timedelta(days=number))), {})
        assert all(one.current >= 500 for one in columns)
        alarms += any(one.state == "drifted" for one in columns)
    assert alarms <= 1
    after = FIRST + timedelta(days=DAYS - 1)
    found = judge(compare_samples(weekly_samples(Lake(changed.lake_uri), after)), {})
    assert "price" in {one.column for one in found if one.state == "drifted"}


@pytest.mark.slow
def test_reports_of_a_day_and_what_they_leave(changed: Settings) -> None:
    lake, last = Lake(changed.lake_uri), FIRST + timedelta(days=DAYS - 3)
    checks = materialise(changed, last)
    assert checks == {"data_quality_report": True, "drift_report": False, "business_report": True}
    summaries = {one.report: one for one in load_summaries(changed.home / "reports")}
    assert summaries.keys() == {"data_quality_report", "drift_report", "business_report"}
    states = {finding.name: finding.state for finding in summaries["drift_report"].findings}
    assert states["features"] == "warning" and states["concept"] == "warning" and states["twin"] == "warning"
    [business] = summaries["business_report"].findings
    assert (business.state, business.sentence) == ("too few", "No list has been served yet.")
    evidence = {one.family: one for one in stored_evidence(lake, last)}
    assert {"feature", "concept"} <= evidence.keys()
    # The model is 50 days old as well: its loss began before the drift.
    assert FIRST + timedelta(days=90) <= evidence["concept"].since <= last
    for name in summaries:
        page = (changed.home / "reports" / "monitoring" / f"{name}.html").read_text()
        assert "Findings" in page and "<script" not in page
    assert "data:image/svg+xml" in (changed.home / "reports" / "monitoring" / "drift_report.html").read_text()
    # Every day since the champion's data end has its hits, and one row per shopper.
    assert lake.days("served_hits")[0] == FIRST + timedelta(days=60)
    rows = one_row_per_shopper(lake, FIRST, last + timedelta(days=1))
    assert len(set(rows["user_id"].to_pylist())) == rows.num_rows
    registry, bundles = ModelRegistry(open_table(changed, "registry")), BundleStore(changed.models_uri)
    assert update_hits(lake, registry, bundles, changed.home / "bundles", last, 20, print) == 0


@pytest.mark.slow
def test_a_calm_day_passes(calm: Settings) -> None:
    checks = materialise(calm, FIRST + timedelta(days=DAYS - 1))
    assert checks["data_quality_report"] and checks["business_report"]
    summary = {one.report: one for one in load_summaries(calm.home / "reports")}["drift_report"]
    assert {finding.name: finding.state for finding in summary.findings}["features"] == "ok"


def test_the_sensor_starts_one_training_for_two_looks(tmp_path: Path) -> None:
    settings = make_settings({"home": tmp_path / "home"})
    lake, table = Lake(settings.lake_uri), open_table(settings, "registry")
    registry = ModelRegistry(table, clock=lambda: datetime.now(UTC) - timedelta(days=10))
    resources = {"lake": lake, "registry": registry}
    with dg.instance_for_test() as instance:

        def look(cursor: str | None = None) -> Any:
            return drift_sensor(dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources))

        nothing = look()
        assert not nothing.run_requests and "no model yet" in nothing.skip_reason.skip_message
        registry.register(_candidate())
        assert "No alarm" in look().skip_reason.skip_message
        today = datetime.now(UTC).date()
        row = {"family": "concept", "since": today - timedelta(days=3), "sentence": "concept: the hit rate fell"}
        lake.write_day(EVIDENCE_TABLE, today, pa.Table.from_pylist([row], EVIDENCE_SCHEMA))
        first, again = look(), look()
        assert [one.run_key for one in first.run_requests] == [one.run_key for one in again.run_requests]
        assert first.run_requests[0].tags["recsys/trigger"] == "drift"
        assert json.loads(first.cursor) == {"episode": today.isoformat(), "started": 1}
        assert "due on" in look(first.cursor).skip_reason.skip_message
        [decided] = lake.read_day(DECISIONS_TABLE, today).to_pylist()
        assert decided["episode"] == today.isoformat() and "due on" in decided["reason"]


def _candidate() -> Any:
    from tests.registry.samples import candidate

    return candidate("1")


def test_business_figures_by_hand_and_a_robot_is_capped(tmp_path: Path) -> None:
    lake, day = Lake(str(tmp_path)), date(2023, 11, 14)
    rows = []
    for number in range(120):
        for one in range(2):
            rows.append(_outcome(f"u{number}", "a" if number % 2 else "b", bought=1 - one if number % 2 else 0))
    rows += [_outcome("robot", "b") for _ in range(500)]
    # Neither depends on a variant: a visitor without an id, a list of popular products, an answer without a model.
    rows += [_outcome("", "a"), _outcome("u1", "a") | {"list_kind": "popular"}]
    rows.append(_outcome("u1", "a") | {"model_version": "baseline"})
    lake.write_day("list_outcomes", day, pa.Table.from_pylist(rows, LIST_OUTCOMES))
    assert variant_figures(lake, day - timedelta(days=1)) == ((), 0)
    figures, capped = variant_figures(lake, day)
    assert figures == () and capped == 1  # sixty shoppers each: too few
    more = [_outcome(f"v{number}", "ab"[number % 2]) for number in range(200)]
    lake.write_day("list_outcomes", day - timedelta(days=1), pa.Table.from_pylist(more, LIST_OUTCOMES))
    found = {one.variant: one for one in variant_figures(lake, day)[0]}
    assert (found["a"].shoppers, found["b"].shoppers) == (160, 161)
    assert found["a"].click_through.mean == pytest.approx(60 / 220)
    assert found["a"].conversion.mean == pytest.approx(60 / 160)
    assert found["a"].revenue.mean == pytest.approx(180 / 160)


def test_sales_say_too_few_and_a_capped_robot(tmp_path: Path) -> None:
    settings, day = make_settings({"home": tmp_path / "home", "first_day": "2023-11-01"}), date(2023, 11, 14)
    lake = Lake(settings.lake_uri)

    def findings(rows: list[dict[str, Any]]) -> dict[str, Any]:
        lake.write_day("list_outcomes", day, pa.Table.from_pylist(rows, LIST_OUTCOMES))
        resources = {"lake": lake, "settings": settings}
        assert dg.materialize([business_report], partition_key=day.isoformat(), resources=resources).success
        (summary,) = load_summaries(settings.home / "reports")
        return {one.name: one for one in summary.findings}

    few = findings([_outcome(f"u{number}", "a") for number in range(99)])
    assert few["served lists"].state == "too few" and "Fewer than 100 shoppers" in few["served lists"].sentence
    robot = findings([_outcome(f"u{number}", "a") for number in range(150)] + [_outcome("robot", "a")] * 5_000)
    assert robot["variant a"].state == "ok" and "who saw far more than others: 1;" in robot["robots"].sentence


def _outcome(user: str, variant: str, bought: int = 0) -> dict[str, Any]:
    """A product that was shown; bought for 3.0 where asked for, which is a click as well."""
    return {
        "user_id": user, "variant": variant, "list_kind": "recommend", "model_version": "v1.0.0",
        "views": 0, "carts": 0, "purchases": bought, "revenue": 3.0 * bought,
    }  # fmt: skip


def test_quality_findings() -> None:
    day = date(2024, 3, 31)
    days = [DailyQuality(day - timedelta(days=number), 1_000 + number, 2) for number in range(56, -1, -1)]
    assert {one.state for one in quality_findings(days, [], day)} == {"ok"}
    half = [*days[:-1], DailyQuality(day, 400, 100)]
    found = {one.name: one for one in quality_findings(half, [day.isoformat()], day)}
    assert [found[name].state for name in ("volume", "rows set aside", "quality gate")] == ["warning"] * 3
    gone = {one.name: one for one in quality_findings(days[:-1], [], day)}
    assert "nothing for 2024-03-31" in gone["volume"].sentence and str(day) in gone["missing days"].sentence
    assert quality_findings(days[-5:], [], day)[2].state == "too few"


def test_groups_and_importances() -> None:
    rng = np.random.default_rng(0)

    def hits(rate: float, n: int = 800) -> np.ndarray:
        return (rng.random(n) < rate).astype(float)

    before = {"f": hits(0.30), "m": hits(0.28), "x": hits(0.1, 20)}
    same = group_ratio("gender", before, {"f": hits(0.30), "m": hits(0.28)})
    fell = group_ratio("gender", before, {"f": hits(0.30), "m": hits(0.10)})
    assert same is not None and not same.alarm and fell is not None and fell.alarm and fell.low > 0
    assert group_ratio("gender", before, {"f": hits(0.3)}) is None
    # By hand: gains (3, 2, 1) in the order b, a, c.
    ideal = 3 + 2 / np.log2(3) + 1 / 2
    assert importance_ndcg({"a": 3, "b": 2, "c": 1}, {"b": 9, "a": 5, "c": 1}) == pytest.approx(
        (2 + 3 / np.log2(3) + 1 / 2) / ideal
    )
    assert importance_ndcg({"a": 1, "b": 0.5}, {"a": 4, "b": 3}) == 1


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    received: list[dict[str, Any]] = []
    failures: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(failures.pop() if failures else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", received, failures
    server.shutdown()


def test_alerts(
    webhook: tuple[str, list[dict[str, Any]], list[int]], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    alert = Alert("Drift of concept", date(2024, 3, 1), "CUSUM 7.1 of 5.", "Look at drift_report.")
    monkeypatch.setattr(alerts.time, "sleep", lambda _: None)
    url, received, failures = webhook
    failures.append(503)
    open_alerts(url).send(alert)
    assert [one["text"] for one in received] == [alert.text] * 2 and received[0]["since"] == "2024-03-01"
    failures.extend([500] * 3)
    with pytest.raises(AlertError, match=r"webhook .*500.*check RECSYS_ALERTS"):
        WebhookAlerts(url).send(alert)
    open_alerts("").send(alert)
    assert isinstance(open_alerts(""), LogAlerts) and "since 2024-03-01" in caplog.text
    with pytest.raises(AlertError, match="neither"):
        open_alerts("mail@example.com")
