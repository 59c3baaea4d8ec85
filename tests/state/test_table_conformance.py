"""What every adapter of the table port must do: one suite, run on each, and a stateful comparison with a model."""

import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from mypy_boto3_dynamodb import DynamoDBClient

from lambda_api.state.table import Absent, ConditionFailed, Delete, Key, Matches, Put, Record, Table
from tests.state.tables import ADAPTERS, Clock, ModelTable, fake_dynamodb, open_adapter, same

KEY = Key("pointer", "champion")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module", autouse=True)
def dynamodb() -> Iterator[DynamoDBClient]:
    with fake_dynamodb() as client:
        TableComparison.client = client
        yield client


@pytest.fixture(params=ADAPTERS)
def table(request: pytest.FixtureRequest, tmp_path: Path, dynamodb: DynamoDBClient, clock: Clock) -> Iterator[Table]:
    with open_adapter(request.param, tmp_path, dynamodb, clock) as opened:
        yield opened


def attributes_of(table: Table, key: Key) -> dict[str, Any] | None:
    record = table.get(key)
    return None if record is None else record.attributes


def test_missing_is_none_and_empty(table: Table) -> None:
    assert table.get(KEY) is None
    assert table.query("pointer") == []
    table.write([Delete(KEY)])
    table.write([])
    assert table.get(KEY) is None


def test_put_replaces_the_whole_record(table: Table) -> None:
    table.write([Put(KEY, {"a": 1, "b": 2})])
    table.write([Put(KEY, {"a": 3})])
    assert table.get(KEY) == Record(KEY, {"a": 3})
    table.write([Delete(KEY)])
    assert table.get(KEY) is None


EXTREMES = [
    0.1,
    1.0,
    -0.0,
    0.1 + 0.2,
    5e-324,
    sys.float_info.min,
    sys.float_info.max,
    math.nextafter(1.0, 2.0),
    1e126,  # beyond DynamoDB's numbers
    1e-131,
    123456789012345678.0,
    float(np.float64(1) / 3),
]


@pytest.mark.parametrize("value", EXTREMES, ids=repr)
def test_float64_comes_back_to_the_bit(table: Table, value: float) -> None:
    table.write([Put(KEY, {"x": value, "in": {"list": [value]}})])
    assert same(attributes_of(table, KEY), {"x": value, "in": {"list": [value]}})
    table.write([Put(KEY, {"x": "seen"}, condition=Matches({"x": value}))])


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "\x00",
        "null",
        '{"json": 1}',
        {"json": "1"},
        "é😀\u2028",
        0,
        -1,
        True,
        False,
        None,
        10**37,
        10**38,
        -(10**38),
        10**60,
        [],
        {},
        {"": {"": []}},
        {"S": "x"},
        [None, True, 1, 1.0, "1", [[]]],
    ],
    ids=repr,
)
def test_values_come_back_with_their_type(table: Table, value: Any) -> None:
    table.write([Put(KEY, {"value": value})])
    assert same(attributes_of(table, KEY), {"value": value})
    table.write([Put(KEY, {"value": value, "again": 1}, condition=Matches({"value": value}))])


def test_tuples_and_numpy_floats_are_stored_as_lists_and_floats(table: Table) -> None:
    table.write([Put(KEY, {"t": (1, (2,)), "f": np.float64(0.25)})])
    assert same(attributes_of(table, KEY), {"t": [1, [2]], "f": 0.25})


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        {"deep": [-math.inf]},
        b"bytes",
        {1: "key"},
        {1, 2},
        np.int64(1),
        np.float32(1),
        pytest.param(object(), id="object"),
        "\ud800",
        {"\ud800": 1},
    ],
    ids=repr,
)
def test_values_json_has_not_are_refused_by_name(table: Table, value: Any) -> None:
    table.write([Put(KEY, {"a": 1})])
    with pytest.raises(ValueError, match="'metric'"):
        table.write([Put(Key("other", "record"), {"a": 1}), Put(KEY, {"metric": value})])
    with pytest.raises(ValueError, match="'metric'"):
        table.write([Put(KEY, {"a": 2}, condition=Matches({"metric": value}))])
    assert attributes_of(table, KEY) == {"a": 1}
    assert table.get(Key("other", "record")) is None


