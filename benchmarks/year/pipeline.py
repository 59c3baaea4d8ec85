"""The real graph on a simulated day: ingestion, reports, trainings and releases of one home, in this process."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.year.plan import YearPlan
from benchmarks.year.shop import Clock
from lambda_api.recommender.bundle import DataWindow
from lambda_api.settings import Settings, make_settings
from lambda_api.state.open_table import open_table
from recsys_assets.event_stream import events_root
from recsys_assets.ingest.assets import store_day
from recsys_assets.ingest.live_events import LiveSource, StreamStage
from recsys_assets.ingest.source import DayOfEvents
from recsys_assets.ingest.synthetic import SyntheticShop
from recsys_assets.lake import Lake, midnight
from recsys_assets.models.zoo import make_trainer
from recsys_assets.monitoring.drift import drift_report_of, store, stored_evidence
from recsys_assets.monitoring.retraining import Decision, decide_training
from recsys_assets.monitoring.served_hits import update_hits
from recsys_assets.monitoring.served_samples import update_samples
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.publishing.catalogue import build_catalogue
from recsys_assets.publishing.catalogue_store import publish_catalogue
from recsys_assets.quality.assets import failing_rows, publish_day
from recsys_assets.quality.validate_lake import read_raw_day
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion, Status
from recsys_assets.registry.versions import Version
from recsys_assets.schema import SET_ASIDE_SCHEMA
from recsys_assets.tags import RANGE_END_TAG, RANGE_START_TAG
from recsys_deploy.release.moves import Releases
from recsys_deploy.release.strategies import Strategy

QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TRAINING: Final = ("temporal_splits", "evaluation_report", "refitted_model", "registered_model")
REPORTS: Final = ("data_quality_report", "drift_report")


@dataclass
class ShopExport:
    """The shop's own files: events before lists were shown, and the catalogue of the coming week."""

    shop: SyntheticShop
    first: date
    end: date
    today: date
    name: str = "year"

    def days(self) -> list[date]:
        """See `Source`."""
        return [self.first + timedelta(days=number) for number in range((self.end - self.first).days)]

    def read_day(self, day: date) -> DayOfEvents:
        """See `Source`."""
        events = self.shop.day_events(day)
        return DayOfEvents(events, SET_ASIDE_SCHEMA.empty_table(), events.num_rows)

    def products(self) -> Any:
        """Products that are or come on sale within a week, so that no event of the week names an unknown one."""
        announced = self.shop.products(min(self.today + timedelta(days=8), self.shop.config.last_day(self.today)))
        on_sale = set(self.shop.products(self.today).filter(pc.field("available"))["product_id"].to_pylist())
        listed = [one in on_sale for one in announced["product_id"].to_pylist()]
        at = announced.column_names.index("available")
        return announced.set_column(at, "available", [listed])

    def users(self) -> Any:
        """See `Source`."""
        return self.shop.users(self.shop.config.last_day(self.today))


