"""Published lists of popular products, on every adapter."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lambda_api.state.addressing import MalformedRecord
from lambda_api.state.popular import MAX_ENTRIES, PopularEntry, PopularProducts
from lambda_api.state.table import Key, Put, Table, TableUnavailable
from tests.state.tables import ODD_IDS, CountingTable

NOW = 1_700_000_000


def entries(prefix: str, count: int = 3, **given: Any) -> list[PopularEntry]:
    return [PopularEntry(f"{prefix}{n}", 1.0 / (n + 1), **given) for n in range(count)]


def test_nothing_is_popular_before_the_first_publication(table: Table) -> None:
    popular = PopularProducts(table)
    assert popular.overall() == ()
    assert popular.of_category("Kitchen") == ()
    assert popular.published_at() is None


def test_lists_come_back_as_published(table: Table) -> None:
    popular = PopularProducts(table)
    full = PopularEntry("p1", 0.1 + 0.2, "Red Retrospot Bag", "Kitchen", "Zoë", 1.95, False)
    bare = PopularEntry("p2", 0.0)
    popular.publish([full, bare], {"Kitchen": [full]}, NOW)
    assert popular.overall() == (full, bare)
    assert popular.of_category("Kitchen") == (full,)
    assert popular.of_category("kitchen") == ()
    assert popular.published_at() == NOW
    popular.publish([bare], {"Garden": [bare]}, NOW + 1)
    assert popular.overall() == (bare,)
    assert popular.of_category("Kitchen") == ()  # no longer published: gone, not stale
    assert popular.of_category("Garden") == (bare,)


def test_numpy_values_become_plain_ones(table: Table) -> None:
    given = PopularEntry("p", np.float32(0.5), price=np.float64(2.5), available=np.bool_(True))  # type: ignore[arg-type]
    PopularProducts(table).publish([given], {}, NOW)
    (entry,) = PopularProducts(table).overall()
    assert (type(entry.score), type(entry.price), type(entry.available)) == (float, float, bool)


def test_any_category_name_will_do(table: Table) -> None:
    popular = PopularProducts(table)
    popular.publish([], {name: [PopularEntry(name, 1.0, category=name)] for name in ODD_IDS}, NOW)
    for name in ODD_IDS:
        assert popular.of_category(name) == (PopularEntry(name, 1.0, category=name),)
    assert popular.of_category("\ud800") == ()


def test_reading_a_list_is_one_get(table: Table) -> None:
    PopularProducts(table).publish(entries("p"), {"Kitchen": entries("k")}, NOW)
    counting = CountingTable(table)
    PopularProducts(counting).of_category("Kitchen")
    assert counting.calls == ["get"]


def test_lists_are_cut_to_what_serving_needs_and_a_record_holds(table: Table) -> None:
    popular = PopularProducts(table)
    giants = [replace(entry, name="🛒" * 1_000) for entry in entries("g", 300)]
    popular.publish(entries("p", 300), {"giants": giants}, NOW)
    assert popular.overall() == tuple(entries("p", MAX_ENTRIES))
    kept = popular.of_category("giants")
    assert 50 < len(kept) < MAX_ENTRIES
    assert kept == tuple(giants[: len(kept)])


def test_many_and_large_categories_are_written_in_batches(table: Table) -> None:
    counting = CountingTable(table)
    popular = PopularProducts(counting)
    by_category = {f"category {n}": entries(f"c{n}-", 2) for n in range(230)}
    popular.publish(entries("p"), by_category, NOW)
    assert counting.calls == ["query", "write", "write", "write"]
    large = {f"category {n}": [replace(e, name="n" * 1_500) for e in entries(f"c{n}-", 200)] for n in range(15)}
    popular.publish(entries("p"), large, NOW)  # over 4 MB in all
    assert popular.of_category("category 14")[0].name == "n" * 1_500
    assert popular.of_category("category 15") == ()
    assert len(table.query("popular")) == 16


@pytest.mark.parametrize(
    "wrong",
    [PopularEntry("", 1.0), PopularEntry("p", float("nan")), PopularEntry("p", 1.0, price=float("inf"))],
    ids=str,
)
def test_impossible_entries_are_refused(table: Table, wrong: PopularEntry) -> None:
    with pytest.raises(ValueError, match=r"must be a non-empty|not a number"):
        PopularProducts(table).publish([wrong], {}, NOW)
    with pytest.raises(ValueError, match="category"):
        PopularProducts(table).publish([], {"": []}, NOW)


@pytest.mark.parametrize("stored", [{}, {"entries": 7}, {"entries": [["p", 1.0]]}, {"entries": [[1] * 7]}], ids=str)
def test_records_of_other_making_are_named(table: Table, stored: dict[str, Any]) -> None:
    table.write([Put(Key("popular", "overall"), stored)])
    with pytest.raises(MalformedRecord, match="popular/overall cannot be read"):
        PopularProducts(table).overall()


def test_an_outage_is_passed_on(table: Table) -> None:
    counting = CountingTable(table)
    counting.fail = TableUnavailable("locked")
    with pytest.raises(TableUnavailable):
        PopularProducts(counting).overall()
