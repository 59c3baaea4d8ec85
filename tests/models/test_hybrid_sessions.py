"""Training examples from within sessions beside a walk through every session, and a fit on anonymous visits."""

from pathlib import Path

import numpy as np
import pytest

from lambda_api.interactions import InteractionType
from lambda_api.recommender.bundle import read_bundle, write_bundle
from lambda_api.recommender.contract import StoredModel
from lambda_api.recommender.two_stage.recommender import OldFormatError, TwoStageRecommender
from recsys_assets.measurement.next_click import evaluate_next_click, next_click
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid import Hybrid
from recsys_assets.models.hybrid_sessions import (
    NEXT,
    SEEN_LATER,
    TAKEN_LATER,
    PastSessions,
    _labels,
    histories_at,
    session_positions,
)
from recsys_assets.models.hybrid_windows import Window, relevant
from recsys_assets.models.item_knn import ItemKnn
from tests.models.anonymous_clicks import AS_OF, DAY, GAP, PRODUCTS_OF_RING, START, anonymous_clicks


def log(kinds: tuple[str, ...] = ("view", "purchase")) -> TrainingData:
    return TrainingData.from_tables(anonymous_clicks(sessions=300, kinds=kinds), PRODUCTS_OF_RING, AS_OF)


@pytest.mark.parametrize("allow_repeats", [False, True])
def test_positions_and_grades_of_a_walk_through_every_session(allow_repeats: bool) -> None:
    data = log()
    window = Window(int(START.timestamp()) + DAY, int(START.timestamp()) + 6 * DAY)
    at = session_positions(data, window, allow_repeats=allow_repeats, most=10_000, seed=0)
    expected = [
        event
        for event in range(len(data.user) - 1)
        if data.user[event] == data.user[event + 1]
        and 0 < data.timestamp[event + 1] - data.timestamp[event] <= GAP
        and window.start <= data.timestamp[event] < window.start + 3 * DAY
        and (allow_repeats or data.product[event] != data.product[event + 1])
    ]
    assert at.tolist() == expected and len(expected) > 50
    truth = _labels(data, at, {InteractionType.PURCHASE}, allow_repeats=allow_repeats)
    for number, event in enumerate(at):
        grades: dict[int, int] = {}
        later = int(event) + 1
        while later < min(len(data.user), event + 11) and data.user[later] == data.user[event]:
            if data.timestamp[later] - data.timestamp[later - 1] > GAP:
                break
            bought = data.kind[later] == InteractionType.PURCHASE
            grade = NEXT if later == event + 1 else TAKEN_LATER if bought else SEEN_LATER
            product = int(data.product[later])
            if allow_repeats or product != data.product[event]:
                grades[product] = max(grade, grades.get(product, 0))
            later += 1
        everything = np.arange(len(data.products), dtype=np.int32)
        found = truth.of(np.full(len(everything), number), everything)
        assert {int(product): int(found[product]) for product in np.flatnonzero(found)} == grades
    some = session_positions(data, window, allow_repeats=allow_repeats, most=20, seed=1)
    assert len(some) == 20 and set(some.tolist()) <= set(expected)


def test_a_history_ends_with_its_click_at_the_moment_of_asking() -> None:
    data = log()
    at, moment = np.array([5, 11, 40]), int(AS_OF.timestamp())
    histories = histories_at(data, at, moment)
    for row, event in enumerate(at):
        first = int(np.flatnonzero(data.user == data.user[event])[0])
        own = slice(int(histories.indptr[row]), int(histories.indptr[row + 1]))
        assert histories.products[own].tolist() == data.product[first : event + 1].tolist()
        assert histories.timestamps[own][-1] == histories.now == moment
        assert np.diff(histories.timestamps[own]).tolist() == np.diff(data.timestamp[first : event + 1]).tolist()


def test_anonymous_visits_are_learned_from(tmp_path: Path) -> None:
    task = next_click(anonymous_clicks(), PRODUCTS_OF_RING, AS_OF, allow_repeats=True)
    trainer = Hybrid(allow_repeats=True, trees=40, leaf_rows=20, max_clicks=600)
    model = trainer.fit(task.training)
    assert model.session is not None
    ours = evaluate_next_click(model, task, 3)["mrr"].mean()
    assert ours > evaluate_next_click(model.without_ranker(), task, 3)["mrr"].mean()
    assert ours > evaluate_next_click(ItemKnn().fit(task.training), task, 3)["mrr"].mean()
    write_bundle(model, tmp_path / "bundle")
    served = read_bundle(tmp_path / "bundle").recommender
    some = task.histories.rows(0, 60)
    expected, again = model.recommend(some, 5), served.recommend(some, 5)
    assert (again.products == expected.products).all() and (again.scores == expected.scores).all()


def test_a_bundle_of_an_older_format_is_refused_with_the_remedy() -> None:
    model = Hybrid(windows=0).fit(log(("purchase",)))
    parameters = {**model.parameters(), "format": 1}
    with pytest.raises(OldFormatError, match="format 1, this version reads 4; train the model again"):
        TwoStageRecommender.restore(StoredModel(model.products, model.popularity, model.arrays(), parameters, {}))


def test_the_future_of_a_window_changes_no_example_before_it() -> None:
    """Candidates and features of a window's sessions come from what precedes it; only labels and histories do not."""
    data = log(("view",))
    trainer = Hybrid(allow_repeats=True)
    window = Window(int(START.timestamp()) + 4 * DAY, int(AS_OF.timestamp()))
    late = data.timestamp >= window.start + 3 * DAY
    changed = TrainingData(**{**vars(data), "product": np.where(late, 0, data.product).astype(np.int32)})
    rows = []
    for one in (data, changed):
        past = one.where(one.timestamp < window.start, as_of=window.start)
        generator = trainer.session_generator(past, trainer.sources_on(past))
        at = session_positions(one, window, allow_repeats=True, most=trainer.max_clicks, seed=trainer.seed)
        found = PastSessions(generator, one, at, window.start, relevant(one), allow_repeats=True).rows()
        assert found is not None
        rows.append(found)
    assert (rows[0].features == rows[1].features).all()
