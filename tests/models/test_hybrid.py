"""The hybrid learns forward in time, ranks as it was taught, and answers from a bundle without its teachers."""

import json
import subprocess
import sys
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.bundle import read_bundle, write_bundle
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.two_stage.candidates import Candidates
from lambda_api.recommender.two_stage.features import FeatureRows
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.recommender.two_stage.stage import RankedStage
from recsys_assets.measurement.metrics import ranking_metrics
from recsys_assets.measurement.protocol import EvaluationWindow, build_task, evaluate
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid import SOURCES, Hybrid
from recsys_assets.models.hybrid_ranker import (
    RankingRows,
    binned,
    calibrated,
    exported,
    fit_trees,
)
from recsys_assets.models.hybrid_windows import Window, before, labels, plan_windows, relevant
from recsys_assets.models.popularity import Popularity
from tests.models.hybrid_shop import AS_OF, SMALL, shop, training_data
from tests.recommender.explanations import explained

PURCHASE = frozenset({InteractionType.PURCHASE})


@lru_cache
def fitted(allow_repeats: bool = False) -> TwoStageRecommender:
    return Hybrid(**SMALL, allow_repeats=allow_repeats).fit(training_data())


def asked_of_ranker(model: TwoStageRecommender, histories: Histories) -> tuple[Candidates, np.ndarray]:
    """Candidates and their rows of features, as `TwoStageRecommender` asks its ranker about them."""
    candidates = model.generator.candidates(histories)
    return candidates, FeatureRows(histories, candidates, model.generator.facts).of()


def as_events(data: TrainingData, user: int) -> list[Event]:
    """One shopper's log as a request would bring it, in no particular order."""
    own = np.flatnonzero(data.user == user)[::-1]
    ids = data.products.external(data.product[own])
    return [Event(i, InteractionType(int(data.kind[e])), int(data.timestamp[e])) for i, e in zip(ids, own, strict=True)]


@pytest.mark.parametrize("allow_repeats", [False, True])
def test_rows_of_training_are_the_rows_of_serving(allow_repeats: bool, tmp_path: Path) -> None:
    """Offline: a training window cut out of the longer log. Online: a bundle from disk, one shopper at a time."""
    late = AS_OF + timedelta(days=10)
    longer = training_data(late)
    start = int(AS_OF.timestamp())
    window = Window(start, int(late.timestamp()))
    trainer = Hybrid(**SMALL, allow_repeats=allow_repeats)
    past = TrainingData.from_tables(*shop(), as_of=AS_OF)
    offline = trainer.at(longer, window).rows()
    assert offline is not None and len(offline.groups) > 30

    write_bundle(trainer.fit(past), tmp_path / "bundle")
    served = read_bundle(tmp_path / "bundle").recommender
    assert isinstance(served, TwoStageRecommender)
    truth = labels(longer, window, PURCHASE)
    users = np.intersect1d(truth.users, np.unique(before(longer, start).user))
    groups = iter(np.split(offline.features, np.cumsum(offline.groups)[:-1]))
    grades = iter(np.split(offline.grades, np.cumsum(offline.groups)[:-1]))
    compared = 0
    for user in users:
        events = as_events(before(longer, start), int(user))
        online_history = Histories.from_events([events], start, served.products)
        candidates, online = asked_of_ranker(served, online_history)
        grade = truth.of(np.full(len(online), user), candidates.products.values)
        if not grade.any():
            continue  # training leaves out shoppers whose candidates hold nothing they took
        assert (online == next(groups)).all()
        assert (grade == next(grades)).all()
        compared += 1
    assert compared == len(offline.groups)


def test_a_batch_is_its_shoppers_one_by_one() -> None:
    model, histories = fitted(), training_data().histories()
    candidates, together = asked_of_ranker(model, histories.rows(0, 70))
    for row in range(70):
        alone, features = asked_of_ranker(model, histories.rows(row, row + 1))
        assert (alone.products.values == candidates.products.row(row)).all()
        span = slice(candidates.products.indptr[row], candidates.products.indptr[row + 1])
        assert (features == together[span]).all()


def test_exported_scores_are_the_native_ones() -> None:
    data = training_data()
    trainer = Hybrid(**SMALL)
    rows = [trainer.at(data, window).rows() for window in plan_windows(data, PURCHASE, 3, 10.0)]
    everything = RankingRows.concatenate([part for part in rows if part is not None])
    names = fitted().stage.feature_names
    assert everything.features.shape[1] == len(names) == len(set(names))
    assert np.isfinite(everything.features).all()
    booster = fit_trees(binned(everything, names), trainer._lightgbm(), 40)
    native = booster.predict(everything.features, raw_score=True)
    served = RankedStage(fitted().generator, exported([(1.0, booster)], {}, everything.features), (1.0, 0.0), names)
    assert np.abs(served.rank(everything.features) - native).max() < 1e-5


