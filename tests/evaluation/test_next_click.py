"""Next-click positions beside a plain walk through every session, and figures counted by hand."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.measurement.next_click import (
    NEWEST_EVENTS,
    SESSION_GAP_SECONDS,
    NextClick,
    evaluate_next_click,
    last_positions,
    next_click,
)
from tests.evaluation.helpers import DAY, START, Event, ScriptedRecommender, catalogue, interactions

MINUTE = 1 / 1440
SHOP: list[Event] = [
    ("old", "a", "view", -2.0),
    ("old", "b", "view", -2.0 + MINUTE),
    ("old", "c", "view", -2.0 + 2 * MINUTE),
    ("ann", "a", "view", -1.0),
    ("ann", "b", "view", 0.5),
    ("ann", "a", "view", 0.5 + MINUTE),
    ("ann", "a", "view", 0.5 + 2 * MINUTE),
    ("ann", "new", "view", 0.5 + 3 * MINUTE),
    ("ann", "c", "view", 0.5 + 4 * MINUTE),
    ("ann", "b", "view", 0.7),
]
Position = tuple[str, tuple[str, ...], str]


def in_words(task: NextClick) -> list[Position]:
    """User, products of the history and the answer of every position."""
    names = task.training.products.external(np.arange(len(task.training.products)))
    found = []
    for row, user in enumerate(task.histories.user_ids):
        own = slice(int(task.histories.indptr[row]), int(task.histories.indptr[row + 1]))
        history = tuple(names[product] for product in task.histories.products[own])
        found.append((user, history, names[task.target[row]]))
    return found


def by_hand(events: Sequence[Event], *, repeats: bool) -> list[Position]:
    """The same, event by event."""
    known = {event[1] for event in events if event[3] < 0}
    by_user: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event[3]):
        by_user[event[0]].append(event)
    found = []
    for user, own in by_user.items():
        for place in range(1, len(own)):
            last, answer = own[place - 1], own[place]
            session = [last]
            for earlier in reversed(own[: place - 1]):
                if (session[-1][3] - earlier[3]) * DAY > SESSION_GAP_SECONDS:
                    break
                session.append(earlier)
            together = (answer[3] - last[3]) * DAY <= SESSION_GAP_SECONDS
            again = answer[1] in {event[1] for event in session}
            if last[3] >= 0 and together and answer[1] in known and (repeats or not again):
                history = tuple(event[1] for event in own[:place] if event[1] in known)[-NEWEST_EVENTS:]
                found.append((user, history, answer[1]))
    return found


def test_positions_of_a_shop() -> None:
    task = next_click(interactions(SHOP), catalogue(["a", "b", "c"]), START, allow_repeats=True)
    assert in_words(task) == [
        ("ann", ("a", "b"), "a"),
        ("ann", ("a", "b", "a"), "a"),
        ("ann", ("a", "b", "a", "a"), "c"),
    ]
    assert (task.sessions, task.unknown, task.repeats, len(task.exclude.values)) == (1, 1, 0, 0)
    assert len(task.training.user) == 4, "nothing of the test is learned from"
    fresh = next_click(interactions(SHOP), catalogue(["a", "b", "c"]), START)
    assert in_words(fresh) == [("ann", ("a", "b"), "a"), ("ann", ("a", "b", "a", "a"), "c")]
    names = fresh.training.products.external(fresh.exclude.values)
    assert (names[: fresh.exclude.indptr[1]], sorted(names[fresh.exclude.indptr[1] :])) == (["b"], ["a", "b"])
    histories, exclude = last_positions(fresh)
    assert histories.user_ids == ("ann",) and histories.lengths.tolist() == [4]
    assert exclude.values.tolist() == fresh.exclude.row(1).tolist()


def test_every_history_ends_at_the_moment_of_asking() -> None:
    task = next_click(interactions(SHOP), catalogue(["a", "b", "c"]), START, allow_repeats=True)
    newest = task.histories.timestamps[task.histories.indptr[1:] - 1]
    assert newest.tolist()[:2] == [task.histories.now] * 2
    assert newest[2] == task.histories.now - 60, "the click on a product nobody knew is not part of the history"
    first = slice(0, int(task.histories.indptr[1]))
    assert np.diff(task.histories.timestamps[first]).tolist() == [1.5 * DAY]


moments = st.integers(-40, 40).map(lambda steps: steps * 0.9 * SESSION_GAP_SECONDS / DAY / 2)
logs = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", "cat"]), st.sampled_from("abcd"), st.just("view"), moments),
    max_size=40,
    unique_by=lambda event: (event[0], event[3]),
)


@settings(max_examples=60, deadline=None)
@given(events=logs, repeats=st.booleans())
def test_positions_of_any_log(events: list[Event], repeats: bool) -> None:
    expected = by_hand(events, repeats=repeats)
    if not expected:
        with pytest.raises(ValueError, match="no session"):
            next_click(interactions(events), catalogue(list("abcd")), START, allow_repeats=repeats)
        return
    task = next_click(interactions(events), catalogue(list("abcd")), START, allow_repeats=repeats)
    assert sorted(in_words(task)) == sorted(expected)
    few = next_click(interactions(events), catalogue(list("abcd")), START, allow_repeats=repeats, most=2)
    assert set(in_words(few)) <= set(expected) and len(few) == min(2, len(expected))


def test_figures_by_hand() -> None:
    task = next_click(interactions(SHOP), catalogue(["a", "b", "c"]), START, allow_repeats=True)
    model = ScriptedRecommender(["a", "b", "c"], {"ann": {"a": 3.0, "b": 2.0, "c": 1.0}})
    found = evaluate_next_click(model, task, k=3)
    assert found["hit_rate"].tolist() == [1, 1, 1]
    assert found["mrr"].tolist() == [1, 1, 1 / 3]
    assert found["ndcg"].tolist() == [1, 1, pytest.approx(1 / 2)]
    assert evaluate_next_click(model, task, k=2)["hit_rate"].tolist() == [1, 1, 0]
