"""Figures of a split, counted by hand and by sets."""

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from recsys_assets.schema import TIMESTAMP
from recsys_assets.splits.description import as_markdown, describe_split
from recsys_assets.splits.temporal import TemporalSplit

START = datetime(2024, 1, 1, tzinfo=UTC)
SPLIT = TemporalSplit(*(START + timedelta(days=days) for days in (0, 10, 15, 20)))


def events(rows: list[tuple[str, str, float]]) -> pa.Table:
    """(user, product, days after the start)."""
    moments = [START + timedelta(days=days) for _, _, days in rows]
    return pa.table(
        {
            "user_id": [user for user, _, _ in rows],
            "product_id": [product for _, product, _ in rows],
            "timestamp": pa.array(moments, TIMESTAMP),
        }
    )


def test_by_hand() -> None:
    rows = [
        ("ann", "tea", 0),
        ("ann", "cup", 9.99),
        ("bob", "tea", 10),
        ("ann", "pot", 14),
        ("bob", "tea", 15),
        ("cid", "jug", 16),
        ("ann", "pot", 19),
        ("late", "late", 20),
        ("early", "early", -1),
    ]
    random.Random(1).shuffle(rows)
    train, validation, test = describe_split(events(rows), SPLIT)
    assert (train.interactions, train.users, train.products) == (2, 1, 2)
    assert (train.cold_user_share, train.cold_product_share) == (None, None)
    assert (validation.interactions, validation.users, validation.products) == (2, 2, 2)
    assert (validation.cold_user_share, validation.cold_product_share) == (1 / 2, 1 / 2)
    # Bob and the pot were new in validation, so by the test they are known.
    assert (test.interactions, test.users, test.products) == (3, 3, 3)
    assert (test.cold_user_share, test.cold_product_share) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert (test.start, test.end) == (SPLIT.test_start, SPLIT.end)


def test_against_sets_on_a_random_shuffled_log() -> None:
    rng = random.Random(2)
    rows = [(f"u{rng.randrange(60)}", f"p{rng.randrange(40)}", rng.uniform(0, 20)) for _ in range(200)]
    seen_users: set[str] = set()
    seen_products: set[str] = set()
    for part in describe_split(events(rows), SPLIT):
        inside = [row for row in rows if part.start <= START + timedelta(days=row[2]) < part.end]
        users, products = {row[0] for row in inside}, {row[1] for row in inside}
        assert (part.interactions, part.users, part.products) == (len(inside), len(users), len(products))
        if part.part != "train":
            assert part.cold_user_share == pytest.approx(len(users - seen_users) / len(users))
            assert part.cold_product_share == pytest.approx(len(products - seen_products) / len(products))
        seen_users |= users
        seen_products |= products


def test_empty_parts_have_no_cold_share_and_still_print() -> None:
    stats = describe_split(events([("ann", "tea", 1)]), SPLIT)
    assert [part.interactions for part in stats] == [1, 0, 0]
    assert [part.cold_user_share for part in stats] == [None, None, None]
    text = as_markdown(stats)
    assert "| train | 2024-01-01 00:00 | 2024-01-11 00:00 | 1 (100.0%) | 1 | 1 | - | - |" in text
    assert len(text.splitlines()) == 5