def test_a_value_that_contains_itself_is_refused(table: Table) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested too deeply"):
        table.write([Put(KEY, {"x": endless})])


def test_absent_is_won_once(table: Table) -> None:
    table.write([Put(KEY, {"n": 1}, condition=Absent())])
    with pytest.raises(ConditionFailed) as failure:
        table.write([Put(KEY, {"n": 2}, condition=Absent())])
    assert failure.value.key == KEY
    assert failure.value.found == {"n": 1}
    assert "pointer/champion" in str(failure.value)
    with pytest.raises(ConditionFailed):
        table.write([Delete(KEY, condition=Absent())])
    table.write([Delete(Key("no", "record"), condition=Absent())])
    assert attributes_of(table, KEY) == {"n": 1}


def test_matches_compares_named_attributes_only(table: Table) -> None:
    table.write([Put(KEY, {"rev": 1, "note": "x"})])
    table.write([Put(KEY, {"rev": 2}, condition=Matches({"rev": 1}))])
    with pytest.raises(ConditionFailed) as failure:
        table.write([Put(KEY, {"rev": 3}, condition=Matches({"rev": 1}))])
    assert failure.value.found == {"rev": 2}
    with pytest.raises(ConditionFailed):
        table.write([Delete(KEY, condition=Matches({"rev": 2, "note": "x"}))])
    table.write([Delete(KEY, condition=Matches({"rev": 2}))])
    with pytest.raises(ConditionFailed) as failure:
        table.write([Delete(KEY, condition=Matches({}))])
    assert failure.value.found is None
    table.write([Put(KEY, {})])
    table.write([Delete(KEY, condition=Matches({}))])


@pytest.mark.parametrize("stored", [1, 1.0, True, "1", "true", None, [1], {"a": 1}, 0, 0.0, -0.0, False, ""], ids=repr)
def test_matches_tells_types_apart(table: Table, stored: Any) -> None:
    others = [1, 1.0, True, "1", "true", None, [1], [1.0], {"a": 1}, {"a": True}, 0, 0.0, -0.0, False, ""]
    table.write([Put(KEY, {"x": stored})])
    for other in others:
        if same(stored, other):
            table.write([Put(KEY, {"x": stored}, condition=Matches({"x": other}))])
        else:
            with pytest.raises(ConditionFailed):
                table.write([Put(KEY, {"x": stored}, condition=Matches({"x": other}))])


def test_none_is_not_a_missing_attribute(table: Table) -> None:
    table.write([Put(KEY, {"other": 1})])
    with pytest.raises(ConditionFailed):
        table.write([Delete(KEY, condition=Matches({"x": None}))])


def test_dict_order_does_not_matter_to_matches(table: Table) -> None:
    table.write([Put(KEY, {"x": {"b": 1, "a": [{"d": 1, "c": 2}]}})])
    table.write([Delete(KEY, condition=Matches({"x": {"a": [{"c": 2, "d": 1}], "b": 1}}))])


@pytest.mark.parametrize(
    "name", ["a.b", "a b", "a[0]", "#x", ":y", "size", "partition", "sort", "attributes", "expires_at", "é", "json"]
)
def test_attribute_names_are_free(table: Table, name: str) -> None:
    table.write([Put(KEY, {name: 1, "z": [name]})])
    assert attributes_of(table, KEY) == {name: 1, "z": [name]}
    table.write([Put(KEY, {name: 2}, condition=Matches({name: 1}))])
    with pytest.raises(ConditionFailed):
        table.write([Delete(KEY, condition=Matches({name: 1}))])
    assert table.query("pointer") == [Record(KEY, {name: 2})]