@dataclass
class Pipeline:
    """Graph and stores of one home."""

    plan: YearPlan
    settings: Settings
    shop: SyntheticShop
    clock: Clock

    def __post_init__(self) -> None:
        from recsys_assets.definitions import build_defs

        self.lake = Lake(self.settings.lake_uri)
        self.registry = ModelRegistry(open_table(self.settings, "registry", clock=self.clock), clock=self._now)
        self.bundles = BundleStore(self.settings.models_uri)
        self.export = ShopExport(self.shop, self.shop.config.start, self.plan.live, self.plan.live)
        self.source = LiveSource(self.export, StreamStage(self.lake, events_root(self.settings)), "both")
        self._defs = build_defs(
            self.settings, resource_overrides={"source": self.source, "registry": self.registry, "lake": self.lake}
        )

    def ingest(self, today: date) -> None:
        """``ingest_interactions_job`` over the days that the source has and the lake lacks."""
        days = self._missing(today)
        if days:
            tags = {RANGE_START_TAG: days[0].isoformat(), RANGE_END_TAG: days[-1].isoformat()}
            self._run("ingest_interactions_job", tags=tags)

    def ingest_yesterday(self, today: date) -> None:
        """Yesterday's events by the functions that the assets call, for the nights between two runs of the graph."""
        self.export.today = today
        day = today - timedelta(days=1)
        self.source.stage.refresh()
        store_day(self.lake, day, self.source.read_day(day))
        publish_day(self.lake, day, read_raw_day(self.lake, day), failing_rows(self.lake, [day])[day])

    def report_on_yesterday(self, today: date) -> None:
        """Hits and drift of yesterday by the functions that the assets call."""
        day, champion, k = today - timedelta(days=1), self.registry.champion(), self.settings.k
        cache = self.settings.home / "bundles"
        update_hits(self.lake, self.registry, self.bundles, cache, day, k, lambda _: None)
        update_samples(self.lake, day)
        store(self.lake, drift_report_of(self.lake, day, champion.data_window.end if champion else None, k))

    def materialise_reports(self, today: date) -> None:
        """The reports on yesterday as assets."""
        yesterday = today - timedelta(days=1)
        nodes = [self._defs.resolve_assets_def(name) for name in REPORTS]
        with dg.DagsterInstance.ephemeral() as instance:
            dg.materialize(
                nodes,
                instance=instance,
                partition_key=yesterday.isoformat(),
                run_config=QUIET,
            )

    def train(self, today: date) -> str:
        """``retrain_models_job`` without its feature tables, which these models do not read.

        Returns:
            The version that the gate let through; empty: none. It is champion, unless rollouts are on.
        """
        before = {one.version for one in self.registry.list_versions()}
        models = [f"{name}_model" for name in self.settings.models.split(",")]
        self._run("retrain_models_job", [*TRAINING, *models])
        new = [one for one in self.registry.list_versions() if one.version not in before]
        return next((str(one.version) for one in new if one.status is not Status.REFUSED), "")

    def refit(self, today: date, end: date | None = None) -> None:
        """The champion's recipe on everything before ``end`` (by default today), promoted without any gate."""
        champion = self._champion()
        window = DataWindow(start=midnight(self.shop.config.start), end=midnight(end or today))
        version = self._fit(self.lake, window, self.registry, f"refit-{today}")
        self.registry.promote(version, champion.version)

    def register_candidate(self, today: date, number: int, damaged: bool) -> str:
        """Register the champion's recipe on everything before today, for a rollout; returns the version.

        Args:
            number: makes the bundle another one than the champion's.
            damaged: every event names the product of another one.
        """
        first = self.shop.config.start + timedelta(days=number + 1)
        window = DataWindow(start=midnight(first), end=midnight(today))
        lake = _DamagedLake(self.settings.lake_uri) if damaged else self.lake
        # Registered as of the first day: the rules of `drift_sensor` are about trainings of the loop.
        table = open_table(self.settings, "registry", clock=self.clock)
        registry = ModelRegistry(table, clock=lambda: midnight(self.shop.config.start))
        return str(self._fit(lake, window, registry, f"candidate-{number}"))

    def release(self) -> None:
        """Route every shopper to the champion."""
        serving = open_table(self.settings, "serving", clock=self.clock)
        Releases(self.registry, self.bundles, serving, self.settings.home / "bundles", self.clock).start(
            None, Strategy.IMMEDIATE
        )

    def publish(self, today: date) -> None:
        """Products and their availability, as serving reads them."""
        self.export.today = today
        serving = open_table(self.settings, "serving", clock=self.clock)
        publish_catalogue(build_catalogue(self.lake), self.settings.catalogue_uri, serving, int(self.clock()))

    def decide(self, today: date, episode: date | None, started: int) -> Decision:
        """What ``drift_sensor`` decides on this morning."""
        from recsys_assets.sensors import history_of, record

        cursor = json.dumps({"episode": episode and episode.isoformat(), "started": started})
        history = history_of(self.registry, cursor, False)
        decision = decide_training(today, stored_evidence(self.lake, today), history, self.plan.rules)
        record(self.lake, decision)
        return decision

    def interrupt_staging(self) -> None:
        """Let the reader of the event stream die within its work, as a killed training machine does."""
        stage = StreamStage(_DyingLake(self.settings.lake_uri), self.source.stage.root)
        with suppress(_Died):
            stage.refresh()

    def newest_event(self) -> datetime | None:
        """End of what the champion has learned from."""
        champion = self.registry.champion()
        return None if champion is None else champion.data_window.end

    def refusals(self) -> int:
        """Refused versions so far."""
        return sum(one.status is Status.REFUSED for one in self.registry.list_versions())

    def _champion(self) -> ModelVersion:
        champion = self.registry.champion()
        assert champion is not None
        return champion

    def _fit(self, lake: Lake, window: DataWindow, registry: ModelRegistry, run_id: str) -> Version:
        from recsys_assets.training.candidate import fit_bundle

        champion, folder = self._champion(), self.settings.home / "refit"
        fit_bundle(make_trainer(champion.model, champion.parameters), lake, window, folder, {}, lambda _: None)
        return register_bundle(registry, self.bundles, folder, run_id=run_id, metrics={}).version

    def _missing(self, today: date) -> list[date]:
        self.export.today = today
        stored = set(self.lake.days("interactions"))
        return [day for day in self.source.days() if day < today and day not in stored]

    def _run(self, job: str, names: Sequence[str] | None = None, tags: dict[str, str] | None = None) -> None:
        keys = None if names is None else [dg.AssetKey(name) for name in names]
        with dg.DagsterInstance.ephemeral() as instance:
            self._defs.resolve_job_def(job).execute_in_process(
                instance=instance, asset_selection=keys, tags=tags, run_config=QUIET
            )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)


class _DamagedLake(Lake):
    """A lake whose events are mixed up: the products are those of other events."""

    def read(self, table: str, *given: Any, **named: Any) -> pa.Table:
        """See `Lake.read`."""
        found = super().read(table, *given, **named)
        if table != "interactions" or "product_id" not in found.column_names:
            return found
        mixed = found["product_id"].take(np.random.default_rng(0).permutation(found.num_rows))
        return found.set_column(found.column_names.index("product_id"), "product_id", mixed)


class _Died(Exception):
    """The process was killed here."""


class _DyingLake(Lake):
    """A lake whose writer dies at the second part."""

    written: ClassVar[int] = 0

    def write_part(self, table: str, day: date, name: str, data: pa.Table) -> str:
        """See `Lake.write_part`."""
        _DyingLake.written += 1
        if _DyingLake.written % 2 == 0:
            raise _Died
        return super().write_part(table, day, name, data)


def settings_of(plan: YearPlan, home: Path, rollout: str = "off") -> Settings:
    """Settings of one home; ``rollout`` as the setting of this name."""
    return make_settings(
        {
            "home": home, "first_day": plan.shop.start.isoformat(), "source": "synthetic", "events": "both",
            "models": plan.models, "seed": plan.seed, "prediction_cache_s": 0.0, "rollout": rollout,
        }
    )  # fmt: skip
