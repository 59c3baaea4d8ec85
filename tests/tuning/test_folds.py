"""Folds: cut before the given moment, blind to everything after their own."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lambda_api.interactions import InteractionType
from lambda_api.recommender.bundle import DataWindow
from lambda_api.state.sqlite_table import SqliteTable
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.measurement.leave_one_out import leave_one_out
from recsys_assets.measurement.protocol import evaluate
from recsys_assets.models.zoo import make_trainer
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import VALIDATION_NDCG, RunStatus
from recsys_assets.schema import INTERACTIONS
from recsys_assets.tuning.experiment_runs import recorder
from recsys_assets.tuning.folds import LeaveOneOutFold, PastLog, first_users, whole_days
from recsys_assets.tuning.search import Budget, TrialState, tune

FIRST, DAYS = date(2024, 3, 1), 48
END = datetime(2024, 4, 18, tzinfo=UTC)
PURCHASES = frozenset({InteractionType.PURCHASE})


@pytest.fixture(scope="module")
def shop() -> SyntheticShop:
    return SyntheticShop(
        SyntheticShopConfig(
            seed=11, start=FIRST, days=DAYS, n_users=120, n_products=60, n_categories=5, n_brands=6,
            sessions_per_user_per_day=0.5,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def past(shop: SyntheticShop) -> PastLog:
    events = pa.concat_tables([shop.day_events(FIRST + timedelta(days=day)) for day in range(DAYS)])
    return PastLog(INTERACTIONS.conform(events), shop.products(), END, PURCHASES)


def test_windows_adjoin_and_end_at_the_end(past: PastLog) -> None:
    folds = [task.fold for task in past.fold_tasks(3)]
    assert [fold.number for fold in folds] == [1, 2, 3]
    assert folds[-1].test_end == END
    for earlier, later in pairwise(folds):
        assert earlier.test_end == later.test_start
    assert all(fold.train_end == fold.test_start for fold in folds)
    assert len({fold.test_end - fold.test_start for fold in folds}) == 1


def test_nothing_from_a_window_on_is_learned_from(past: PastLog) -> None:
    for task in past.fold_tasks(3):
        cut = int(task.fold.train_end.timestamp())
        assert task.data.timestamp.max() < cut <= task.data.as_of
        early = past.interactions.filter(pc.less(past.interactions["timestamp"], pa.scalar(task.fold.train_end)))
        known = set(task.data.products.external(np.arange(len(task.data.products))))
        assert known == set(pc.unique(early["product_id"]).to_pylist())
        assert task.task.histories.timestamps.max() < cut


def test_prices_are_those_paid_before(past: PastLog) -> None:
    task = past.fold_tasks(3)[0]
    row = next(row for row in task.data.catalogue.to_pylist() if row["price"] is not None)
    later = pc.and_(
        pc.equal(past.interactions["product_id"], row["product_id"]),
        pc.greater_equal(past.interactions["timestamp"], pa.scalar(task.fold.train_end)),
    )
    column = past.interactions.column_names.index("price")
    dear = pc.if_else(later, 1e6, past.interactions["price"])
    changed = PastLog(past.interactions.set_column(column, "price", dear), past.products, END, PURCHASES)
    assert row in changed.fold_task(task.fold).data.catalogue.to_pylist()


def test_few_shoppers_make_the_window_longer_up_to_a_quarter(past: PastLog) -> None:
    plain = whole_days((END - pc.min(past.interactions["timestamp"]).as_py()) / 12)
    fold = past.fold_tasks(1)[0].fold
    assert plain < fold.test_end - fold.test_start <= timedelta(days=DAYS) / 4
    asked_of_few = PastLog(past.interactions, past.products, END, PURCHASES, most_users=5)
    fold = asked_of_few.fold_tasks(1)[0].fold
    assert fold.test_end - fold.test_start == plain


def test_a_sample_of_shoppers_is_judged_as_in_the_whole(past: PastLog) -> None:
    fold = past.fold_tasks(1)[0]
    recommender = make_trainer("item_knn").fit(fold.data)
    whole = evaluate("item_knn", recommender, fold.task).metrics["ndcg"]
    sample = evaluate("item_knn", recommender, first_users(fold.task, 17)).metrics["ndcg"]
    assert len(whole) > 17
    np.testing.assert_array_equal(sample, whole[:17])
    assert fold.score("item_knn", recommender, 10) == pytest.approx(whole.mean())


def test_too_short_a_log_is_refused(past: PastLog) -> None:
    one_moment = past.interactions.slice(0, 1)
    with pytest.raises(ValueError, match="before it"):
        PastLog(one_moment, past.products, END, PURCHASES).fold_tasks(3)


@pytest.mark.parametrize(
    ("length", "cut"),
    [
        (timedelta(days=3, hours=23), timedelta(days=3)),
        (timedelta(hours=5, milliseconds=7), timedelta(hours=5)),
        (timedelta(microseconds=1), timedelta(seconds=1)),
    ],
)
def test_windows_are_whole_days_or_seconds(length: timedelta, cut: timedelta) -> None:
    assert whole_days(length) == cut


def test_tuning_a_real_model_is_reproducible_and_no_worse_than_its_defaults(past: PastLog) -> None:
    folds = past.fold_tasks(2)
    first, second = (tune("item_knn", folds, Budget(6), seed=1) for _ in range(2))
    assert first == second
    assert first.trials[0].score == pytest.approx(
        np.mean([fold.score("item_knn", make_trainer("item_knn").fit(fold.data), 10) for fold in folds])
    )
    assert first.best.score >= first.trials[0].score
    assert make_trainer("item_knn", first.best.parameters).parameters() == first.best.parameters


def test_leave_one_out_is_a_fold_like_any_other(past: PastLog) -> None:
    task = leave_one_out(past.interactions, past.products, "validation")
    result = tune("popularity", [LeaveOneOutFold(task)], Budget(3), seed=1)
    assert len(result.trials) == 3
    assert 0 < result.best.score <= 1


def test_every_trial_can_be_kept_in_the_registry(past: PastLog, tmp_path: Path) -> None:
    registry = ModelRegistry(SqliteTable(tmp_path / "state.sqlite3", "registry"))
    window = DataWindow(start=datetime(2024, 3, 1, tzinfo=UTC), end=END)
    result = tune("ease", past.fold_tasks(2), Budget(8), on_trial=recorder(registry, "t1", window, "abc"))
    runs = {run.id: run for run in registry.list_runs("ease")}
    assert set(runs) == {f"t1:ease:trial-{number}" for number in range(8)}
    for trial in result.trials:
        run = runs[f"t1:ease:trial-{trial.number}"]
        assert run.parameters == trial.parameters
        assert run.status is RunStatus.FINISHED
        assert run.metrics.get(VALIDATION_NDCG) == (trial.score if trial.state is TrialState.FINISHED else None)
        assert {f"fold_{number}_ndcg" for number in trial.fold_scores} == set(run.metrics) - {VALIDATION_NDCG}
    tune("ease", past.fold_tasks(2), Budget(8), on_trial=recorder(registry, "t1", window, "abc"))
    assert len(registry.list_runs("ease")) == 8
