"""The protocol: who is evaluated, what is relevant, what may be listed, and that nobody sees the future."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import InteractionType
from recsys_assets.measurement import translation
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task, evaluate
from recsys_assets.schema import relevant_types
from tests.evaluation.helpers import DAY, END, START, Event, ScriptedRecommender, catalogue, interactions

WINDOW = EvaluationWindow(START, END)

SHOP: list[Event] = [
    ("ann", "mug", "purchase", -20),
    ("ann", "lamp", "view", -10),
    ("ann", "mug", "purchase", 1),  # a repeat
    ("ann", "lamp", "purchase", 2),
    ("ann", "lamp", "purchase", 3),  # the same product twice counts once
    ("ann", "tray", "purchase", 6.999),
    ("ann", "bowl", "purchase", 7),  # the window's end is outside
    ("bob", "tray", "purchase", -5),
    ("bob", "bowl", "view", 1),  # a view is not relevant
    ("cat", "mug", "purchase", 1),  # no history
    ("dan", "mug", "view", -1),
    ("dan", "new", "purchase", 0),  # the window's start is inside; nobody had seen this product
    ("eve", "bowl", "purchase", -3),
    ("eve", "bowl", "purchase", 4),  # nothing but a repeat
]
PRODUCTS = catalogue(["mug", "lamp", "tray", "bowl", "new", "dusty"])


def named(task: EvaluationTask, kind: str) -> dict[str, set[str]]:
    rows = getattr(task, kind)
    return {user: set(task.products.external(rows.row(row))) for row, user in enumerate(task.user_ids)}


def test_who_and_what_is_evaluated() -> None:
    task = build_task(interactions(SHOP), PRODUCTS, WINDOW)
    assert named(task, "truth") == {"ann": {"lamp", "tray"}, "dan": {"new"}}
    assert named(task, "exclude") == {"ann": {"mug"}, "dan": set()}
    assert task.window.relevant_types == frozenset({InteractionType.PURCHASE})
    candidates = set(task.products.external(np.flatnonzero(task.statistics.candidates)))
    assert candidates == {"mug", "lamp", "tray", "bowl"}
    assert len(task.products) == 6


def test_repeats_allowed() -> None:
    task = build_task(interactions(SHOP), PRODUCTS, replace(WINDOW, allow_repeats=True))
    assert named(task, "truth") == {"ann": {"mug", "lamp", "tray"}, "dan": {"new"}, "eve": {"bowl"}}
    assert not task.exclude.values.size


def test_whole_catalogue_as_candidates() -> None:
    task = build_task(interactions(SHOP), PRODUCTS, replace(WINDOW, candidates="catalogue"))
    assert task.statistics.candidates.all()


def test_statistics_count_the_past_only() -> None:
    task = build_task(interactions(SHOP), PRODUCTS, WINDOW)
    index = dict(zip(task.products.external(np.arange(6)), range(6), strict=True))
    assert task.statistics.n_users == 4  # ann, bob, dan, eve
    assert [int(task.statistics.users[index[name]]) for name in ("mug", "lamp", "new")] == [2, 1, 0]
    assert [int(task.statistics.events[index[name]]) for name in ("mug", "tray", "dusty")] == [2, 1, 0]


@given(st.permutations(range(len(SHOP))))
@settings(max_examples=25, deadline=None)
def test_row_order_of_the_log_does_not_matter(order: list[int]) -> None:
    log = interactions(SHOP)
    first, shuffled = build_task(log, PRODUCTS, WINDOW), build_task(log.take(order), PRODUCTS, WINDOW)
    assert first.user_ids == shuffled.user_ids
    for kind in ("truth", "exclude"):
        np.testing.assert_array_equal(getattr(first, kind).values, getattr(shuffled, kind).values)
    np.testing.assert_array_equal(first.histories.products, shuffled.histories.products)
    np.testing.assert_array_equal(first.histories.timestamps, shuffled.histories.timestamps)


def test_recommenders_see_the_past_and_nothing_else() -> None:
    task = build_task(interactions(SHOP), PRODUCTS, WINDOW)
    spy = ScriptedRecommender(["mug", "lamp", "tray", "bowl", "new", "dusty"], {})
    evaluate("spy", spy, task, k=3)
    start = int(START.timestamp())
    assert spy.now == start
    assert spy.shown == {
        "ann": [("mug", InteractionType.PURCHASE, start - 20 * DAY), ("lamp", InteractionType.VIEW, start - 10 * DAY)],
        "dan": [("mug", InteractionType.VIEW, start - DAY)],
    }


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob", "zoe"]), st.sampled_from(["mug", "ufo"]), st.floats(7, 90))))
@settings(max_examples=30, deadline=None)
def test_events_after_the_window_change_nothing(later: list[tuple[str, str, float]]) -> None:
    future: list[Event] = [(user, product, "purchase", day) for user, product, day in later]
    before = build_task(interactions(SHOP), PRODUCTS, WINDOW)
    after = build_task(interactions(SHOP + future), PRODUCTS, WINDOW)
    assert named(before, "truth") == named(after, "truth")
    assert before.products.external(np.arange(6)) == after.products.external(np.arange(6))
    np.testing.assert_array_equal(before.statistics.events, after.statistics.events)


def test_lists_come_back_in_the_task_s_indices_and_score_as_they_should() -> None:
    task = build_task(interactions(SHOP), PRODUCTS, WINDOW)
    scores = {"ann": {"mug": 9, "tray": 8, "bowl": 7, "lamp": 6}, "dan": {"new": 9, "bowl": 3, "lamp": 2}}
    result = evaluate("scripted", ScriptedRecommender(["mug", "lamp", "tray", "bowl", "new"], scores), task, k=2)
    by_user = {user: task.products.external(result.recommended[row]) for row, user in enumerate(task.user_ids)}
    # mug is ann's own; new had never been seen, so it is no candidate although dan then wants it.
    assert by_user == {"ann": ["tray", "bowl"], "dan": ["bowl", "lamp"]}
    row = task.user_ids.index("ann")
    assert result.metrics["ndcg"][row] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert result.metrics["recall"][row] == 1 / 2
    assert result.metrics["recall"][1 - row] == 0


def test_a_champion_with_other_products_is_judged_on_the_same_users() -> None:
    task = build_task(interactions(SHOP), PRODUCTS, WINDOW)
    scores = {"ann": {"retired": 9, "bowl": 2, "lamp": 5}, "dan": {"retired": 9, "bowl": 1}}
    old = ScriptedRecommender(["retired", "bowl", "lamp", "another"], scores)
    result = evaluate("champion", old, task, k=4)
    lists = {user: result.recommended[row] for row, user in enumerate(task.user_ids)}
    names = {user: task.products.external(row[row >= 0]) for user, row in lists.items()}
    # It can only list what it knows and the shop still has; the other places stay empty.
    assert names == {"ann": ["lamp", "bowl"], "dan": ["bowl", "lamp"]}
    # ann's mug and dan's are unknown to it: hidden from the history, and no reason to fail.
    assert old.shown == {"ann": [("lamp", 0, int(START.timestamp()) - 10 * DAY)], "dan": []}
    assert result.metrics["recall"][task.user_ids.index("ann")] == 1 / 2


def test_batches_change_nothing_and_report_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    users, products = [f"u{i}" for i in range(23)], [f"p{i}" for i in range(9)]
    events: list[Event] = [
        (str(rng.choice(users)), str(rng.choice(products)), "purchase", float(rng.uniform(-9, 6))) for _ in range(400)
    ]
    task = build_task(interactions(events), catalogue(products), WINDOW)
    scores = {user: {product: float(rng.random()) for product in products} for user in users}
    recommender = ScriptedRecommender(products, scores)
    whole = evaluate("m", recommender, task, k=5)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(translation, "USERS_PER_BATCH", 4)
    parts = evaluate("m", recommender, task, k=5, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(whole.recommended, parts.recommended)
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(values, parts.metrics[name])
    assert seen[-1] == (len(task), len(task))
    assert len(seen) == -(-len(task) // 4)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (["view", "add_to_cart", "purchase", "rating"], InteractionType.PURCHASE),
        (["view", "rating"], InteractionType.RATING),
        (["view", "add_to_cart"], InteractionType.ADD_TO_CART),
        (["view"], InteractionType.VIEW),
    ],
)
def test_what_counts_as_relevant_follows_the_log(held: list[str], expected: InteractionType) -> None:
    log = interactions([("ann", "mug", kind, -1) for kind in held])
    assert relevant_types(log) == frozenset({expected})


def test_an_empty_log_has_nothing_relevant() -> None:
    with pytest.raises(ValueError, match="no interactions"):
        relevant_types(interactions([("ann", "mug", "view", -1)]).slice(0, 0))


def test_ratings_count_from_four_up_and_a_low_one_still_uses_the_product_up() -> None:
    log = interactions(
        [
            ("ann", "mug", "rating", -3),
            ("ann", "mug", "rating", 1),
            ("ann", "lamp", "rating", 1),
            ("ann", "tray", "rating", 2),
        ],
        ratings={0: 2.0, 1: 5.0, 2: 4.0, 3: 3.5},
    )
    task = build_task(log, PRODUCTS, WINDOW)
    assert named(task, "truth") == {"ann": {"lamp"}}
    assert named(task, "exclude") == {"ann": {"mug"}}


def test_a_log_of_views_alone() -> None:
    log = interactions([("ann", "mug", "view", -1), ("ann", "mug", "view", 1), ("ann", "lamp", "view", 1)])
    assert named(build_task(log, PRODUCTS, WINDOW), "truth") == {"ann": {"lamp"}}


def test_nobody_to_evaluate_is_an_error_with_the_numbers() -> None:
    log = interactions([("ann", "mug", "purchase", -1), ("bob", "mug", "purchase", 1)])
    with pytest.raises(ValueError, match=r"relevant \(purchase\).*1 events in the window, 1 before it"):
        build_task(log, PRODUCTS, WINDOW)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (datetime(2024, 1, 1), END, "aware and in UTC"),  # noqa: DTZ001
        (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))), END, "aware and in UTC"),
        (END, END, "not after its start"),
    ],
)
def test_windows_are_aware_and_forward(start: datetime, end: datetime, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationWindow(start, end)


def test_other_utc_zones_are_welcome() -> None:
    assert EvaluationWindow(START.astimezone(timezone.utc), END.astimezone(UTC)).start == START  # noqa: UP017


def test_products_only_the_log_names_are_added() -> None:
    task = build_task(interactions(SHOP), PRODUCTS.slice(0, 1), WINDOW)
    assert named(task, "truth")["ann"] == {"lamp", "tray"}


def test_tables_in_many_chunks() -> None:
    log = interactions(SHOP)
    chunked = pa.concat_tables([log.slice(i, 1) for i in range(len(SHOP))])
    assert named(build_task(chunked, PRODUCTS, WINDOW), "truth") == {"ann": {"lamp", "tray"}, "dan": {"new"}}
