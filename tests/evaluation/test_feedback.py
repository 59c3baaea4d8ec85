"""From exposures and answers to arrays; business metrics by hand; estimates where the true value is known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from lambda_api.interactions import InteractionType
from lambda_api.recommender.rules import explored
from lambda_api.state.exposures import Exposure, ShownItem, join_feedback
from lambda_api.state.history import StoredEvent
from recsys_assets.evaluation.feedback import (
    Shown,
    business_metrics,
    listing_chance,
    logged_feedback,
    shown,
    target_of_lists,
)
from recsys_assets.evaluation.off_policy import ESTIMATORS, Estimator, LoggedFeedback, estimate
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.measurement.bootstrap import bootstrap_intervals

AT = 1_700_000_000
VIEW, CART, PURCHASE = InteractionType.VIEW, InteractionType.ADD_TO_CART, InteractionType.PURCHASE


def exposure(request: str, products: str, propensity: float | None = 0.5) -> Exposure:
    items = tuple(ShownItem(name, 1.0, rank, propensity, "popular") for rank, name in enumerate(products, start=1))
    return Exposure(request, "ann", AT * 1000, "e", "v", 1.0, "m", "ranked", None, items, {}, 1.0)


def event(
    number: int, request: str, product: str, kind: InteractionType, after: int = 60, price: float | None = None,
    quantity: int | None = None,
) -> StoredEvent:  # fmt: skip
    return StoredEvent(
        f"e{number}", "ann", product, kind, AT + after, price=price, quantity=quantity, request_id=request
    )


def log() -> Shown:
    """Three lists of two: one bought from, one looked at, one ignored or answered too late."""
    events = [
        event(1, "r1", "a", VIEW),
        event(2, "r1", "a", CART),
        event(3, "r1", "a", PURCHASE, price=2.5, quantity=4),
        event(4, "r1", "b", PURCHASE),
        event(5, "r2", "c", VIEW, after=-120),
        event(6, "r2", "d", PURCHASE, after=-3_600),
        event(7, "r3", "a", PURCHASE, after=86_401, price=9.0),
        event(8, "r9", "a", PURCHASE, price=9.0),
    ]
    joined = join_feedback([exposure("r1", "ab"), exposure("r2", "cd", None), exposure("r3", "ab")], events)
    return shown(joined, timedelta(days=1), {"b": 7.0})


def test_metrics_by_hand() -> None:
    rows = log()
    found = business_metrics(rows, resamples=200)
    assert (len(rows), rows.unpriced, found["revenue"].n) == (6, 0, 1)
    assert found["click_through"].mean == pytest.approx(3 / 6)
    assert found["conversion"].mean == pytest.approx(2 / 6)
    assert found["revenue"].mean == pytest.approx((2.5 * 4 + 7.0) / 6)
    assert found["revenue"].low <= found["revenue"].mean <= found["revenue"].high


def test_arrays_follow_the_lists() -> None:
    rows = log()
    assert rows.request_ids == ("r1", "r2", "r3")
    np.testing.assert_array_equal(rows.request, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(rows.propensity, [0.5, 0.5, 1, 1, 0.5, 0.5])
    np.testing.assert_array_equal(rows.shopper, [0] * 6)
    np.testing.assert_array_equal(rows.rewards["click_through"], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(rows.rewards["conversion"], [1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(rows.rewards["revenue"], [10, 7, 0, 0, 0, 0])


def test_intervals_are_over_shoppers() -> None:
    """Twenty lists of each of thirty shoppers, who click on all of them or none: thirty independent answers."""
    joined = []
    for number in range(600):
        one = exposure(f"r{number}", "a")
        asker = f"u{number % 30}"
        one = replace(one, user_id=asker)
        events = [replace(event(number, one.request_id, "a", VIEW), user_id=asker)] if number % 3 == 0 else []
        joined += join_feedback([one], events)
    found = business_metrics(shown(joined))["click_through"]
    values = np.array([float(shopper % 3 == 0) for shopper in range(30)])
    alone = bootstrap_intervals({"c": values})["c"]
    assert alone is not None
    assert (found.n, found.mean) == (30, pytest.approx(1 / 3))
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.15)


def test_the_window_is_what_is_asked() -> None:
    joined = join_feedback([exposure("r3", "ab")], [event(7, "r3", "a", PURCHASE, after=86_401)])
    assert shown(joined, timedelta(days=1)).rewards["conversion"].sum() == 0
    longer = shown(joined, timedelta(days=2))
    assert (longer.rewards["conversion"].sum(), longer.unpriced, longer.rewards["revenue"].sum()) == (1, 1, 0)
    with pytest.raises(ValueError, match="negative"):
        shown(joined, timedelta(days=-1))
    with pytest.raises(ValueError, match="nothing was shown"):
        business_metrics(shown([]))


def test_what_a_policy_would_have_shown() -> None:
    rows = log()
    np.testing.assert_array_equal(
        target_of_lists(rows, {"r1": ["a", "x"], "r2": ["d", "c"], "r3": ["b"]}), [1, 0, 1, 1, 0, 1]
    )
    with pytest.raises(ValueError, match="'r2'"):
        target_of_lists(rows, {"r1": ["a"], "r3": ["a"]})


def test_a_log_judged_by_its_own_lists_is_its_own_metric() -> None:
    """Without exploration the log's policy is certain, and every estimate of it is the metric itself."""
    joined = join_feedback([exposure("r1", "ab", None)], [event(1, "r1", "a", VIEW)])
    rows = shown(joined)
    same = logged_feedback(rows, "click_through", target_of_lists(rows, {"r1": ["a", "b"]}))
    for estimator in ESTIMATORS:
        own = business_metrics(rows, resamples=10)["click_through"]
        assert estimate(same, estimator, resamples=10).mean == own.mean


