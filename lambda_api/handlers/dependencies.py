"""Composition root of serving: builds a service with all its adapters from the settings, once per process.

DynamoDB, Kinesis and SQS are used with the target ``aws`` only; nothing is opened before it is used.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambda_api.handlers.after_reply import Background, Immediate, LambdaExtension, Worker, Writer
from lambda_api.handlers.lambda_start import on_lambda
from lambda_api.serving.answer_cache import AnswerCache
from lambda_api.serving.baseline import Baseline, PopularLists
from lambda_api.serving.bundle_host import BundleHost, CatalogueHost
from lambda_api.serving.counters import Counters
from lambda_api.serving.endpoints import invoke
from lambda_api.serving.feedback import FeedbackService
from lambda_api.serving.guard import Guard
from lambda_api.serving.routing import RoutingCache
from lambda_api.serving.scorers import EndpointScorer, InProcessScorer, RoutedScorer, Scorer
from lambda_api.serving.service import Budgets, RecommendationService
from lambda_api.settings import Settings, current_settings
from lambda_api.state.event_sink import EventSink, FirehoseSink, JsonLinesSink, KinesisSink
from lambda_api.state.exposures import InferenceLog
from lambda_api.state.history import HistoryStore
from lambda_api.state.key_usage import KeyUsage
from lambda_api.state.open_table import open_table
from lambda_api.state.popular import PopularProducts
from lambda_api.state.shadow_queue import ShadowQueue, SqsShadowQueue, TableShadowQueue
from lambda_api.state.table import Key, Table, TableUnavailable

log = logging.getLogger(__name__)

PATIENCE_S = 0.5
"""Longest wait of a table call within a request, for a lock or a connection; guards give up earlier."""

AFTER_REPLY_PATIENCE_S = {"local": 15.0, "aws": 2.0}
"""The same for writes after the reply, by target. On Lambda the next request would wait for them."""

EVENTS_FOLDER = "events"
"""Folder of the event sink below the home folder (target ``local``)."""


@dataclass(slots=True)
class Serving:
    """All objects of a process that answers requests."""

    settings: Settings
    service: RecommendationService
    feedback: FeedbackService
    history: HistoryStore
    bundles: BundleHost
    catalogue: CatalogueHost
    popular: PopularLists
    after_reply: Worker
    counters: Counters
    scorer: Scorer
    inference_log: InferenceLog
    sink: EventSink | None
    shadow_queue: ShadowQueue | None
    key_usage: KeyUsage
    tables: tuple[Table, ...]

    def warm(self) -> None:
        """Connect to the tables, load champion and catalogue, and ask once. Never raises.

        A first connection takes longer than the time budgets of a request allow.
        """
        for table in self.tables:
            try:
                table.get(Key("warm", "up"))
            except TableUnavailable as error:
                log.warning("not warm: %s", error)
        self.service.warm()

    def unknown_products(self, product_ids: Sequence[str]) -> set[str]:
        """Those that the catalogue in service does not have; none while no catalogue is loaded in this process."""
        catalogue, _ = self.catalogue.state()
        if catalogue is None:
            return set()
        return {product_id for product_id in product_ids if catalogue.value.card(product_id) is None}

    def guards(self) -> list[Guard]:
        """Every guard of this process."""
        feedback = self.feedback
        return [
            *self.service.guards(),
            self.catalogue.guard,
            self.popular.guard,
            feedback.record_guard,
            feedback.sink_guard,
            feedback.join_guard,
        ]

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write waiting work and close the sink, before the process ends; returns whether everything was written."""
        written = self.after_reply.close(timeout_s)
        if self.sink is not None:
            self.sink.close()
        return written


