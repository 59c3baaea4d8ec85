"""Business figures: through the served path with a known truth, from the synthetic shop, and where there is nothing."""

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lambda_api.handlers.dependencies import Serving
from lambda_api.interactions import InteractionType
from lambda_api.recommender.catalogue import Catalogue
from lambda_api.recommender.contract import Recommender
from lambda_api.serving.question import Question
from lambda_api.settings import Settings, make_settings
from lambda_api.state.exposures import Exposure, ShownItem
from lambda_api.state.history import HistoryStore, StoredEvent
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import RouteTarget, RoutingRecord, Variant, write_routing
from recsys_assets.evaluation.build_report import build_report
from recsys_assets.evaluation.business import MIN_LISTS, BusinessFigures, PolicyFigures, logged_figures
from recsys_assets.evaluation.evaluate_models import Evaluation, evaluate_models, load_candidates
from recsys_assets.evaluation.html import render_html
from recsys_assets.evaluation.off_policy import ESTIMATORS
from recsys_assets.evaluation.report import EvaluationReport
from recsys_assets.evaluation.served import read_served
from recsys_assets.evaluation.simulated import simulated_figures
from recsys_assets.evaluation.tables import business_table
from recsys_assets.event_stream import events_root
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.lake import Lake
from recsys_assets.measurement.protocol import EvaluationWindow, build_task, evaluate
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.popularity import Popularity
from recsys_assets.publishing.histories import publish_histories
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.schema import INTERACTIONS
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.training.candidate import candidate_folder, train_candidate
from tests.evaluation import helpers
from tests.patience import patient
from tests.training.shop import training_data_before

K, PRODUCTS, SHOPPERS, EXPLORE = 4, 16, 900, 0.5
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
SPLIT = TemporalSplit(*(MIDNIGHT - timedelta(days=days) for days in (30, 8, 4, 0)))
IDS = [f"p{number:02d}" for number in range(PRODUCTS)]
CLICK = dict(zip(IDS, np.linspace(0.7, 0.1, PRODUCTS).tolist(), strict=True))
"""Chance that whoever is shown a product looks at it, at whatever place; half of those buy it, for its price."""
LIKE = Question("", (), 0, K)
PRICE = dict(zip(IDS, np.linspace(2.0, 32.0, PRODUCTS).tolist(), strict=True))


@dataclass(frozen=True)
class Shop:
    """A home whose item-kNN has served and whose shoppers have answered by `CLICK`."""

    settings: Settings
    served: Recommender
    lists: dict[str, list[str]]

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_uri)

    def truth(self, model: Recommender, worth: dict[str, float]) -> float:
        """Of the model's own lists, asked in one batch and not through the engine."""
        data = training_data_before(self.lake, SPLIT.end)
        histories = data.histories()
        own = [data.products.external(histories.products[a:b]) for a, b in _slices(histories.indptr)]
        known = helpers.ragged(*(model.products.indices(sorted(set(names))) for names in own))
        answer = model.recommend(
            type(histories)(
                histories.user_ids, histories.indptr, model.products.indices([*chain(*own)]), histories.types,
                histories.timestamps, int(time.time()),
            ), K, exclude=known,
        )  # fmt: skip
        return float(np.mean([worth[name] for row in answer.products for name in model.products.external(row)]))


