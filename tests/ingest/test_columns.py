"""Understanding of columns against Python's own, on generated values."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.ingest.columns import occurrence_numbers, parse_numbers, parse_timestamps

MOMENTS = st.datetimes(datetime.fromisoformat("1975-01-01"), datetime.fromisoformat("2100-01-01"))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def chunked(values: Sequence[object], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(MOMENTS, st.none() | ZONES, st.sampled_from(["T", " "]), st.booleans())))
def test_iso_times_mean_what_python_says(moments: list[tuple[datetime, timezone | None, str, bool]]) -> None:
    stamps = [moment.replace(tzinfo=zone) for moment, zone, _, _ in moments]
    texts = [
        f" {stamp.isoformat(separator)} " if padded else stamp.isoformat(separator)
        for stamp, (_, _, separator, padded) in zip(stamps, moments, strict=True)
    ]
    expected = [stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC) for stamp in stamps]
    assert parse_timestamps(chunked(texts, pa.string())).to_pylist() == expected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(MOMENTS, st.sampled_from(["s", "ms", "iso", "words", "none"]))))
def test_mixed_columns_are_understood_value_by_value(values: list[tuple[datetime, str]]) -> None:
    texts: list[object] = []
    expected: list[datetime | None] = []
    for moment, form in values:
        stamp = moment.replace(microsecond=0, tzinfo=UTC)
        seconds = int(stamp.timestamp())
        forms = {"s": str(seconds), "ms": str(seconds * 1000), "iso": stamp.isoformat(), "words": "soon", "none": None}
        texts.append(forms[form])
        expected.append(None if form in ("words", "none") else stamp)
    assert parse_timestamps(chunked(texts, pa.string())).to_pylist() == expected


def test_moments_outside_the_calendar_are_not_understood() -> None:
    seconds = chunked([0, 253_402_300_799, 253_402_300_800, -(10**12)], pa.timestamp("s"))
    assert parse_timestamps(seconds).to_pylist() == [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        None,
        None,
    ]
    assert parse_timestamps(chunked([0, 2**62], pa.timestamp("s"))).null_count == 2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**12), 10**12)))
def test_numbers_round_trip(values: list[float]) -> None:
    assert parse_numbers(chunked([repr(value) for value in values], pa.string())).to_pylist() == values


def test_words_are_no_numbers() -> None:
    texts = ["abc", "", None, "1,5", "0x10", "nan", "inf", "--1", " 7 ", ".5", "5."]
    assert parse_numbers(chunked(texts, pa.string())).to_pylist() == [None] * 8 + [7.0, 0.5, 5.0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["a", "b", "c", None])))
def test_occurrences_are_counted_like_a_person_would(keys: list[str | None]) -> None:
    seen: Counter[str | None] = Counter()
    expected = []
    for key in keys:
        seen[key] += 1
        expected.append(seen[key])
    assert occurrence_numbers(chunked(keys, pa.string())).tolist() == expected
