"""Popular lists: counts by hand and by brute force, the same figure as the popularity model, who may be listed."""

from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys_assets.data_gate import GateClosed, mark_waiting
from recsys_assets.lake import Lake
from recsys_assets.models.popularity import Popularity
from recsys_assets.publishing.popular import LIST_LENGTH, POPULAR_DAYS, popular_lists, recent_data, recent_popularity
from tests.publishing.shops import END, ago, listed, write_log, write_products


def test_a_purchase_counts_half_after_each_week(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_products(lake, [*listed("a", "b", category="Mugs"), *listed("c", category="Tea")])
    write_log(
        lake,
        [
            ("u1", "a", "purchase", ago(7, seconds=0)),
            ("u2", "a", "purchase", ago(14, seconds=0)),
            ("u1", "b", "purchase", ago(7, seconds=0)),
            ("u1", "c", "purchase", ago(21, seconds=0)),
            ("u1", "c", "view", ago(0)),
            ("u3", "b", "view", ago(0)),
        ],
    )
    lists = popular_lists(recent_data(lake, END))
    assert [(entry.product_id, entry.score) for entry in lists.overall] == [
        ("a", 1 / 2 + 1 / 4),
        ("b", 1 / 2),
        ("c", 1 / 8),
    ]
    assert {name: [e.product_id for e in entries] for name, entries in lists.by_category.items()} == {
        "Mugs": ["a", "b"],
        "Tea": ["c"],
    }
    assert lists.counted == ("purchase",)
    first = lists.overall[0]
    assert (first.name, first.category, first.brand, first.price, first.available) == ("Name a", "Mugs", "B", 2.5, True)


def test_where_nobody_buys_everything_counts_as_models_weigh_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_products(lake, listed("a", "b", "c"))
    week = ago(7, seconds=0)
    write_log(lake, [("u", "a", "view", week), ("u", "b", "rating", week), ("u", "c", "add_to_cart", week)])
    lists = popular_lists(recent_data(lake, END))
    assert [(entry.product_id, entry.score) for entry in lists.overall] == [("b", 4 / 2), ("c", 2 / 2), ("a", 1 / 2)]
    assert lists.counted == ("view", "add_to_cart", "purchase", "rating")


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abcdefg"),
        st.sampled_from(["view", "purchase"]),
        st.integers(min_value=1, max_value=(POPULAR_DAYS + 5) * 24),
    ),
    min_size=1,
    max_size=40,
)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, unavailable=st.sets(st.sampled_from("abcdefg")), delisted=st.sets(st.sampled_from("abcdefg")))
def test_lists_are_the_counts_of_a_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[str, str, int]],
    unavailable: set[str],
    delisted: set[str],
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    names = sorted(set("abcdefg") - delisted)
    write_products(
        lake,
        [
            row
            for n in names
            for row in listed(n, category="Even" if ord(n) % 2 else "Odd", available=n not in unavailable)
        ],
    )
    write_log(lake, [("u", product, kind, END - timedelta(hours=hours)) for product, kind, hours in events])
    counted = [(product, kind, hours) for product, kind, hours in events if hours <= POPULAR_DAYS * 24]
    if not counted:
        return
    bought = any(kind == "purchase" for _, kind, _ in counted)
    expected: dict[str, float] = defaultdict(float)
    for product, kind, hours in counted:
        if not bought or kind == "purchase":
            expected[product] += 0.5 ** (hours / 24 / 7)
    shown = {name: score for name, score in expected.items() if name in names and name not in unavailable}
    lists = popular_lists(recent_data(lake, END))
    assert {entry.product_id: pytest.approx(entry.score, rel=1e-6) for entry in lists.overall} == shown
    for entries in (lists.overall, *lists.by_category.values()):
        scores = [entry.score for entry in entries]
        assert scores == sorted(scores, reverse=True)
    assert {c: {e.product_id for e in entries} for c, entries in lists.by_category.items()} == {
        category: members
        for category, parity in (("Even", 1), ("Odd", 0))
        if (members := {name for name in shown if ord(name) % 2 == parity})
    }


def test_the_figure_is_that_of_the_popularity_model(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_products(lake, listed("a", "b"))
    write_log(lake, [("u", p, "purchase", ago(d)) for p, d in (("a", 1), ("a", 9), ("b", 3))])
    data = recent_data(lake, END)
    model = Popularity(type_weights={"purchase": 1.0}).fit(data)
    assert np.array_equal(recent_popularity(data), model.popularity)


def test_lists_end_where_no_answer_reaches(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    ids = [f"p{number}" for number in range(LIST_LENGTH + 30)]
    write_products(lake, listed(*ids))
    write_log(lake, [("u", product, "purchase", ago(1)) for product in ids])
    lists = popular_lists(recent_data(lake, END))
    assert len(lists.overall) == len(lists.by_category["Mugs"]) == LIST_LENGTH


def test_a_day_that_may_not_be_used_stops_them_only_where_it_is_read(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_products(lake, listed("a"))
    write_log(lake, [("u", "a", "purchase", ago(1)), ("u", "a", "purchase", ago(40))])
    mark_waiting(lake, ago(40).date())
    assert popular_lists(recent_data(lake, END)).overall
    mark_waiting(lake, ago(1).date())
    with pytest.raises(GateClosed):
        recent_data(lake, END)