def _slices(indptr: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("business") / "home"
    settings = make_settings({"home": home, "k": K, "exploration_share": EXPLORE, "prediction_cache_s": 0})
    lake = Lake(settings.lake_uri)
    _write_log(lake)
    for trainer in (Popularity(), ItemKnn()):
        train_candidate(trainer, lake, SPLIT, settings, lambda line: None)
    champion = load_candidates(settings, ("item_knn",))["item_knn"]
    table = open_table(settings, "serving")
    bundles = BundleStore(settings.models_uri)
    bundles.put(candidate_folder(settings, "item_knn"))
    checksum = champion.manifest.checksum
    target = RouteTarget("v1", bundles.uri(checksum), checksum)
    write_routing(table, RoutingRecord("none", "none", (Variant("champion", target, 10_000),), None, 1, 0), None)
    publish_histories(lake, HistoryStore(open_table(settings, "history")), table)
    serving = patient(settings)
    lists = _serve(serving)
    serving.close()
    yield Shop(settings, champion.recommender, lists)


def _write_log(lake: Lake) -> None:
    rng = np.random.default_rng(0)
    lake.write_table("products", helpers.catalogue(IDS, price=list(PRICE.values()), available=[True] * PRODUCTS))
    days: dict[date, list[tuple[str, str, datetime]]] = {}
    for shopper in range(SHOPPERS):
        # Two kinds of shopper: the first half of the products is what most of them buy, and the more telling answers.
        half = PRODUCTS // 2
        for product in rng.choice(half, 4, replace=False) + half * (shopper % 5 < 2):
            moment = SPLIT.train_start + timedelta(minutes=int(rng.integers(30 * 1440)))
            days.setdefault(moment.date(), []).append((f"u{shopper}", IDS[product], moment))
    for day, rows in days.items():
        events = [(user, name, "purchase", (at - helpers.START).total_seconds() / 86_400) for user, name, at in rows]
        table = helpers.interactions(events)
        names = [f"{day}-{place}" for place in range(len(rows))]
        lake.write_day("interactions", day, table.set_column(0, "interaction_id", pa.array(names)))


def _serve(serving: Serving) -> dict[str, list[str]]:
    """One list for everybody, and their answers through the feedback service."""
    rng = np.random.default_rng(1)
    lists, events = {}, []
    for number in range(SHOPPERS):
        user, request = f"u{number}", f"r{number}"
        answer = serving.service.recommend(Question(user_id=user, events=(), now=0, k=K), (), request)
        assert answer.cause is None or "catalogue" in answer.cause, answer.cause
        lists[request] = [item.product_id for item in answer.ranking.items]
        now = int(time.time())
        for name in lists[request]:
            if rng.random() < CLICK[name]:
                kinds = (InteractionType.VIEW, InteractionType.PURCHASE)[: 1 + (rng.random() < 0.5)]
                events += [
                    StoredEvent(f"{kind.label}-{request}-{name}", user, name, kind, now, request_id=request)
                    for kind in kinds
                ]
    for start in range(0, len(events), 50):
        assert not serving.feedback.take(events[start : start + 50]).retry
    return lists


@pytest.fixture(scope="module")
def evaluation(shop: Shop) -> Evaluation:
    candidates = load_candidates(shop.settings, ("popularity", "item_knn"))
    return evaluate_models(candidates, None, shop.lake, SPLIT, shop.settings, lambda line: None)


def _policies(report: EvaluationReport) -> dict[tuple[str, str], PolicyFigures]:
    assert report.business is not None and report.business.origin == "logged"
    return {(one.policy, one.basis): one for one in report.business.policies}


def test_what_was_served_comes_back_as_it_was(shop: Shop) -> None:
    served = read_served(events_root(shop.settings), SPLIT.test_start)
    assert (served.lists, served.unreadable) == (SHOPPERS, 0)
    assert {one.request_id: [item.product_id for item in one.items] for one in served.exposures} == shop.lists
    drawn = [item for one in served.exposures for item in one.items if item.reason == "exploration"]
    assert len(drawn) == pytest.approx(EXPLORE * K * SHOPPERS, rel=0.1)
    assert all(event.request_id in shop.lists for event in served.events) and served.events


def test_estimates_of_the_report_are_near_the_truth(shop: Shop, evaluation: Evaluation) -> None:
    """Serving, exploring, answering, logging, reading and replaying end to end; the truth is known exactly."""
    found = _policies(evaluation.report)
    candidates = load_candidates(shop.settings, ("popularity", "item_knn"))
    worth = {
        "click_through": CLICK,
        "conversion": {name: chance / 2 for name, chance in CLICK.items()},
        "revenue": {name: CLICK[name] / 2 * PRICE[name] for name in IDS},
    }
    truths = {
        (name, measure): shop.truth(bundle.recommender, values)
        for name, bundle in candidates.items()
        for measure, values in worth.items()
    }
    # Worlds apart, so that an estimate of one is none of the other.
    assert truths["popularity", "click_through"] > truths["item_knn", "click_through"] + 0.03
    for basis in ESTIMATORS:
        for name in candidates:
            figures = found[name, basis]
            assert figures.refused == "" and figures.supported is not None and figures.supported > 0.9
            for measure in worth:
                interval = getattr(figures, measure)
                # Exploration is drawn afresh in every run, and 12 intervals at 95 % would miss by chance: 1.7 times the
                # half width is 3.3 standard errors.
                half_width = (interval.high - interval.low) / 2
                distance = abs(interval.mean - truths[name, measure])
                assert distance <= 1.7 * half_width, (name, basis, measure)
                assert interval.high - interval.low < 0.6 * interval.mean
    unexplored = found["served, without exploration", "snips"]
    assert unexplored.supported == 1
    assert unexplored.click_through is not None
    assert unexplored.click_through.mean == pytest.approx(found["item_knn", "snips"].click_through.mean, abs=1e-9)  # type: ignore[union-attr]


def test_what_was_shown_is_what_was_answered(shop: Shop, evaluation: Evaluation) -> None:
    shown = _policies(evaluation.report)["version v1", "as shown"]
    assert shown.lists == SHOPPERS and shown.click_through is not None
    expected = np.mean([CLICK[name] for names in shop.lists.values() for name in names])
    assert shown.click_through.low <= expected <= shown.click_through.high


def test_the_figures_are_in_the_page_and_in_its_json(evaluation: Evaluation) -> None:
    report = evaluation.report
    assert EvaluationReport.from_json(report.to_json()) == report
    table = business_table(report)
    assert {row[1] for row in table.rows} == {"as shown", "SNIPS", "IPS around the mean"}
    page = render_html(report)
    assert "Business figures per recommendation" in page and "Clicked per recommendation, logged" in page


def test_a_model_that_logging_could_not_have_shown_is_refused(shop: Shop) -> None:
    """Logging listed two products only; one that lists others has no support there, and the report says so."""
    served = read_served(events_root(shop.settings), SPLIT.test_start)
    narrow = tuple(
        Exposure(
            one.request_id, one.user_id, one.at_ms, "e", "v", 1.0, "m", "ranked", None,
            tuple(ShownItem(name, 1.0, rank, 0.5, "popular") for rank, name in enumerate(IDS[-2:], 1)), {}, 1.0,
        )
        for one in served.exposures
    )  # fmt: skip
    catalogue = Catalogue.from_columns(
        IDS, IDS, [None] * PRODUCTS, [None] * PRODUCTS, list(PRICE.values()), [True] * PRODUCTS, [None] * PRODUCTS
    )
    data = training_data_before(shop.lake, SPLIT.test_start)
    found = logged_figures(
        type(served)(narrow, (), len(narrow), 3),
        {"popularity": Popularity().fit(data)},
        catalogue,
        shop.lake.read("interactions"),
        LIKE,
        resamples=100,
    )
    assert found is not None and "3 records could not be read" in found.note
    refused = [one for one in found.policies if one.policy == "popularity"]
    assert [one.refused != "" and one.click_through is None for one in refused] == [True, True]


def test_lists_without_chance_speak_of_themselves_alone(shop: Shop) -> None:
    served = read_served(events_root(shop.settings), SPLIT.test_start)
    certain = tuple(
        replace(one, items=tuple(replace(item, propensity=None) for item in one.items)) for one in served.exposures
    )
    empty = Catalogue.from_columns([], [], [], [], [], [], [])
    log = shop.lake.read("interactions")
    found = logged_figures(type(served)(certain, served.events, len(certain), 0), {"a": shop.served}, empty, log, LIKE)
    assert found is not None and [one.basis for one in found.policies] == ["as shown"]
    assert "RECSYS_EXPLORATION_SHARE" in found.note
    few = type(served)(certain[: MIN_LISTS - 1], served.events, MIN_LISTS - 1, 0)
    assert logged_figures(few, {"a": shop.served}, empty, log, LIKE) is None


def test_a_shop_without_served_lists_is_told_why_there_is_nothing(shop: Shop, tmp_path: Path) -> None:
    elsewhere = make_settings({"home": tmp_path, "lake_uri": shop.settings.lake_uri, "k": K})
    candidates = load_candidates(shop.settings, ("popularity", "item_knn"))
    report = evaluate_models(candidates, None, shop.lake, SPLIT, elsewhere, lambda line: None).report
    assert report.business is not None and (report.business.origin, report.business.policies) == ("none", ())
    assert "0 lists were served" in report.business.note
    assert report.business.note.split(".")[0] in render_html(report)
    assert business_table(report).rows == ()


def test_the_stream_is_read_once_whatever_it_holds(tmp_path: Path) -> None:
    def exposure(number: int, at: datetime) -> dict:
        items = ({"product_id": "a", "score": 1.0, "rank": 1, "propensity": 0.5, "reason": "popular"},)
        made = Exposure(
            f"r{number}", f"u{number}", int(at.timestamp() * 1000), "e", "v", 1.0, "m", "ranked", None, (), {}, 1.0
        )
        return {**made.to_json(), "items": list(items), "kind": "exposure"}

    def event(number: int, user: str) -> dict:
        about = {"product_id": "a", "interaction_type": "view", "timestamp": 5}
        return {"event_id": f"e{number}", "user_id": user, **about}

    def write(name: str, lines: list[str]) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = "".join(lines).encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    since = datetime(2024, 3, 2, 12, tzinfo=UTC)
    lines = [json.dumps(exposure(n, since + timedelta(hours=n - 2))) + "\n" for n in range(8)]
    write(
        "exposure/date=2024-03-02/one.jsonl", [*lines[:5], "{not json}\n", '{"request_id": "other"}\n', lines[5][:30]]
    )
    write("exposure/date=2024-03-02/two.jsonl.gz", [*lines[4:], lines[2]])
    write("exposure/date=2024-03-01/early.jsonl", ["nobody reads this\n"])
    write("feedback/date=2024-03-02/one.jsonl", [json.dumps(event(n, f"u{n % 4}")) + "\n" for n in (1, 2, 3, 3, 0)])
    served = read_served(str(tmp_path), since)
    assert [one.request_id for one in served.exposures] == [f"r{n}" for n in range(2, 8)]
    assert (served.lists, served.unreadable) == (6, 2)
    assert [one.event_id for one in served.events] == ["e2", "e3"]  # shoppers whose lists are too old are nobody's
    some = read_served(str(tmp_path), since, most=3)
    assert len(some.exposures) == 3 and some.lists == 6
    assert {one.request_id for one in some.exposures} < {one.request_id for one in served.exposures}
    assert read_served(str(tmp_path / "nothing"), since).exposures == ()
    aws = make_settings({"target": "aws", "home": tmp_path, **{
        f"{name}_uri": f"s3://shop/{name}" for name in ("lake", "models", "catalogue")}})  # fmt: skip
    assert events_root(aws) == "s3://shop/events"


def test_simulated_figures_are_the_shops_own_chances() -> None:
    """Conversion of a list is the mean chance that its shoppers buy its products, which the shop knows exactly."""
    made = SyntheticShop(SyntheticShopConfig(days=45, n_users=250, n_products=120, n_categories=5))
    days = [made.day_events(made.config.start + timedelta(days=day)) for day in range(45)]
    log = INTERACTIONS.conform(pa.concat_tables(days))
    start = datetime(2025, 7, 3, tzinfo=UTC)
    window = EvaluationWindow(start, start + timedelta(days=14))
    products = made.products()
    task = build_task(log, products, window)
    data = TrainingData.from_tables(log, products, start)
    models = {"popularity": Popularity().fit(data), "item_knn": ItemKnn().fit(data)}
    found = simulated_figures(made, models, task, log, products, 10)
    assert (found.origin, "Simulated" in found.note) == ("simulated", True)
    by_name = {one.policy: one for one in found.policies}
    users = data.users.external(np.arange(len(data.users)))
    taken = data.histories().distinct_products([InteractionType.PURCHASE])
    for name, model in models.items():
        lists = model.recommend(data.histories(), 10, exclude=taken, candidates=np.unique(data.product)).products
        ids = [data.products.external(row[row >= 0]) for row in lists]
        chance = made.purchase_probability(users, data.products.external(np.arange(len(data.products))), start, 14)
        truth = np.mean([chance[row, data.products.indices(names)].mean() for row, names in enumerate(ids)])
        figures = by_name[name]
        assert figures.conversion is not None and figures.click_through is not None and figures.revenue is not None
        assert figures.conversion.mean == pytest.approx(truth, rel=0.15), name
        assert figures.lists == len(users)
        assert figures.click_through.mean > figures.conversion.mean > 0 and figures.revenue.mean > 0
    report = build_report(
        task, [evaluate(name, model, task, 10) for name, model in models.items()], business=found, resamples=20
    )
    assert "simulated" in business_table(report).to_markdown()
    assert isinstance(report.business, BusinessFigures)
