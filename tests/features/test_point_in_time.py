"""Every feature column against brute force, and proof that nothing at or after the cut-off enters any of them."""

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_api.interactions import INTERACTION_LABELS
from recsys_assets.features.columns import PRODUCT_FEATURES, USER_FEATURES, USER_PRODUCT_FEATURES
from recsys_assets.features.engine import FEATURES
from tests.features.comparing import KEYS, assert_same, compute, keyed
from tests.features.logs import AS_OF, random_rows, tables
from tests.features.oracle import Oracle

NAMES = tuple(FEATURES)
COLUMNS = {
    "user_features": USER_FEATURES,
    "product_features": PRODUCT_FEATURES,
    "user_product_features": USER_PRODUCT_FEATURES,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_column_equals_brute_force(name: str, seed: int) -> None:
    rows = random_rows(seed)
    for as_of in (AS_OF, AS_OF - timedelta(days=20, hours=5, microseconds=7)):
        expected = getattr(Oracle(*rows, as_of), name)()
        assert_same(keyed(name, compute(name, tables(*rows), as_of)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_those_described_with_their_types_and_null_rules(name: str) -> None:
    table = compute(name, tables(*random_rows(3)), AS_OF)
    described = COLUMNS[name]
    assert table.column_names == [column.name for column in described]
    assert [str(field.type).replace("double", "float64") for field in table.schema] == [c.dtype for c in described]
    for column in described:
        assert column.nulls != "never" or table[column.name].null_count == 0, column.name


def without(rows: Any, missing: str) -> Any:
    interactions, products, users = rows
    if missing == "users":
        return interactions, products, []
    if missing == "products":
        return interactions, [], users
    if missing in INTERACTION_LABELS:
        return [row for row in interactions if row["interaction_type"] != missing], products, users
    if missing == "events":
        return [], products, users
    blank = {column: None for column in missing.split("+")}
    return (
        [{**row, **{k: v for k, v in blank.items() if k in row}} for row in interactions],
        [{**row, **{k: v for k, v in blank.items() if k in row}} for row in products],
        users,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "missing", ["price", "category+brand", "rating+quantity", "users", "products", "events", *INTERACTION_LABELS]
)
def test_works_when_something_is_missing_altogether(name: str, missing: str) -> None:
    rows = without(random_rows(4, events=120), missing)
    assert_same(keyed(name, compute(name, tables(*rows), AS_OF)), getattr(Oracle(*rows, AS_OF), name)())


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    offset=st.one_of(st.just(0), st.integers(0, 10**12)),
    kind=st.sampled_from(INTERACTION_LABELS),
    user=st.sampled_from(["u0", "u3", "somebody new"]),
    product=st.sampled_from(["p0", "p5", "something new"]),
    number=st.integers(0, 39),
)
def test_a_leaked_future_event_changes_nothing(
    seed: int, offset: int, kind: str, user: str, product: str, number: int
) -> None:
    """Add one event at or after the cut-off, change another that lies there: every value of every table stays."""
    interactions, products, users = random_rows(seed, events=40, users=5, products=6)
    leaked = {
        "interaction_id": "leak",
        "user_id": user,
        "product_id": product,
        "interaction_type": kind,
        "timestamp": AS_OF + timedelta(microseconds=offset),
        "rating": 5.0,
        "price": 1e6,
        "quantity": 1e3,
    }
    changed = [dict(row) for row in interactions]
    changed[number]["timestamp"] = AS_OF + timedelta(microseconds=offset)
    moved = [dict(row) for row in changed]
    moved[number].update(user_id=user, product_id=product, interaction_type=kind, price=1e6, rating=5.0)
    for name in NAMES:
        before = keyed(name, compute(name, tables(changed, products, users), AS_OF))
        after = keyed(name, compute(name, tables([*moved, leaked], products, users), AS_OF))
        assert before == after


@pytest.mark.parametrize("name", NAMES)
def test_an_event_just_before_the_cut_off_does_count(name: str) -> None:
    """The counterpart of the leak test: it could not pass by ignoring new events altogether."""
    interactions, products, users = random_rows(5, events=40)
    early = {**interactions[3], "interaction_id": "early", "timestamp": AS_OF - timedelta(microseconds=1)}
    before = keyed(name, compute(name, tables(interactions, products, users), AS_OF))
    after = keyed(name, compute(name, tables([*interactions, early], products, users), AS_OF))
    key = tuple(early[column] for column in KEYS[name])
    assert after[key]["interactions"] == before.get(key, {"interactions": 0})["interactions"] + 1


@pytest.mark.parametrize("name", NAMES)
def test_order_of_rows_does_not_matter(name: str) -> None:
    rows = random_rows(6)
    shuffled = tuple(random.Random(0).sample(part, len(part)) for part in rows)
    assert_same(keyed(name, compute(name, tables(*shuffled), AS_OF)), keyed(name, compute(name, tables(*rows), AS_OF)))


def test_a_naive_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        compute("user_features", tables(*random_rows(8, events=5)), AS_OF.replace(tzinfo=None))