@pytest.mark.parametrize(("leaves", "bits"), [(2, 8), (8, 8), (9, 16), (17, 32), (64, 64)])
def test_trees_of_any_size_are_exported(leaves: int, bits: int) -> None:
    rng = np.random.default_rng(leaves)
    # Few distinct values, so that rows lie exactly on the thresholds between them.
    features = rng.integers(0, 40, (4_000, 5)).astype(np.float32) / np.float32(7.0)
    grades = (np.sin(features).sum(axis=1) > 1.0).astype(np.int32)
    rows = RankingRows(features, grades, np.full(200, 20))
    parameters = {**Hybrid(leaves=leaves)._lightgbm(), "min_data_in_leaf": 1}
    booster = fit_trees(binned(rows, list("abcde")), parameters, 30)
    ranker = exported([(2.0, booster)], {}, features)
    assert ranker.kept.dtype.itemsize * 8 == bits
    np.testing.assert_allclose(ranker.score(features), 2.0 * booster.predict(features, raw_score=True), rtol=1e-4)
    together = ranker.score(features)
    for count in (1, 2, 3, 9, 700):
        assert (ranker.score(features[50 : 50 + count]) == together[50 : 50 + count]).all(), "whatever else is scored"
    assert len(ranker.score(features[:0])) == 0


def test_an_export_that_is_wrong_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features = rng.random((400, 4)).astype(np.float32)
    rows = RankingRows(features, (features[:, 0] > 0.7).astype(np.int32), np.full(20, 20))
    parameters = Hybrid(**SMALL)._lightgbm()
    booster = fit_trees(binned(rows, list("abcd")), parameters, 20)
    upside_down = RankingRows(features, 1 - rows.grades, rows.groups)
    other = fit_trees(binned(upside_down, list("abcd")), parameters, 20).dump_model()
    exported([(1.0, booster)], {}, features)
    monkeypatch.setattr(type(booster), "dump_model", lambda self: other)
    with pytest.raises(ValueError, match="differs from LightGBM's own scores"):
        exported([(1.0, booster)], {}, features)


def test_a_tree_that_the_ranker_cannot_hold_is_refused() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((4_000, 3)).astype(np.float32)
    rows = RankingRows(features, rng.integers(0, 2, 4_000).astype(np.int32), np.full(200, 20))
    many = {**Hybrid()._lightgbm("regression"), "num_leaves": 90, "min_data_in_leaf": 1, "feature_fraction": 1.0}
    booster = fit_trees(binned(rows, list("abc")), many, 3)
    with pytest.raises(ValueError, match="at most 64"):
        exported([(1.0, booster)], {}, features)


def test_what_happens_from_the_moment_on_changes_nothing() -> None:
    interactions, products = shop()
    later = interactions["timestamp"].to_numpy() >= np.datetime64(AS_OF.replace(tzinfo=None))
    assert later.any()
    known = interactions.filter(pa.array(~later))
    first = Hybrid(**SMALL).fit(TrainingData.from_tables(interactions, products, AS_OF))
    second = Hybrid(**SMALL).fit(TrainingData.from_tables(known, products, AS_OF))
    assert first.parameters() == second.parameters()
    assert first.graphs() == second.graphs()
    for name, array in first.arrays().items():
        assert np.array_equal(array, second.arrays()[name], equal_nan=True), name


def test_sources_of_a_window_see_nothing_of_it() -> None:
    data = training_data()
    window = plan_windows(data, PURCHASE, 3, 10.0)[0]
    product = data.product.copy()
    inside = data.timestamp >= window.start
    product[inside] = np.random.default_rng(1).permutation(product[inside])
    other = TrainingData(**{**vars(data), "product": product})
    trainer = Hybrid(**SMALL)
    one = trainer.sources_on(before(data, window.start))
    two = trainer.sources_on(before(other, window.start))
    histories = before(data, window.start).histories()
    rows = [FeatureRows(histories, part.candidates(histories), part.facts).of() for part in (one, two)]
    assert (rows[0] == rows[1]).all()
    for name, array in one.facts.arrays().items():
        assert np.array_equal(array, two.facts.arrays()[name], equal_nan=True), name


