"""Session neighbours against the definition, written as plain loops."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.session_neighbours import SessionNeighboursRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import NothingToLearn
from recsys_assets.models.session_knn import SessionKnn
from recsys_assets.schema import INTERACTIONS, PRODUCTS
from tests.models.test_trainers import AS_OF

NOW = int(AS_OF.timestamp())
HOUR = 3600
KINDS = ("view", "purchase")
WEIGHTS = {"view": 0.5, "purchase": 1.0}

clicks = st.lists(
    # (user, product, kind, minutes before NOW)
    st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 1), st.integers(1, 900)),
    min_size=2,
    max_size=40,
)
parameters = st.fixed_dictionaries(
    {
        "neighbours": st.integers(1, 6),
        "sample": st.integers(1, 6),
        "gap_hours": st.sampled_from([0.5, 1.0, 5.0]),
        "step_decay": st.sampled_from([0.5, 1.0]),
        "match_decay": st.sampled_from([0.3, 1.0]),
        "reach": st.sampled_from([0.5, 3.0]),
        "length_power": st.sampled_from([0.0, 0.5]),
        "session_products": st.integers(2, 5),
        "event_half_life_days": st.sampled_from([None, 0.1]),
    }
)

Click = tuple[int, int, int, int]


def log(rows: list[Click]) -> TrainingData:
    table = pa.table(
        {
            "interaction_id": [str(row) for row in range(len(rows))],
            "user_id": [f"u{row[0]}" for row in rows],
            "product_id": [f"p{row[1]}" for row in rows],
            "interaction_type": [KINDS[row[2]] for row in rows],
            "timestamp": pa.array([NOW - 60 * row[3] for row in rows], pa.timestamp("s", tz="UTC")),
        }
    )
    products = pa.table({"product_id": [f"p{number}" for number in range(8)]})
    return TrainingData.from_tables(INTERACTIONS.conform(table), PRODUCTS.conform(products), AS_OF)


def sessions_of(events: list[tuple[int, int, int]], gap_hours: float) -> list[list[tuple[int, int, int]]]:
    """Events (seconds, product, kind) of one shopper, cut where they pause."""
    cut: list[list[tuple[int, int, int]]] = []
    for event in sorted(events):
        if not cut or event[0] - cut[-1][-1][0] > gap_hours * HOUR:
            cut.append([])
        cut[-1].append(event)
    return cut


def by_last_event(session: list[tuple[int, int, int]]) -> list[int]:
    """Distinct products, oldest first by their last event."""
    return list(dict.fromkeys(product for _, product, _ in reversed(session)))[::-1]


def expected_scores(data: TrainingData, running: list[tuple[int, int, int]], p: dict[str, Any]) -> np.ndarray:
    """The definition in `SessionNeighboursRecommender` and `SessionKnn`."""
    past: list[tuple[int, int, list[int]]] = []
    for user in range(len(data.users)):
        own = np.flatnonzero(data.user == user)
        rows = [(int(data.timestamp[e]), int(data.product[e]), int(data.kind[e])) for e in own]
        for number, session in enumerate(sessions_of(rows, p["gap_hours"])):
            products = by_last_event(session)[-p["session_products"] :]
            if len(products) > 1:
                past.append((session[-1][0], user * 1000 + number, products))
    past.sort()
    query = by_last_event(sessions_of(running, p["gap_hours"])[-1])
    strength = {
        product: max(
            WEIGHTS[KINDS[min(kind, 1)]]
            for _, other, kind in sessions_of(running, p["gap_hours"])[-1]
            if other == product
        )
        for product in query
    }
    weight = {product: strength[product] * p["step_decay"] ** step for step, product in enumerate(reversed(query))}
    sharing = [number for number, (_, _, products) in enumerate(past) if set(products) & set(query)]
    similar = []
    for number in sharing[-p["sample"] :]:
        end, _, products = past[number]
        half_life = p["event_half_life_days"]
        recent = 1.0 if half_life is None else 0.5 ** ((NOW - end) / 86_400 / half_life)
        similarity = sum(weight[product] for product in products if product in weight)
        similar.append((similarity * recent / len(products) ** p["length_power"], number))
    scores = np.zeros(len(data.products))
    for similarity, number in sorted(similar, reverse=True)[: p["neighbours"]]:
        products = past[number][2]
        step, anchor = next((step, one) for step, one in enumerate(reversed(query)) if one in products)
        for place, product in enumerate(products):
            near = math.exp(-abs(place - products.index(anchor)) / p["reach"])
            scores[product] += similarity * p["match_decay"] ** step * near
    return scores


def history(data: TrainingData, running: list[tuple[int, int, int]]) -> Histories:
    names = data.products.external(np.arange(len(data.products)))
    events = [Event(names[product], InteractionType(kind), seconds) for seconds, product, kind in running]
    return Histories.from_events([events], NOW, data.products)


@settings(max_examples=200, deadline=None)
@given(
    clicks,
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 7), st.sampled_from([0, 2])), min_size=1, max_size=6),
    parameters,
)
def test_scores_equal_the_definition(rows: list[Click], asked: list[tuple[int, int, int]], p: dict[str, Any]) -> None:
    # One event per second of a shopper, and sessions that end at different seconds: no ties by time.
    rows = list({(row[0], row[3]): row for row in rows}.values())
    rows = list({row[3]: row for row in rows}.values())
    asked = list({minute: (NOW - 60 * minute, product, kind) for minute, product, kind in asked}.values())
    data = log(rows)
    trainer = SessionKnn(**p, type_weights=WEIGHTS)
    try:
        model = trainer.fit(data)
    except NothingToLearn as error:
        assert "no session of" in str(error)
        return
    batch = history(data, asked)
    expected = expected_scores(data, asked, p)
    found = model.score_all(batch)[0]
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)
    everything = np.arange(len(data.products), dtype=np.int32)
    _, parts = model.contributions(batch, everything)
    assert parts.sum(axis=1) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_a_session_goes_on_until_the_shopper_pauses() -> None:
    """Two past sessions; only products of the newest session of the asking shopper count."""
    data = log([(0, 0, 0, 900), (0, 1, 0, 890), (1, 2, 0, 800), (1, 3, 0, 790)])
    model = SessionKnn().fit(data)
    one, two, three, four = data.products.indices(["p0", "p1", "p2", "p3"]).tolist()
    running = history(data, [(NOW - 30_000, one, 0), (NOW - 60, three, 0)])
    assert set(np.flatnonzero(model.score_all(running)[0])) == {three, four}
    together = history(data, [(NOW - 120, one, 0), (NOW - 60, three, 0)])
    assert set(np.flatnonzero(model.score_all(together)[0])) == {one, two, three, four}
    listed = model.similar_items(np.array([one], dtype=np.int32), 3)
    assert listed.products[0].tolist() == [two, -1, -1]
    alike = model.likeness(np.array([one, two, three], dtype=np.int32))
    assert alike == pytest.approx(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]))


def test_only_sessions_that_can_be_neighbours_are_stored() -> None:
    """Of each product the newest ``sample`` sessions, and no session of one product."""
    rows = [(user, product, 0, 900 - 10 * user - product) for user in range(6) for product in (0, 1)]
    model = SessionKnn(sample=2).fit(log([*rows, (9, 5, 0, 5)]))
    assert isinstance(model, SessionNeighboursRecommender)
    assert np.diff(model.sessions.of_product).tolist() == [
        2 if name in ("p0", "p1") else 0 for name in model.products.external(np.arange(8))
    ]
    assert len(model.sessions.weight) == 2


def test_sessions_of_one_product_are_nothing_to_learn_from() -> None:
    with pytest.raises(NothingToLearn, match="no session of 2 interactions has two products"):
        SessionKnn().fit(log([(0, 0, 0, 10), (1, 1, 0, 10)]))
