"""What the shop says shoppers will buy is what they buy: frequencies over many worlds and days match probabilities."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from recsys_assets.ingest.synthetic import Drift, DriftKind, SyntheticShop
from recsys_assets.ingest.synthetic.behaviour import simulate_day
from tests.ingest.synthetic_shops import START, day_of, noon, small_shop

REPLICAS = 1500

WORLDS: dict[str, dict[str, Any]] = {
    "default": {},
    "strong position bias, no noise": {"position_bias": 2.0, "noise": 0.0, "seed": 1},
    "no position bias, all noise, long sessions": {"position_bias": 0.0, "noise": 1.0, "views_per_session": 8.0},
    "one category": {"n_categories": 1, "seed": 2},
    "only habits": {"n_users": 1500, "sessions_per_user_per_day": 0.0, "restocking": 5.0},
    "short lives": {"product_lifetime_days": 30, "taste_strength": 2.0},
    "every drift": {"drift": tuple(Drift(kind, START, 0.4) for kind in DriftKind)},
}


def true_probabilities(shop: SyntheticShop, offset: int, days: int = 1) -> NDArray[np.float64]:
    ids = shop._product_ids.to_pylist()
    users = shop._user_ids.to_pylist()
    return shop.purchase_probability(users, ids, noon(offset), days)


def chi_square_excess(bought: NDArray[np.int64], trials: int, probability: NDArray[np.float64]) -> float:
    """Standardised excess of Pearson's statistic over cells with enough expected purchases: N(0, 1) if all is right."""
    expected = trials * probability
    used = expected * (1 - probability) > 5
    assert used.sum() > 30
    statistic = ((bought - expected)[used] ** 2 / (expected * (1 - probability))[used]).sum()
    return float((statistic - used.sum()) / np.sqrt(2 * used.sum()))


@pytest.mark.parametrize("world", WORLDS)
def test_frequencies_over_many_runs_of_a_day_match_the_probabilities(world: str) -> None:
    shop = small_shop(**{"n_users": 40, "n_products": 40, "n_categories": 4, **WORLDS[world]})
    state = shop.world.on(day_of(33))
    rng = np.random.default_rng(0)
    bought = np.zeros((len(shop.world.shoppers), len(shop.world.products)), dtype=np.int64)
    for _ in range(REPLICAS):
        day = simulate_day(shop.world, state, rng)
        purchase = day.kind == InteractionType.PURCHASE
        happened = np.zeros(bought.shape, dtype=bool)
        happened[day.user[purchase], day.product[purchase]] = True
        bought += happened
    probability = true_probabilities(shop, 33)
    assert (bought[probability == 0] == 0).all()
    assert abs(chi_square_excess(bought, REPLICAS, probability)) < 5
    total, variance = REPLICAS * probability.sum(), REPLICAS * (probability * (1 - probability)).sum()
    assert abs(bought.sum() - total) < 5 * np.sqrt(2 * variance)
    # The bound has power: probabilities somewhat too high would not pass.
    assert chi_square_excess(bought, REPLICAS, np.minimum(1.2 * probability, 0.99)) > 5


def test_frequencies_over_many_shops_and_days_match_the_probabilities() -> None:
    """Through the public tables alone, binned by probability; every day has its own tastes, shelf and listing."""
    edges = np.array([0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0])
    expected, variance, observed = np.zeros(6), np.zeros(6), np.zeros(6)
    for seed in range(8):
        shop = small_shop(seed=seed)
        users, products = shop._user_ids.to_pylist(), shop._product_ids.to_pylist()
        for offset in range(0, 60, 3):
            probability = shop.purchase_probability(users, products, noon(offset))
            events = shop.day_events(day_of(offset)).to_pydict()
            bought = np.zeros(probability.shape, dtype=bool)
            for user, product, kind in zip(
                events["user_id"], events["product_id"], events["interaction_type"], strict=True
            ):
                if kind == "purchase":
                    bought[users.index(user), products.index(product)] = True
            # Bins are open below: the impossible, which must not happen, has none.
            bins = np.searchsorted(edges, probability.ravel()) - 1
            assert not bought.ravel()[bins < 0].any()
            possible = bins >= 0
            expected += np.bincount(bins[possible], probability.ravel()[possible], 6)
            variance += np.bincount(bins[possible], (probability * (1 - probability)).ravel()[possible], 6)
            observed += np.bincount(bins[possible], bought.ravel()[possible], 6)
    assert (expected > 80).all()
    # Purchases of one session come together, which widens the sums a little beyond independent draws.
    assert (np.abs(observed - expected) < 4.5 * np.sqrt(1.5 * variance)).all(), (observed, expected)


def test_a_window_multiplies_its_days() -> None:
    shop = small_shop(product_lifetime_days=30)
    day_by_day = np.stack([true_probabilities(shop, 10 + offset) for offset in range(7)])
    np.testing.assert_allclose(true_probabilities(shop, 10, 7), 1 - np.prod(1 - day_by_day, axis=0), atol=1e-12)


def test_the_hour_and_the_time_zone_do_not_matter_but_the_utc_day_does() -> None:
    shop = small_shop()
    users, products = shop._user_ids.to_pylist()[:5], shop._product_ids.to_pylist()[:60]
    midnight = datetime.combine(day_of(5), datetime.min.time(), UTC)
    answer = shop.purchase_probability(users, products, midnight)
    late_in_new_york = (midnight + timedelta(hours=2)).astimezone(timezone(-timedelta(hours=5)))
    assert (shop.purchase_probability(users, products, late_in_new_york) == answer).all()
    assert (shop.purchase_probability(users, products, midnight - timedelta(seconds=1)) != answer).any()


def test_rows_and_columns_follow_the_ids_asked_for() -> None:
    shop = small_shop()
    users, products = shop._user_ids.to_pylist(), shop._product_ids.to_pylist()
    everything = shop.purchase_probability(users, products, noon(3))
    some = shop.purchase_probability(users[50:47:-1], [products[9], products[2], products[9]], noon(3))
    np.testing.assert_allclose(some, everything[[50, 49, 48]][:, [9, 2, 9]], rtol=1e-12)


def test_impossible_purchases_have_probability_zero() -> None:
    shop = small_shop(product_lifetime_days=30)
    probability = true_probabilities(shop, 20)
    ordinal = day_of(20).toordinal()
    products, shoppers = shop.world.products, shop.world.shoppers
    on_sale = (products.launch <= ordinal) & (ordinal < products.retire)
    joined = shoppers.join <= ordinal
    assert (~on_sale).any() and (~joined).any()
    assert (probability[:, ~on_sale] == 0).all() and (probability[~joined] == 0).all()
    assert (probability[np.ix_(joined, on_sale)] > 0).all()


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        ({"user_ids": ["U000001", "nobody"]}, "user_id 'nobody'"),
        ({"product_ids": ["nothing"]}, "product_id 'nothing'"),
        ({"at": noon(3).replace(tzinfo=None)}, "aware"),
        ({"at": noon(-1)}, "outside the shop's days"),
        ({"horizon_days": 0}, "horizon_days"),
        ({"at": noon(28), "horizon_days": 3}, "go beyond the shop's last day"),
    ],
)
def test_questions_without_an_answer_are_refused(question: dict[str, Any], complaint: str) -> None:
    shop = small_shop(days=30)
    complete = {"user_ids": ["U000001"], "product_ids": shop._product_ids.to_pylist()[:1], "at": noon(3)}
    with pytest.raises(ValueError, match=complaint):
        shop.purchase_probability(**{**complete, **question})
