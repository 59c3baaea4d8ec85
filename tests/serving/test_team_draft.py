"""Team draft against lists merged by hand, and the properties that make it fair."""

import hashlib
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.serving.question import RankedItem, Ranking, Reason
from lambda_api.serving.scorers import Scored
from lambda_api.serving.team_draft import draft

OLD, NEW = "v1.0.0", "v1.1.0"


def scored(version: str, products: str | list[str]) -> Scored:
    items = tuple(RankedItem(name, 1.0, Reason("for_you", "For you")) for name in products)
    return Scored(Ranking(items, "ranked", version == NEW), version)


def with_coins(*wanted: int) -> str:
    """A request id whose first bits are ``wanted``."""
    for number in range(10_000):
        first = hashlib.sha256(f"r-{number}".encode()).digest()[0]
        if all(first >> place & 1 == bit for place, bit in enumerate(wanted)):
            return f"r-{number}"
    raise AssertionError("no such id")


def shown(champion: str, challenger: str, k: int, *coins: int) -> list[tuple[str, str]]:
    merged = draft(scored(OLD, champion), scored(NEW, challenger), k, with_coins(*coins))
    names = {OLD: "old", NEW: "new", None: "both"}
    return [(item.product_id, names[team]) for item, team in zip(merged.ranking.items, merged.teams, strict=True)]


def test_lists_are_merged_as_by_hand() -> None:
    # Champion first: it takes a, the challenger e; then the challenger is first: it takes f, the champion b.
    assert shown("abcd", "efgh", 4, 0, 1) == [("a", "old"), ("e", "new"), ("f", "new"), ("b", "old")]
    assert shown("abcd", "efgh", 3, 1, 0) == [("e", "new"), ("a", "old"), ("b", "old")]
    # Both place a next, which says nothing; the coin is not thrown for it.
    assert shown("abcd", "acbe", 4, 1, 0) == [("a", "both"), ("c", "new"), ("b", "old"), ("d", "old")]
    assert shown("abcd", "acbe", 4, 1, 1) == [("a", "both"), ("c", "new"), ("b", "old"), ("e", "new")]
    assert shown("ab", "ba", 2, 1) == [("b", "new"), ("a", "old")]
    # The challenger has nothing left after its only product: what follows is nobody's merit.
    assert shown("abc", "e", 4, 1) == [("e", "new"), ("a", "old"), ("b", "both"), ("c", "both")]
    assert shown("", "", 3) == []


@pytest.mark.parametrize("k", [1, 5, 100])
def test_a_coin_decides_who_leads(k: int) -> None:
    champion, challenger = [f"a{n}" for n in range(100)], [f"b{n}" for n in range(100)]
    lists = [draft(scored(OLD, champion), scored(NEW, challenger), k, f"request-{n}") for n in range(2_000)]
    led = sum(one.teams[0] == NEW for one in lists)
    assert 900 < led < 1_100, "4.5 standard errors"
    places = sum(team == NEW for one in lists for team in one.teams)
    assert abs(places / (2_000 * k) - 0.5) < 0.05 / k**0.5


@given(
    st.lists(st.sampled_from("abcdefghij"), unique=True),
    st.lists(st.sampled_from("abcdefghij"), unique=True),
    st.integers(1, 12),
    st.text(max_size=8),
)
def test_a_merged_list_holds_each_product_once_in_each_versions_order(
    champion: list[str], challenger: list[str], k: int, request_id: str
) -> None:
    ours, theirs = scored(OLD, champion), scored(NEW, challenger)
    merged = draft(ours, theirs, k, request_id)
    products = [item.product_id for item in merged.ranking.items]
    assert len(set(products)) == len(products) == min(k, len({*champion, *challenger})) == len(merged.teams)
    assert merged == draft(ours, theirs, k, request_id)
    for version, own in ((OLD, champion), (NEW, challenger)):
        placed = [name for name, team in zip(products, merged.teams, strict=True) if team == version]
        assert placed == sorted(placed, key=own.index)
    assert abs(merged.teams.count(OLD) - merged.teams.count(NEW)) <= 1
    assert (merged.model_version, merged.ranking.stage, merged.note) == (NEW, "ranked", None)


def test_equal_lists_say_nothing_whatever_the_coins() -> None:
    for coins in product((0, 1), repeat=3):
        assert shown("abc", "abc", 3, *coins) == [("a", "both"), ("b", "both"), ("c", "both")]
