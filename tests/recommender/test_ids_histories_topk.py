"""Id maps, ragged arrays, histories and top-k against plain Python."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.topk import top_k

ids = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=8), max_size=30)


@given(ids, st.lists(st.text(max_size=8), max_size=10))
def test_id_map_is_a_bijection_in_digest_order(known: list[str], asked: list[str]) -> None:
    id_map = IdMap.from_ids(known)
    expected = sorted(set(known), key=lambda name: hashlib.sha256(name.encode()).digest())
    assert id_map.external(np.arange(len(id_map))) == expected
    assert id_map.indices(expected).tolist() == list(range(len(expected)))
    assert id_map.indices(asked).tolist() == [expected.index(name) if name in expected else -1 for name in asked]


@pytest.mark.parametrize("hostile", ["a\0", "\0", "", "\ud800", "b" * 10_000])
def test_ids_no_shop_has_are_unknown(hostile: str) -> None:
    assert IdMap.from_ids(["a", "b"]).indices([hostile, "a"]).tolist()[0] == -1
    assert hostile not in IdMap.from_ids(["a", "b"])


@pytest.mark.parametrize("bad", ["", "a\0b"])
def test_ids_that_cannot_be_stored_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="cannot be indexed"):
        IdMap.from_ids(["a", bad])


@pytest.mark.parametrize("index", [-1, 2])
def test_external_refuses_padding(index: int) -> None:
    with pytest.raises(IndexError, match=r"0\.\.1"):
        IdMap.from_ids(["a", "b"]).external([0, index])


scores = st.integers(1, 5).flatmap(
    lambda rows: st.integers(0, 12).flatmap(
        lambda columns: st.lists(
            st.lists(st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 0.5, 3.0]), min_size=columns, max_size=columns),
            min_size=rows,
            max_size=rows,
        )
    )
)


@given(scores, st.integers(1, 15))
def test_top_k_is_a_stable_sort(rows: list[list[float]], k: int) -> None:
    matrix = np.array(rows, dtype=np.float32).reshape(len(rows), len(rows[0]))
    chosen, values = top_k(matrix, k)
    assert chosen.shape == values.shape == (len(rows), k)
    for row, line in enumerate(rows):
        finite = [column for column in range(len(line)) if line[column] > -np.inf]
        best = sorted(finite, key=lambda column: -line[column])[:k]
        assert chosen[row].tolist() == best + [-1] * (k - len(best))
        assert values[row].tolist() == [line[column] for column in best] + [-np.inf] * (k - len(best))


events = st.lists(
    st.lists(
        st.builds(
            Event,
            product_id=st.sampled_from(["a", "b", "c", "unknown"]),
            interaction_type=st.sampled_from(InteractionType),
            timestamp=st.integers(0, 20),
        ),
        max_size=8,
    ),
    max_size=5,
)


@given(events, st.integers(0, 20))
def test_histories_keep_known_past_events_in_order(rows: list[list[Event]], now: int) -> None:
    products = IdMap.from_ids(["a", "b", "c"])
    histories = Histories.from_events(rows, now, products)
    assert len(histories) == len(rows)
    for row, shopper in enumerate(rows):
        kept = sorted(
            (e for e in shopper if e.timestamp <= now and e.product_id in products), key=lambda e: e.timestamp
        )
        part = histories.rows(row, row + 1)
        assert part.products.tolist() == products.indices([event.product_id for event in kept]).tolist()
        assert part.types.tolist() == [int(event.interaction_type) for event in kept]
        assert part.timestamps.tolist() == [event.timestamp for event in kept]
        assert part.now == now
        for types in ([InteractionType.PURCHASE], list(InteractionType)):
            distinct = {event.product_id for event in kept if event.interaction_type in types}
            expected = sorted(products.indices(sorted(distinct)).tolist())
            assert histories.distinct_products(types).row(row).tolist() == expected


@given(st.lists(st.lists(st.integers(-5, 5), max_size=5), max_size=6))
def test_ragged_holds_its_rows(rows: list[list[int]]) -> None:
    ragged = Ragged.from_rows(rows)
    assert [ragged.row(index).tolist() for index in range(len(ragged))] == rows
    assert ragged.row_of_value.tolist() == [index for index, row in enumerate(rows) for _ in row]


def test_histories_refuse_arrays_that_disagree() -> None:
    empty = np.empty(0, dtype=np.int64)
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="one entry more than user_ids"):
        Histories(("a",), one, empty, empty, empty, 0)
    with pytest.raises(ValueError, match="must each hold"):
        Histories(("a",), np.array([0, 1]), one, empty, one, 0)
