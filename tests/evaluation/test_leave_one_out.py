"""Leave-one-out beside a plain walk through every shopper's sequence, and on the public data set it is used for."""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from benchmarks.amazon_beauty import COMBINED, beauty_tables
from lambda_api.interactions import InteractionType
from lambda_api.recommender.ids import id_digest
from lambda_api.recommender.popularity import PopularityRecommender
from recsys_assets.measurement import translation
from recsys_assets.measurement.leave_one_out import LeaveOneOut, evaluate_leave_one_out, leave_one_out
from tests.evaluation.helpers import Event, ScriptedRecommender, catalogue, interactions

PURCHASE = frozenset({InteractionType.PURCHASE})
SHOP: list[Event] = [
    ("ann", "a", "purchase", 1),
    ("ann", "b", "view", 2),
    ("ann", "c", "purchase", 3),
    ("ann", "d", "view", 4),
    ("ann", "e", "purchase", 5),
    ("ann", "f", "view", 6),
    ("bob", "b", "purchase", 1),
    ("bob", "a", "purchase", 2),
    ("bob", "b", "purchase", 3),
    ("cat", "f", "purchase", 1),
    ("cat", "e", "purchase", 9),
]
CATALOGUE = catalogue(list("abcdefg"))


def by_hand(events: Sequence[Event], held_out: str, kinds: set[str]) -> dict[str, tuple[list[Event], str | None]]:
    """Shopper -> events before the cut, and the item to be found (``None``: not judged)."""
    result: dict[str, tuple[list[Event], str | None]] = {}
    for user in {event[0] for event in events}:
        own = sorted((event for event in events if event[0] == user), key=lambda e: (e[3], id_digest(e[1])))
        relevant = [place for place, event in enumerate(own) if event[2] in kinds]
        if len(relevant) < 3:
            result[user] = (own, None)
        else:
            cut = relevant[-1 if held_out == "test" else -2]
            result[user] = (own[:cut], own[cut][1])
    return result


def in_words(task: LeaveOneOut) -> dict[str, tuple[list[str], str]]:
    """Judged shopper -> products of the history, in order, and the item to be found."""
    names = task.products.external(np.arange(len(task.products)))
    return {
        user: (
            [names[at] for at in task.histories.products[task.histories.indptr[row] : task.histories.indptr[row + 1]]],
            names[task.target[row]],
        )
        for row, user in enumerate(task.histories.user_ids)
    }


def test_last_and_second_last_item_of_a_shop() -> None:
    test = leave_one_out(interactions(SHOP), CATALOGUE)
    assert in_words(test) == {"ann": (["a", "b", "c", "d"], "e"), "bob": (["b", "a"], "b")}
    validation = leave_one_out(interactions(SHOP), CATALOGUE, "validation")
    assert in_words(validation) == {"ann": (["a", "b"], "c"), "bob": (["b"], "a")}
    assert len(test.training.user) == 2 + 1 + 2, "whoever is not judged is learned from whole"
    assert len(validation.training.user) == 2 + 1 + 2
    learned = leave_one_out(interactions(SHOP), CATALOGUE, learn_validation=True)
    assert len(learned.training.user) == 4 + 2 + 2
    assert in_words(learned) == in_words(test)
    assert len(test.products) == 7, "a product nobody touched is ranked too"
    assert (test.unreachable, validation.unreachable) == (1, 0), "bob comes back to b"
    assert leave_one_out(interactions(SHOP), CATALOGUE, mask_history=False).unreachable == 0
    assert test.ambiguous == 0


def test_only_relevant_events_of_the_history_are_masked() -> None:
    test = leave_one_out(interactions(SHOP), CATALOGUE)
    row = test.histories.user_ids.index("ann")
    assert sorted(test.products.external(test.exclude.row(row))) == ["a", "c"], "what was only viewed may be bought"
    scores = {"ann": {"c": 9.0, "b": 5.0, "e": 4.0}, "bob": {"b": 9.0, "a": 8.0, "f": 1.0}}
    model = ScriptedRecommender(list("abcdef"), scores)
    masked = evaluate_leave_one_out("scripted", model, test, k=2)
    unmasked = evaluate_leave_one_out(
        "scripted", model, leave_one_out(interactions(SHOP), CATALOGUE, mask_history=False), k=2
    )
    names = [*test.products.external(np.arange(7)), None]
    by_user = dict(zip(test.histories.user_ids, masked.recommended, strict=True))
    assert [names[at] for at in by_user["ann"]] == ["b", "e"]
    assert names[by_user["bob"][0]] == "f"
    by_user = dict(zip(test.histories.user_ids, unmasked.recommended, strict=True))
    assert [names[at] for at in by_user["ann"]] == ["c", "b"]
    assert [names[at] for at in by_user["bob"]] == ["b", "a"]
    # Masked: ann finds e at rank 2 and bob nothing. Unmasked: ann nothing among two, bob b at rank 1.
    assert masked.table((1, 2)) == {
        "HR@1": 0.0,
        "NDCG@1": 0.0,
        "HR@2": Fraction(1, 2),
        "NDCG@2": pytest.approx(1 / math.log2(3) / 2),
    }
    assert unmasked.table((2,)) == {"HR@2": Fraction(1, 2), "NDCG@2": Fraction(1, 2)}
    with pytest.raises(ValueError, match="lists of 2 places cannot be evaluated at k=5"):
        masked.table((5,))