def test_a_transaction_is_all_or_nothing_and_names_the_first_failure(table: Table) -> None:
    first, second, third = (Key("p", name) for name in "abc")
    table.write([Put(first, {"n": 1}), Put(second, {"n": 1})])
    with pytest.raises(ConditionFailed) as failure:
        table.write(
            [
                Put(third, {"n": 1}),
                Put(second, {"n": 2}, condition=Matches({"n": 7})),
                Delete(first, condition=Absent()),
            ]
        )
    assert (failure.value.key, failure.value.found) == (second, {"n": 1})
    assert table.query("p") == [Record(first, {"n": 1}), Record(second, {"n": 1})]
    table.write(
        [
            Delete(first, condition=Matches({"n": 1})),
            Put(second, {"n": 2}, condition=Matches({"n": 1})),
            Put(third, {"n": 3}, condition=Absent()),
        ]
    )
    assert table.query("p") == [Record(second, {"n": 2}), Record(third, {"n": 3})]


def test_one_hundred_writes_and_no_more(table: Table) -> None:
    writes = [Put(Key("p", f"{n:03d}"), {"n": n}, condition=Absent()) for n in range(101)]
    with pytest.raises(ValueError, match=r"101 writes.*at most 100"):
        table.write(writes)
    assert table.query("p") == []
    table.write(writes[:100])
    assert [record.attributes["n"] for record in table.query("p")] == list(range(100))