def test_beats_popularity_and_falls_to_it_when_labels_are_shuffled() -> None:
    interactions, products = shop()
    task = build_task(interactions, products, EvaluationWindow(AS_OF, AS_OF + timedelta(days=10)))
    floor = evaluate("popularity", Popularity().fit(training_data()), task)
    ours = evaluate("hybrid", fitted(), task)
    assert ours.metrics["ndcg"].mean() > 2.0 * floor.metrics["ndcg"].mean()
    order = np.random.default_rng(3).permutation(len(task))
    shuffled = Ragged.from_rows([task.truth.row(row) for row in order])
    lost = ranking_metrics(ours.recommended, shuffled, 10)["ndcg"].mean()
    base = ranking_metrics(floor.recommended, shuffled, 10)["ndcg"].mean()
    assert lost <= base * 1.1


def test_new_products_only_unless_repeats_are_learned() -> None:
    data = training_data()
    histories = data.histories()
    bought = histories.distinct_products([InteractionType.PURCHASE])
    fresh, again = fitted().generator.candidates(histories), fitted(True).generator.candidates(histories)
    assert fitted().generator.consumed_types == (InteractionType.PURCHASE,)
    repeats = 0
    for row in range(len(histories)):
        assert not np.isin(bought.row(row), fresh.products.row(row)).any()
        repeats += np.isin(bought.row(row), again.products.row(row)).sum()
    assert repeats > len(histories)


def test_what_a_shopper_only_looked_at_is_a_candidate() -> None:
    whole = training_data()
    fields = ("user", "product", "kind", "timestamp", "rating")
    kept = (whole.kind == InteractionType.VIEW) | (whole.product % 3 > 0)
    data = TrainingData(**{**vars(whole), **{name: vars(whole)[name][kept] for name in fields}})
    histories = data.histories()
    touched, bought = histories.distinct_products(), histories.distinct_products([InteractionType.PURCHASE])
    # With nothing else that proposes: no neighbour leads back to it.
    model = Hybrid(**{**SMALL, "sources": ("repurchase",), "limit": len(data.products)}).fit(data)
    found = model.generator.candidates(histories).products
    waiting = [np.setdiff1d(touched.row(row), bought.row(row)) for row in range(len(histories))]
    assert sum(map(len, waiting)) > len(histories) // 2
    assert all(np.array_equal(found.row(row), own) for row, own in enumerate(waiting))


@pytest.mark.parametrize("columns", [(), ("name",), ("price",), ("category",)])
def test_missing_columns_leave_a_working_model(columns: tuple[str, ...], tmp_path: Path) -> None:
    data = training_data(columns=columns)
    purchases = data.kind == InteractionType.PURCHASE
    fields = ("user", "product", "kind", "timestamp", "rating")
    data = TrainingData(**{**vars(data), **{name: vars(data)[name][purchases] for name in fields}})
    model = Hybrid(**SMALL).fit(data)
    histories = data.histories().rows(0, 40)
    _, features = asked_of_ranker(model, histories)
    assert np.isfinite(features).all()
    by_name = dict(zip(model.stage.feature_names, features.T, strict=True))
    assert set(np.unique(by_name["conversion"])) == {-1.0}
    for column, feature in (("price", "price_difference"), ("category", "category_share"), ("brand", "brand_share")):
        assert (np.ptp(by_name[feature]) > 0) == (column in columns)
    sources = {source.name for source in model.generator.sources}
    assert ("content" in sources) == bool(columns)
    assert ("category" in sources) == ("category" in columns)
    write_bundle(model, tmp_path / "bundle")
    again = read_bundle(tmp_path / "bundle").recommender.recommend(histories, 10)
    assert (again.products == model.recommend(histories, 10).products).all()


def test_a_log_too_short_to_learn_from_is_ranked_by_fusion() -> None:
    data = training_data()
    model = Hybrid(**{**SMALL, "windows": 0, "category_share": 1.0}).fit(data)
    histories = data.histories().rows(0, 20)
    candidates, _ = asked_of_ranker(model, histories)
    lists = model.recommend(histories, 5)
    for row in range(20):
        fusion = candidates.fusion[candidates.products.indptr[row] : candidates.products.indptr[row + 1]]
        best = candidates.products.row(row)[np.argsort(-fusion, kind="stable")[:5]]
        assert lists.products[row].tolist() == best.tolist()
    one_day = before(data, int(data.timestamp.min()) + 3_600 * 30)
    assert (Hybrid(**SMALL).fit(one_day).recommend(histories, 5).products >= 0).all()