def test_a_recommender_with_its_own_products_is_asked_in_its_own_words() -> None:
    test = leave_one_out(interactions(SHOP), CATALOGUE)
    model = ScriptedRecommender(["e", "a", "zzz"], {"ann": {"e": 1.0, "zzz": 2.0}})
    result = evaluate_leave_one_out("stranger", model, test, k=3)
    assert [name for name, _, _ in model.shown["ann"]] == ["a"]
    assert result.table((1,))["HR@1"] == Fraction(1, 2), "what the log does not know cannot be listed"


logs = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w"]),
        st.sampled_from(list("abcde")),
        st.sampled_from(["purchase", "view"]),
        st.integers(0, 8),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(events=logs, held_out=st.sampled_from(["test", "validation"]), learn=st.booleans(), seed=st.integers(0, 99))
def test_equals_a_walk_through_every_sequence(events: list[Event], held_out: Any, learn: bool, seed: int) -> None:
    events = list({(user, product, day): (user, product, kind, day) for user, product, kind, day in events}.values())
    expected = by_hand(events, held_out, {"purchase"})
    judged = {user: part for user, part in expected.items() if part[1] is not None}
    order = np.random.default_rng(seed).permutation(len(events))
    table = interactions([events[place] for place in order])
    if not judged:
        with pytest.raises(ValueError, match=r"none of \d shoppers has the 3 events \(purchase\)"):
            leave_one_out(table, CATALOGUE, held_out, relevant=PURCHASE)
        return
    task = leave_one_out(table, CATALOGUE, held_out, learn_validation=learn, relevant=PURCHASE)
    assert in_words(task) == {user: ([event[1] for event in early], item) for user, (early, item) in judged.items()}
    learned = zip(
        task.training.users.external(task.training.user), task.products.external(task.training.product), strict=True
    )
    taught = expected if learn else by_hand(events, "validation", {"purchase"})
    assert sorted(learned) == sorted((event[0], event[1]) for early, _ in taught.values() for event in early)
    ties = 0
    for user, (early, _) in judged.items():
        own = sorted((event for event in events if event[0] == user), key=lambda e: (e[3], id_digest(e[1])))
        ties += sum(event[3] == own[len(early)][3] for event in own) > 1
    assert task.ambiguous == ties


def test_figures_equal_a_loop_over_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    events: list[Event] = [
        (f"u{user}", f"p{product}", "purchase", float(day))
        for user in range(60)
        for day, product in enumerate(rng.choice(30, size=rng.integers(3, 9), replace=False))
    ]
    task = leave_one_out(interactions(events), catalogue([f"p{product}" for product in range(30)]))
    popularity = rng.permutation(30).astype(np.float32)
    model = PopularityRecommender(task.products, popularity)
    monkeypatch.setattr(translation, "USERS_PER_BATCH", 7)
    done: list[tuple[int, int]] = []
    result = evaluate_leave_one_out("popular", model, task, 10, progress=lambda users, of: done.append((users, of)))
    hits, gains = [], []
    for row, target in enumerate(task.target):
        seen = set(task.exclude.row(row).tolist())
        ranking = [product for product in np.argsort(-popularity) if product not in seen]
        rank = ranking.index(target) + 1
        hits.append(float(rank <= 10))
        gains.append(1 / math.log2(rank + 1) if rank <= 10 else 0.0)
    assert result.per_shopper(10)["HR@10"].tolist() == hits
    assert result.per_shopper(10)["NDCG@10"] == pytest.approx(gains)
    assert done[-1] == (60, 60) and len(done) == 9


def test_the_held_out_item_and_what_follows_are_not_learned_from() -> None:
    other = [event if event[:2] != ("ann", "e") else ("ann", "g", "purchase", 7) for event in SHOP]
    other = [event for event in other if event[:2] != ("ann", "f")]
    first, second = (leave_one_out(interactions(events), CATALOGUE) for events in (SHOP, other))
    assert in_words(second)["ann"] == (["a", "b", "c", "d"], "g")
    for name in ("user", "product", "kind", "timestamp"):
        assert (getattr(first.training, name) == getattr(second.training, name)).all(), name


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="held_out must be 'validation' or 'test', not 'train'"):
        leave_one_out(interactions(SHOP), CATALOGUE, "train")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no interactions"):
        leave_one_out(interactions([]), CATALOGUE)


@pytest.fixture(scope="module")
def beauty(shared_data: Path) -> tuple[pa.Table, pa.Table]:
    return beauty_tables(shared_data / "amazon_beauty")


def test_amazon_beauty_is_the_published_cut(beauty: tuple[pa.Table, pa.Table]) -> None:
    test = leave_one_out(*beauty)
    assert (len(test), len(test.products), test.ambiguous, test.unreachable) == (22_363, 12_101, 0, 0)
    assert len(test.histories.products) == 198_502 - 22_363
    assert len(test.training.user) == len(leave_one_out(*beauty, "validation").training.user) == 198_502 - 2 * 22_363
    assert len(leave_one_out(*beauty, learn_validation=True).training.user) == 198_502 - 22_363


@pytest.mark.slow
def test_amazon_beauty_reaches_the_measured_figures(beauty: tuple[pa.Table, pa.Table]) -> None:
    test = leave_one_out(*beauty)
    with threadpool_limits(limits=2, user_api="blas"):
        model = COMBINED.fit(test.training)
    reached = evaluate_leave_one_out("temporal linear + EASE + attributes", model, test).table((10,))["NDCG@10"]
    assert reached >= 0.0615, "what a plain script of the same recipe reached"
    assert reached == pytest.approx(0.0624, abs=1e-4)