def test_two_writes_on_one_key_are_refused(table: Table) -> None:
    with pytest.raises(ValueError, match="two writes on pointer/champion"):
        table.write([Put(KEY, {}), Put(Key("p", "x"), {}), Delete(KEY)])
    assert table.get(KEY) is None


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        (Key("", "s"), "partition key of 0 bytes"),
        (Key("p", ""), "sort key of 0 bytes"),
        (Key("p" * 2049, "s"), "partition key of 2049 bytes"),
        (Key("p", "é" * 513), "sort key of 1026 bytes"),
        (Key("p", "\udcff"), "not valid Unicode"),
    ],
)
def test_impossible_keys_are_refused(table: Table, key: Key, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        table.get(key)
    with pytest.raises(ValueError, match=rule):
        table.write([Put(key, {})])
    with pytest.raises(ValueError, match=rule):
        table.write([Delete(key)])


def test_longest_keys_are_possible(table: Table) -> None:
    key = Key("é" * 1024, "s" * 1024)
    table.write([Put(key, {"a": 1}, condition=Absent())])
    assert table.get(key) == Record(key, {"a": 1})
    assert table.query(key.partition, prefix=key.sort) == [Record(key, {"a": 1})]


def test_records_and_transactions_have_dynamodbs_size(table: Table) -> None:
    with pytest.raises(ValueError, match=r"record pointer/champion has .* at most 409600"):
        table.write([Put(KEY, {"x": "é" * 205_000})])
    table.write([Put(KEY, {"x": "é" * 200_000})])
    assert attributes_of(table, KEY) == {"x": "é" * 200_000}
    with pytest.raises(ValueError, match=r"transaction of .* at most 4194304"):
        table.write([Put(Key("p", str(n)), {"x": "y" * 390_000}) for n in range(11)])
    assert table.query("p") == []


def test_a_condition_of_a_hundred_attributes(table: Table) -> None:
    many = {f"attribute {n}": n for n in range(101)}
    table.write([Put(KEY, many)])
    with pytest.raises(ValueError, match="compares 101 attributes"):
        table.write([Delete(KEY, condition=Matches(many))])
    del many["attribute 7"]
    table.write([Delete(KEY, condition=Matches(many))])


@pytest.mark.parametrize("expires_at", [1.5, True, -1, 2**53, "soon"])
def test_expiry_is_whole_seconds(table: Table, expires_at: Any) -> None:
    with pytest.raises(ValueError, match="expires_at of pointer/champion"):
        table.write([Put(KEY, {}, expires_at=expires_at)])


def test_expired_records_are_gone_to_everybody(table: Table, clock: Clock) -> None:
    clock.now = 1000.0
    table.write([Put(KEY, {"n": 1}, expires_at=1001), Put(Key("pointer", "kept"), {"n": 2})])
    clock.now = 1000.999
    assert attributes_of(table, KEY) == {"n": 1}
    with pytest.raises(ConditionFailed):
        table.write([Put(KEY, {}, condition=Absent())])
    clock.now = 1001.0
    assert table.get(KEY) is None
    assert [record.key.sort for record in table.query("pointer")] == ["kept"]
    assert [record.key.sort for record in table.query("pointer", limit=1)] == ["kept"]
    with pytest.raises(ConditionFailed) as failure:
        table.write([Put(KEY, {"n": 2}, condition=Matches({"n": 1}))])
    assert failure.value.found is None
    with pytest.raises(ConditionFailed):
        table.write([Delete(KEY, condition=Matches({}))])
    table.write([Put(KEY, {"n": 3}, condition=Absent())])
    clock.now = 1e10
    assert attributes_of(table, KEY) == {"n": 3}  # the new record has no expiry


def test_limit_counts_live_records(table: Table, clock: Clock) -> None:
    for n in range(30):
        table.write([Put(Key("p", f"{n:02d}"), {"n": n}, expires_at=2000 if n % 3 else None)])
    clock.now = 3000.0
    live = list(range(0, 30, 3))
    for limit in (0, 1, 4, 9, 10, 11, 100):
        assert [record.attributes["n"] for record in table.query("p", limit=limit)] == live[:limit]
        newest = [record.attributes["n"] for record in table.query("p", newest_first=True, limit=limit)]
        assert newest == live[::-1][:limit]
    with pytest.raises(ValueError, match="limit must not be negative"):
        table.query("p", limit=-1)


NAMES = [
    *("a", "aa", "ab", "b", "B", "á", "z", "~", "%", "_", "a%", "a_", "a\x00", "a\x00b", "\x00"),
    *("\ud7ff", "\ue000", "\ufffd", "\uffff", "\U00010000", "\U0010ffff", "\U0010ffff\U0010ffff"),
    *("a\ud7ffx", "a\U0010ffff", "a\U0010ffffb"),
]


def test_prefixes_and_order_are_those_of_utf8_bytes(table: Table) -> None:
    table.write([Put(Key("p", name), {"name": name}) for name in NAMES])
    table.write([Put(Key(partition, "a"), {}) for partition in ("P", "pp", "p\x00", " p")])
    ordered = sorted(NAMES, key=str.encode)
    for prefix in ["", *NAMES, "c", "a\ud7ff", "\U0010ffff\U0010ffff\U0010ffff"]:
        expected = [name for name in ordered if name.startswith(prefix)]
        assert [record.key.sort for record in table.query("p", prefix=prefix)] == expected, repr(prefix)
        newest = table.query("p", prefix=prefix, newest_first=True, limit=2)
        assert [record.attributes["name"] for record in newest] == expected[::-1][:2], repr(prefix)
    for name in NAMES:
        assert attributes_of(table, Key("p", name)) == {"name": name}


def test_impossible_queries_are_refused(table: Table) -> None:
    for partition, prefix in [("", ""), ("p\ud800", ""), ("p", "\ud800"), ("p", "x" * 1025)]:
        with pytest.raises(ValueError):
            table.query(partition, prefix=prefix)


def test_a_partition_of_several_megabytes_is_read_whole(table: Table) -> None:
    for start in (0, 8, 16):
        table.write([Put(Key("p", f"{n:02d}"), {"n": n, "x": "y" * 200_000}) for n in range(start, start + 8)])
    assert [record.attributes["n"] for record in table.query("p")] == list(range(24))
    assert [record.attributes["n"] for record in table.query("p", newest_first=True, limit=20)] == list(
        range(23, 3, -1)
    )


def test_what_is_read_is_the_readers_own(table: Table) -> None:
    attributes = {"x": [1]}
    table.write([Put(KEY, attributes)])
    attributes["x"].append(2)
    first = attributes_of(table, KEY)
    assert first is not None
    first["x"].append(3)
    assert attributes_of(table, KEY) == {"x": [1]}


texts = st.text(max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.text(min_size=1, max_size=6), json_values, max_size=4))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_comes_back_as_written(table: Table, attributes: dict[str, Any]) -> None:
    table.write([Put(KEY, attributes)])
    assert same(attributes_of(table, KEY), attributes)
    table.write([Put(KEY, attributes, condition=Matches(attributes))])


