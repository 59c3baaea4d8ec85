"""Drift of predictions: samples of served lists and their churn against loops in plain Python, and what is found."""

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.ingest.served import SERVED_LISTS
from recsys_assets.lake import Lake
from recsys_assets.monitoring.drift_statistics import compare_deciles, judge, population_stability_index
from recsys_assets.monitoring.served_samples import (
    SCHEMA,
    compare_predictions,
    last_lists,
    list_churn,
    predictions_of,
    update_samples,
)

DAY = date(2024, 5, 1)


def shown(user: str, products: list[str], request: str, day: date = DAY, hour: int = 12, **more: Any) -> list[dict]:  # type: ignore[type-arg]
    """Rows of ``served_lists`` of one list."""
    moment = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    row = {
        "request_id": request, "user_id": user, "shown_at": moment, "list_kind": "recommend", "page": "home",
        "model_version": "v1.0.0", "stage": "ranked",
    }  # fmt: skip
    return [
        {**row, "place": place, "product_id": product, "score": 1.0 / place, **more}
        for place, product in enumerate(products, start=1)
    ]


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SERVED_LISTS)


def test_the_last_list_of_a_shopper_by_brute_force() -> None:
    rng = random.Random(0)
    rows: list[dict[str, Any]] = []
    last: dict[str, list[str]] = {}
    for number in range(200):
        user, hour = f"u{rng.randrange(20)}", number // 10
        products = rng.sample([f"p{one}" for one in range(9)], 4)
        rows += shown(user, products, f"r{number:03d}", hour=hour)
        last[user] = products
    rows += shown("", ["p1"], "x1") + shown("u1", ["p1"], "x2", hour=23, model_version="baseline")
    rows += shown("u2", ["p1"], "x3", hour=23, list_kind="popular")
    rng.shuffle(rows)
    found = last_lists(table(rows)).to_pylist()
    assert {row["user_id"]: row["products"] for row in found} == last
    assert {row["score"] for row in found} == {1.0}
    few = last_lists(table(rows), most=5).to_pylist()
    assert len(few) == 5 and all(row in found for row in few)
    # A list that the ranker did not make has a score of another scale.
    assert last_lists(table(shown("u", ["p"], "r", stage="candidates"))).to_pylist()[0]["score"] is None


def test_a_robot_counts_once() -> None:
    rows = [row for number in range(500) for row in shown("robot", ["p1", "p2"], f"r{number}")]
    assert last_lists(table(rows + shown("ann", ["p1"], "a"))).num_rows == 2


@pytest.mark.parametrize(
    ("before", "now", "churn"),
    [
        (["a", "b", "c", "d"], ["a", "b", "c", "d"], 0.0),
        (["a", "b", "c", "d"], ["b", "a", "c", "d"], 0.5),
        (["a", "b", "c", "d"], ["a", "b"], 0.5),
        (["a"], ["b"], 1.0),
        ([], [], 0.0),
    ],
)
def test_churn_by_hand(before: list[str], now: list[str], churn: float) -> None:
    assert list_churn(before, now) == churn


def test_churn_between_days_and_versions_by_page(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    days = [DAY - timedelta(days=number) for number in (9, 2, 0)]
    lake.write_day(
        "served_lists", days[0], table(shown("ann", ["x"], "0", days[0]) + shown("bob", ["x"], "0b", days[0]))
    )
    lake.write_day("served_lists", days[1], table(shown("ann", ["a", "b"], "1", days[1])))
    today = shown("ann", ["a", "c"], "2") + shown("bob", ["a"], "3") + shown("cy", ["a"], "4")
    lake.write_day("served_lists", DAY, table(today))
    assert update_samples(lake, DAY) == 3
    rows = {row["user_id"]: row for row in lake.read("served_samples", start=DAY).to_pylist()}
    # Bob's last list is older than a week; Cy has none.
    assert (rows["ann"]["churn"], rows["ann"]["other_version"]) == (0.5, False)
    assert rows["bob"]["churn"] is None and rows["cy"]["churn"] is None
    # The day itself is made again: late lists count.
    lake.write_day("served_lists", DAY, table(today + shown("ann", ["z", "z"], "5", hour=20, model_version="v2.0.0")))
    assert update_samples(lake, DAY) == 1
    rows = {row["user_id"]: row for row in lake.read("served_samples", start=DAY).to_pylist()}
    assert (rows["ann"]["churn"], rows["ann"]["other_version"]) == (1.0, True)
    lake.write_day("served_lists", DAY, table(shown("ann", ["a", "b"], "6", page="cart")))
    update_samples(lake, DAY)
    assert lake.read("served_samples", start=DAY)["churn"].to_pylist() == [None], "another page is another list"


def sample(n: int, seed: int, version: str = "v1.0.0", scale: float = 1.0, churn: float = 0.3) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows = {
        "user_id": [f"u{number}" for number in range(n)],
        "model_version": [version] * n,
        "page": ["home"] * n,
        "score": rng.lognormal(0, 0.5, n) * scale,
        "products": [[]] * n,
        "churn": np.clip(rng.normal(churn, 0.1, n), 0, 1),
        "other_version": [False] * n,
    }
    return pa.table(rows, schema=SCHEMA)


def states(past: pa.Table, now: pa.Table) -> dict[str, str]:
    return {one.column: one.state for one in judge(compare_predictions(past, now).columns, {})}


def test_scores_and_churn_alarm_on_change_only() -> None:
    past = sample(6_000, 1)
    assert states(past, sample(800, 2)) == {"score": "stable", "list_churn": "stable"}
    assert states(past, sample(800, 2, scale=1.5)) == {"score": "drifted", "list_churn": "stable"}
    assert states(past, sample(800, 2, churn=0.4)) == {"score": "stable", "list_churn": "drifted"}
    assert set(states(past, sample(400, 2, scale=9.0)).values()) == {"too few"}


def test_scores_of_another_version_are_not_compared() -> None:
    found = compare_predictions(sample(6_000, 1, version="v1.0.0"), sample(800, 2, version="v2.0.0", scale=50.0))
    assert found.version == "v2.0.0"
    assert judge(found.columns, {})[0].state == "too few"


def test_deciles_by_hand() -> None:
    rng = np.random.default_rng(3)
    reference, current = rng.random(1_000), rng.random(600) ** 2
    edges = np.quantile(reference, np.linspace(0.1, 0.9, 9))
    shares = [
        np.array([((one >= low) & (one < high)).mean() for low, high in zip([-1, *edges], [*edges, 2], strict=True)])
        for one in (reference, current)
    ]
    found = compare_deciles("score", reference, current)
    assert found.second_effect == pytest.approx(population_stability_index(*shares))
    assert shares[0] == pytest.approx(0.1, abs=0.001) and found.kind == "deciles"
    assert found.second_effect > 0.2 and found.is_large
    assert compare_deciles("score", np.ones(900), np.ones(700)).second_effect == 0


def test_nothing_served(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert update_samples(lake, DAY) == 0 and predictions_of(lake, DAY).version == ""
