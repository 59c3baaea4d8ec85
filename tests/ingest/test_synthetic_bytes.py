"""The synthetic shop is exact to the byte for a seed, whoever asks, in whatever order, on whatever day."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS
from tests.ingest.synthetic_shops import START, day_of, digest, small_shop

REPOSITORY = Path(__file__).resolve().parents[2]

PROGRAM = """
from tests.ingest.synthetic_shops import day_of, digest, small_shop
shop = small_shop(seed=7)
print(digest(shop.day_events(day_of(3))), digest(shop.products(day_of(3))), digest(shop.users(day_of(3))))
"""


def test_every_process_makes_the_same_bytes() -> None:
    shop = small_shop(seed=7)
    here = [digest(shop.day_events(day_of(3))), digest(shop.products(day_of(3))), digest(shop.users(day_of(3)))]
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        )
        assert there.stdout.split() == here


def test_days_do_not_depend_on_the_order_they_are_asked_for() -> None:
    forwards, backwards = small_shop(), small_shop()
    there = [digest(forwards.day_events(day_of(offset))) for offset in range(30)]
    back = [digest(backwards.day_events(day_of(offset))) for offset in reversed(range(30))]
    assert there == back[::-1]
    assert len(set(there)) == 30


def test_how_long_the_shop_lives_changes_no_day() -> None:
    short, living = small_shop(days=40, product_lifetime_days=40), small_shop(product_lifetime_days=40)
    for offset in (0, 20, 39):
        assert digest(short.day_events(day_of(offset))) == digest(living.day_events(day_of(offset)))
        assert digest(short.products(day_of(offset))) == digest(living.products(day_of(offset)))
        assert digest(short.users(day_of(offset))) == digest(living.users(day_of(offset)))


def test_another_seed_is_another_shop() -> None:
    one, other = small_shop(seed=1), small_shop(seed=2)
    assert digest(one.day_events(START)) != digest(other.day_events(START))
    assert digest(one.products(START)) != digest(other.products(START))


def test_the_days_of_a_shop_are_drawn_afresh() -> None:
    """The same weekday a week later, in the same world, is not a replay."""
    first, second = small_shop().day_events(day_of(0)), small_shop().day_events(day_of(7))
    assert first["user_id"].to_pylist()[:50] != second["user_id"].to_pylist()[:50]


def test_tables_have_canonical_types() -> None:
    shop = small_shop()
    events = shop.day_events(START)
    for field in events.schema:
        assert field.type == INTERACTIONS.schema.field(field.name).type
    assert set(INTERACTIONS.required) <= set(events.column_names)
    assert shop.products(START).schema == PRODUCTS.schema
    assert shop.users(START).schema == USERS.schema


@pytest.mark.parametrize("offset", [-1, 10])
def test_a_day_outside_the_shops_life_is_refused(offset: int) -> None:
    with pytest.raises(ValueError, match="outside the shop's days"):
        SyntheticShop(SyntheticShopConfig(start=START, days=10)).day_events(day_of(offset))