def test_every_condition_that_failed_is_named_and_the_first_is_described(table: Table) -> None:
    table.write([Put(Key("p", str(n)), {"n": n}) for n in range(3)])
    writes = [Put(Key("p", str(n)), {}, condition=Absent()) for n in (5, 2, 1, 6)]
    with pytest.raises(ConditionFailed) as failure:
        table.write([*writes, Put(Key("p", "0"), {}), Delete(Key("p", "7"), condition=Matches({}))])
    assert failure.value.keys == (Key("p", "2"), Key("p", "1"), Key("p", "7"))
    assert (failure.value.key, failure.value.found) == (Key("p", "2"), {"n": 2})
    assert ConditionFailed(KEY, None).keys == (KEY,)


few_keys = st.builds(Key, st.sampled_from(["p", "q"]), st.sampled_from(["a", "ab", "b", "é", "\U0010ffff"]))
few_attributes = st.dictionaries(
    st.sampled_from(["x", "y"]), st.sampled_from([0, 1, 1.0, True, None, "", "1", [1]]), max_size=2
)
conditions = st.none() | st.builds(Absent) | st.builds(Matches, few_attributes)
moments = st.none() | st.integers(0, 30)
some_writes = st.lists(
    st.builds(Put, few_keys, few_attributes, conditions, moments) | st.builds(Delete, few_keys, conditions),
    min_size=1,
    max_size=4,
    unique_by=lambda write: write.key,
)


def typed(record: Record | None) -> object:
    """A record in a form whose equality tells ``1``, ``1.0`` and ``True`` apart and ignores the order of attributes."""
    return None if record is None else (record.key, repr(sorted(record.attributes.items())))


class TableComparison(RuleBasedStateMachine):
    """Random histories of writes, reads and passing time: the adapter and the model must agree at every step."""

    adapter: str
    client: DynamoDBClient

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(0.0)
        self.model = ModelTable(self.clock)
        self.resources = ExitStack()

    @initialize()
    def open(self) -> None:
        folder = Path(self.resources.enter_context(tempfile.TemporaryDirectory()))
        self.table = self.resources.enter_context(open_adapter(self.adapter, folder, self.client, self.clock))

    @rule(writes=some_writes)
    def write(self, writes: list[Put | Delete]) -> None:
        assert self._outcome(self.table, writes) == self._outcome(self.model, writes)

    @rule(key=few_keys)
    def get(self, key: Key) -> None:
        assert typed(self.table.get(key)) == typed(self.model.get(key))

    @rule(
        partition=st.sampled_from(["p", "q", "r"]),
        prefix=st.sampled_from(["", "a", "ab", "b", "\U0010ffff"]),
        newest_first=st.booleans(),
        limit=st.none() | st.integers(0, 4),
    )
    def query(self, partition: str, prefix: str, newest_first: bool, limit: int | None) -> None:
        found = self.table.query(partition, prefix=prefix, newest_first=newest_first, limit=limit)
        expected = self.model.query(partition, prefix=prefix, newest_first=newest_first, limit=limit)
        assert [typed(record) for record in found] == [typed(record) for record in expected]

    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def teardown(self) -> None:
        self.resources.close()

    @staticmethod
    def _outcome(table: Table, writes: list[Put | Delete]) -> object:
        try:
            table.write(writes)
        except ConditionFailed as failure:
            return failure.key, None if failure.found is None else typed(Record(failure.key, failure.found))
        return "written"


class SqliteComparison(TableComparison):
    adapter = "sqlite"


class DynamoDbComparison(TableComparison):
    adapter = "dynamodb"


TestSqliteAgainstModel = SqliteComparison.TestCase
TestSqliteAgainstModel.settings = settings(max_examples=60, stateful_step_count=30)
TestDynamoDbAgainstModel = DynamoDbComparison.TestCase
TestDynamoDbAgainstModel.settings = settings(max_examples=25, stateful_step_count=25)