K, POOL, EXPLORE, SHOPPERS, LOGS = 4, 14, 0.5, 400, 120


class ShopLog:
    """Logs that a shop would write for one policy while another is asked about; the truth is the shop's own chance."""

    def __init__(self) -> None:
        shop = SyntheticShop(SyntheticShopConfig(seed=5, n_users=SHOPPERS, n_products=60, n_categories=4, days=30))
        day = shop.config.start
        users, products = shop.users(day)["user_id"].to_pylist(), shop.products(day)["product_id"].to_pylist()
        # Chances of a month: those of a day are so small that a few hundred lists would sell nothing.
        opening = datetime(day.year, day.month, day.day, tzinfo=UTC)
        self.chance = shop.purchase_probability(users, products, opening, horizon_days=30)
        best = np.argsort(-self.chance, axis=1, kind="stable")
        self.pools = np.random.default_rng(0).permuted(best[:, :POOL], axis=1)
        self.requests = len(users)
        # The policy in question keeps half of the log's places and gives the others to better products.
        below = self.pools[:, K:]
        order = np.argsort(-np.take_along_axis(self.chance, below, axis=1), axis=1)
        better = np.take_along_axis(below, order, axis=1)[:, : K - K // 2]
        self.target = np.concatenate([self.pools[:, : K // 2], better], axis=1)
        self.truth = float(np.take_along_axis(self.chance, self.target, axis=1).mean())

    def feedback(self, seed: int) -> LoggedFeedback:
        rng = np.random.default_rng(seed)
        drawn = [explored(np.arange(POOL), K, EXPLORE, rng) for _ in self.pools]
        listed = np.stack([pool[one.order] for pool, one in zip(self.pools, drawn, strict=True)])
        return LoggedFeedback(
            unit=np.repeat(np.arange(self.requests), K),
            reward=(rng.random(listed.shape) < np.take_along_axis(self.chance, listed, axis=1)).ravel().astype(float),
            propensity=np.concatenate([one.propensity for one in drawn]),
            target=(listed == self.target).ravel().astype(float),
        )


@pytest.fixture(scope="module")
def shop_log() -> ShopLog:
    return ShopLog()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_intervals_cover_what_the_shop_knows_to_be_true(shop_log: ShopLog, estimator: Estimator) -> None:
    """The whole chain: true chances, exploration as served, draws, estimates. Of 120 intervals at 95 %, fewer than 105
    hit with a chance under 1 in 1,000."""
    found = [
        estimate(shop_log.feedback(seed), estimator, tolerated_loss=1.0, resamples=300, seed=seed)
        for seed in range(LOGS)
    ]
    assert sum(one.low <= shop_log.truth <= one.high for one in found) >= 105
    values = np.array([one.mean for one in found])
    assert abs(values.mean() - shop_log.truth) < 4 * values.std(ddof=1) / np.sqrt(LOGS)


def test_chance_of_being_listed_by_enumeration() -> None:
    """Over every coin and draw of `explored`: how often a product is anywhere in the list, told from one list's log."""
    pool, count, explore = 6, 3, 0.4
    listed = np.zeros(pool)
    draws = 0
    told: dict[int, float] = {}
    for seed in range(20_000):
        one = explored(np.arange(pool), count, explore, np.random.default_rng(seed))
        listed[one.order] += 1
        draws += 1
        if seed < 200:
            items = tuple(
                ShownItem(str(place), 1.0, rank, float(chance), "exploration" if swapped else "popular")
                for rank, (place, chance, swapped) in enumerate(
                    zip(one.order.tolist(), one.propensity.tolist(), one.by_chance.tolist(), strict=True), 1
                )
            )
            rows = shown(join_feedback([Exposure("r", "u", 0, "e", "v", 1.0, "m", "ranked", None, items, {}, 1.0)], []))
            chances = listing_chance(rows, one.by_chance)
            told |= dict(zip(one.order.tolist(), chances.tolist(), strict=True))
    expected = np.array([told[place] for place in range(pool)])
    assert expected == pytest.approx([1 - explore] * count + [count * explore / (pool - count)] * (pool - count))
    assert listed / draws == pytest.approx(expected, abs=0.02)