def test_explanations_name_the_past_that_led_there() -> None:
    model, data = fitted(), training_data()
    history = data.histories().rows(4, 5)
    best = model.recommend(history, 3)
    own = set(history.products.tolist())
    for product, score in zip(best.products[0], best.scores[0], strict=True):
        terms = explained(model, history, int(product))
        assert terms.keys() <= own
        assert sum(terms.values()) == pytest.approx(float(score), rel=1e-5)


def test_windows_end_at_the_moment_and_fit_the_log() -> None:
    data = training_data()
    windows = plan_windows(data, PURCHASE, 4, 10.0)
    assert [window.end - window.start for window in windows] == [864_000] * 4
    assert windows[-1].end == data.as_of
    assert [window.end for window in windows[:-1]] == [window.start for window in windows[1:]]
    # 60 % of 70 days hold two windows of 20, and none of 50.
    assert len(plan_windows(data, PURCHASE, 4, 20.0)) == 2
    assert plan_windows(data, PURCHASE, 4, 50.0) == []
    chosen = plan_windows(data, PURCHASE, 4, None)
    assert (chosen[0].end - chosen[0].start) / 86_400 == 10.0, "never more than a sixth of the log"


def test_labels_are_graded_and_bad_ratings_are_none() -> None:
    data = training_data()
    window = plan_windows(data, PURCHASE, 1, 10.0)[0]
    truth = labels(data, window, PURCHASE)
    inside = (data.timestamp >= window.start) & (data.timestamp < window.end)
    for event in np.flatnonzero(inside)[:200]:
        user, product = int(data.user[event]), int(data.product[event])
        kinds = data.kind[inside & (data.user == user) & (data.product == product)]
        expected = 3 if (kinds == InteractionType.PURCHASE).any() else 1
        assert truth.of(np.array([user]), np.array([product], dtype=np.int32)).tolist() == [expected]
    rated = TrainingData(
        **{
            **vars(data),
            "kind": np.full(len(data.kind), InteractionType.RATING, dtype=np.int8),
            "rating": np.where(np.arange(len(data.kind)) % 2, 3.5, 4.0).astype(np.float32),
        }
    )
    assert relevant(rated) == {InteractionType.RATING}
    bad = np.flatnonzero(inside & (rated.rating < 4.0))
    good = set(labels(rated, window, relevant(rated)).keys.tolist())
    key = rated.user.astype(np.int64) * len(rated.products) + rated.product
    liked = set(key[inside & (rated.rating >= 4.0)].tolist())
    assert good == liked
    assert any(int(key[event]) not in good for event in bad)


def test_calibration_recovers_a_known_curve() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200_000)
    chance = 1.0 / (1.0 + np.exp(-(1.7 * scores - 2.0)))
    slope, intercept = calibrated(scores, rng.random(len(scores)) < chance)
    assert slope == pytest.approx(1.7, abs=0.05)
    assert intercept == pytest.approx(-2.0, abs=0.05)
    assert calibrated(scores, rng.random(len(scores)) < 0.3)[0] > 0


def test_wrong_hyper_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="sources must be names among co_purchase"):
        Hybrid(sources=("horoscope",))
    with pytest.raises(ValueError, match="limit"):
        Hybrid(limit=0)
    trainer = Hybrid(**SMALL, sources=SOURCES[:3])
    assert Hybrid(**json.loads(json.dumps(trainer.parameters()))) == trainer


ANSWER = """
import sys

REFUSED = "lightgbm onnxruntime onnx torch sklearn scipy pandas pyarrow dagster recsys_assets".split()

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED:
            raise ImportError(f"{name} must not be needed to answer")

sys.meta_path.insert(0, Refuse())
from pathlib import Path
import numpy as np
from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.histories import Histories

folder = Path(sys.argv[1])
stored = dict(np.load(folder / "histories.npz"))
histories = Histories(user_ids=tuple(stored.pop("user_ids").tolist()), now=int(stored.pop("now")), **stored)
answer = read_bundle(folder / "bundle").recommender.recommend(histories, 10)
np.savez(folder / "answer.npz", products=answer.products, scores=answer.scores)
"""


def test_the_bundle_answers_where_nothing_that_trained_it_is_installed(tmp_path: Path) -> None:
    data = training_data()
    histories = data.histories_of(np.arange(25))
    stored = {name: getattr(histories, name) for name in ("indptr", "products", "types", "timestamps", "now")}
    np.savez(tmp_path / "histories.npz", user_ids=np.array(histories.user_ids), **stored)
    write_bundle(fitted(), tmp_path / "bundle")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected, answer = fitted().recommend(histories, 10), np.load(tmp_path / "answer.npz")
    assert (answer["products"] == expected.products).all()
    assert (answer["scores"] == expected.scores).all()