def build(
    settings: Settings,
    *,
    immediate: bool = False,
    worker: Worker | None = None,
    budgets: Budgets | None = None,
    clock: Callable[[], float] = time.time,
) -> Serving:
    """Build all objects. Opens neither files nor connections.

    Args:
        settings: see `Settings`.
        immediate: write before the reply instead of after it (tests).
        worker: does the work after replies; by default a new one.
        budgets: of the steps of a request.
        clock: seconds since 1970 UTC; a simulation has its own.
    """
    counters, budgets = Counters(), budgets or Budgets()
    serving_table = open_table(settings, "serving", patience_s=PATIENCE_S, clock=clock)
    history_table = open_table(settings, "history", patience_s=PATIENCE_S, clock=clock)
    history = HistoryStore(history_table, clock=clock)
    log_table = open_table(settings, "exposures", patience_s=AFTER_REPLY_PATIENCE_S[settings.target], clock=clock)
    cache = Path("/tmp/recsys") if on_lambda() else settings.home
    bundles = BundleHost(cache / "bundles", root=settings.models_uri)
    catalogue = CatalogueHost(serving_table, cache / "catalogues", root=settings.catalogue_uri)
    scorer = RoutedScorer(InProcessScorer(bundles, catalogue), EndpointScorer(invoke(budgets.endpoint_s)))
    popular = PopularLists(PopularProducts(serving_table))
    sink, shadow, exposures = _sink(settings, clock), _shadow(settings), InferenceLog(log_table, clock=clock)
    logged = settings.inference_log
    writer = Writer(exposures if logged else None, sink if logged else None, shadow, counters)
    worker = worker or _worker(writer, immediate)
    service = RecommendationService(
        routing=RoutingCache(serving_table),
        history=history,
        scorer=scorer,
        baseline=Baseline(popular),
        after_reply=worker,
        counters=counters,
        explore=settings.exploration_share,
        cache=AnswerCache(settings.prediction_cache_s, catalogue.checksum, counters),
        budgets=budgets,
        clock=clock,
    )
    exposure_table = open_table(settings, "exposures", patience_s=PATIENCE_S, clock=clock)
    joins = InferenceLog(exposure_table) if logged else None
    feedback = FeedbackService(history, joins, sink, counters)
    return Serving(
        settings=settings,
        service=service,
        feedback=feedback,
        history=history,
        bundles=bundles,
        catalogue=catalogue,
        popular=popular,
        after_reply=worker,
        counters=counters,
        scorer=scorer,
        inference_log=exposures,
        sink=sink,
        shadow_queue=shadow,
        key_usage=KeyUsage(exposure_table, now=clock),
        tables=(serving_table, history_table),
    )


_lock = threading.Lock()
_serving: Serving | None = None


def serving() -> Serving:
    """This process's dependencies, made on first use.

    Raises:
        SettingsError: a setting is wrong.
    """
    global _serving
    if _serving is None:
        with _lock:
            if _serving is None:
                _serving = build(current_settings())
    return _serving


def start_fresh() -> None:
    """Replace this process's dependencies by new ones with empty caches and new connections, and warm them.

    The worker after replies stays: Lambda lets an extension register only before the first request.
    """
    old = _serving
    use(build(current_settings(), worker=old.after_reply if old else None))
    serving().warm()


def use(replacement: Serving | None) -> None:
    """Replace this process's dependencies (tests); ``None`` removes them."""
    global _serving
    with _lock:
        _serving = replacement


def _worker(writer: Writer, immediate: bool) -> Worker:
    if immediate:
        return Immediate(writer)
    runtime_api = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    if not on_lambda():
        return Background(writer)
    # Lambda would freeze a background thread together with the sandbox.
    extension = LambdaExtension(writer, runtime_api) if runtime_api else None
    return extension if extension is not None and extension.start() else Immediate(writer)


def _sink(settings: Settings, clock: Callable[[], float]) -> EventSink | None:
    if settings.target == "local":
        return JsonLinesSink(settings.home / EVENTS_FOLDER, clock=clock)
    if settings.event_stream:
        return KinesisSink(settings.event_stream, _client("kinesis"))
    return FirehoseSink(settings.event_delivery, _client("firehose")) if settings.event_delivery else None


def _shadow(settings: Settings) -> ShadowQueue | None:
    if settings.target == "local":
        return TableShadowQueue(open_table(settings, "shadow_queue", patience_s=2.0))
    return SqsShadowQueue(settings.shadow_queue_url, _client("sqs")) if settings.shadow_queue_url else None


def _client(name: Any) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(name, config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2}))
