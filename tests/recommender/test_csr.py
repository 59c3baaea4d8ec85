"""Offsets, ranges and look-ups of compressed sparse rows against plain loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.recommender.csr import distinct, find_sorted, offsets, offsets_of_rows, ranges


@given(st.lists(st.integers(0, 4)))
def test_offsets_and_ranges_equal_a_loop(lengths: list[int]) -> None:
    indptr = offsets(lengths)
    assert indptr.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert indptr.dtype == np.int64
    rows = np.repeat(np.arange(len(lengths)), lengths)
    assert offsets_of_rows(rows, len(lengths)).tolist() == indptr.tolist()
    starts = np.arange(len(lengths), dtype=np.int64) * 10
    expected = [start + step for start, length in zip(starts.tolist(), lengths, strict=True) for step in range(length)]
    assert ranges(starts, np.array(lengths, dtype=np.int64)).tolist() == expected


@given(st.sets(st.integers(-5, 5)), st.lists(st.integers(-7, 7)))
def test_a_value_is_found_exactly_where_it_is(held: set[int], wanted: list[int]) -> None:
    ascending = np.array(sorted(held), dtype=np.int64)
    places, there = find_sorted(ascending, np.array(wanted, dtype=np.int64))
    assert there.tolist() == [value in held for value in wanted]
    assert [int(value) for value in ascending[places[there]]] == [value for value in wanted if value in held]
    assert all(0 <= place < max(1, len(ascending)) for place in places.tolist())


@given(st.lists(st.integers(-5, 5)))
def test_distinct_values_are_those_of_a_set(values: list[int]) -> None:
    found = distinct(np.array(values, dtype=np.int32))
    assert found.tolist() == sorted(set(values))
    assert found.dtype == np.int32
