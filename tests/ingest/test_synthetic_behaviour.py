"""The synthetic shop behaves like one: lives of products, cycles, skew, position bias, sessions, something to learn."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import InteractionType
from recsys_assets.ingest.synthetic import Drift, DriftKind, SyntheticShop, SyntheticShopConfig
from recsys_assets.ingest.synthetic.config import MAX_VIEWS_PER_SESSION
from recsys_assets.ingest.synthetic.words import brand_name, category_words
from recsys_assets.ingest.synthetic.world import session_length_distribution
from recsys_assets.schema import INTERACTIONS
from tests.ingest.synthetic_shops import START, day_of, events_of, gini, noon, small_shop

DRIFTS = st.builds(
    Drift,
    kind=st.sampled_from([DriftKind.TASTE_SHIFT, DriftKind.CATALOGUE_SHIFT, DriftKind.PRICE_SHIFT]),
    start=st.dates(date(2024, 1, 3), date(2024, 1, 12)),
    strength=st.floats(0.01, 1.0),
)


@st.composite
def configs(draw: st.DrawFn) -> SyntheticShopConfig:
    n_categories = draw(st.integers(1, 30))
    return SyntheticShopConfig(
        seed=draw(st.integers(0, 2**40)),
        start=draw(st.dates(date(2023, 12, 1), date(2024, 1, 3))),
        n_users=draw(st.integers(1, 60)),
        n_products=draw(st.integers(n_categories, 90)),
        n_categories=n_categories,
        n_brands=draw(st.integers(1, 12)),
        sessions_per_user_per_day=draw(st.floats(0.0, 3.0)),
        views_per_session=draw(st.floats(1.01, 8.0)),
        taste_strength=draw(st.floats(0.0, 4.0)),
        popularity_skew=draw(st.floats(0.0, 3.0)),
        position_bias=draw(st.floats(0.0, 3.0)),
        noise=draw(st.floats(0.0, 1.0)),
        restocking=draw(st.floats(0.0, 5.0)),
        product_lifetime_days=draw(st.floats(30.0, 400.0)),
        episode_days=draw(st.integers(1, 60)),
        drift=tuple(draw(st.lists(DRIFTS, max_size=3))),
    )


@settings(max_examples=60, deadline=None)
@given(config=configs(), offset=st.integers(0, 60))
def test_whatever_the_config_a_day_is_coherent(config: SyntheticShopConfig, offset: int) -> None:
    shop, day = SyntheticShop(config), config.start + timedelta(days=offset)
    events, products, users = shop.day_events(day), shop.products(day), shop.users(day)
    assert INTERACTIONS.conform(events).num_rows == events.num_rows
    assert set(pc.unique(events["timestamp"].cast(pa.date32())).to_pylist()) <= {day}
    assert len(set(events["interaction_id"].to_pylist())) == events.num_rows
    assert set(events["user_id"].to_pylist()) <= set(users["user_id"].to_pylist())
    for_sale = dict(zip(products["product_id"].to_pylist(), products["price"].to_pylist(), strict=True))
    assert len(for_sale) == products.num_rows
    available = set(products.filter(products["available"])["product_id"].to_pylist())
    assert set(events["product_id"].to_pylist()) <= available
    assert events["price"].to_pylist() == [for_sale[product] for product in events["product_id"].to_pylist()]
    assert pc.min(products["price"]).as_py() > 0
    bought = pc.equal(events["interaction_type"], "purchase")
    assert bought.to_pylist() == pc.is_valid(events["quantity"]).to_pylist()
    assert all(quantity >= 1 for quantity in events.filter(bought)["quantity"].to_pylist())


def test_no_event_before_launch_or_after_retirement() -> None:
    shop = small_shop(product_lifetime_days=40)
    products = shop.world.products
    launch = dict(zip(shop._product_ids.to_pylist(), products.launch.tolist(), strict=True))
    retire = dict(zip(shop._product_ids.to_pylist(), products.retire.tolist(), strict=True))
    launched_later = 0
    for offset in range(90):
        ordinal = day_of(offset).toordinal()
        for product in set(shop.day_events(day_of(offset))["product_id"].to_pylist()):
            assert launch[product] <= ordinal < retire[product]
            launched_later += launch[product] > START.toordinal()
    assert launched_later > 0
    both_ends = (products.launch > START.toordinal()) & (products.retire < day_of(90).toordinal())
    assert both_ends.sum() > 10, "some products live and die within the period"


def test_a_place_on_the_shelf_holds_one_product_at_a_time() -> None:
    shop = small_shop(product_lifetime_days=40, drift=(Drift(DriftKind.CATALOGUE_SHIFT, day_of(30), 0.5),))
    products = shop.world.products
    for slot in range(shop.config.n_products):
        own = np.flatnonzero(products.slot == slot)
        order = own[np.argsort(products.launch[own])]
        assert (products.retire[order][:-1] <= products.launch[order][1:]).all()
        assert (products.launch[own] < products.retire[own]).all()


def test_shoppers_join_over_time_and_come_only_then() -> None:
    shop = small_shop()
    early, late = shop.users(START), shop.users(day_of(300))
    assert 0.6 < early.num_rows / 120 < 0.95 < late.num_rows / 120
    joined = dict(zip(late["user_id"].to_pylist(), late["join_date"].to_pylist(), strict=True))
    for offset in range(0, 300, 7):
        day = day_of(offset)
        assert all(joined[user] <= day for user in shop.day_events(day)["user_id"].to_pylist())


def test_weeks_and_seasons_show_and_can_be_turned_off() -> None:
    def sizes(**cycles: float) -> np.ndarray[Any, Any]:
        shop = small_shop(restocking=0.0, n_users=1500, sessions_per_user_per_day=0.5, **cycles)
        # Years after the start everybody has joined: what is left is the calendar.
        first = (date(2026, 1, 5) - START).days
        return np.array([len(shop.behaviour(day_of(first + offset))) for offset in range(364)], dtype=float)

    full, flat = sizes(), sizes(weekly_cycle=0.0, seasonal_cycle=0.0)
    weekday = full.reshape(52, 7).mean(axis=0)
    assert weekday[5:].min() > 1.2 * weekday[:4].max()
    winter, summer = np.r_[full[:28], full[-28:]].mean(), full[154:210].mean()
    assert winter > 1.4 * summer
    flat_week, flat_month = flat.reshape(52, 7).mean(axis=0), flat.reshape(13, 28).mean(axis=1)
    assert flat_week.max() < 1.06 * flat_week.min() and flat_month.max() < 1.15 * flat_month.min()


def test_popularity_is_skewed_and_the_skew_can_be_turned_off() -> None:
    def inequality(**changes: float) -> float:
        shop = SyntheticShop(SyntheticShopConfig(start=START, product_lifetime_days=36000, **changes))
        products = np.concatenate([shop.behaviour(day_of(offset)).product for offset in range(20)])
        return gini(np.bincount(products, minlength=len(shop.world.products)))

    default = inequality()
    assert 0.55 < default < 0.85
    assert inequality(popularity_skew=0.0, position_bias=0.0) < default - 0.1


def test_views_follow_position_as_the_examination_model_says() -> None:
    """Closed form: with taste and noise off, views within a category are proportional to exp(appeal) * examination."""
    shop = small_shop(taste_strength=0.0, noise=0.0, restocking=0.0, n_users=4000, position_bias=0.7)
    state = shop.world.on(START)
    views = np.zeros(shop.config.n_products)
    for replica in range(4):
        day = shop_day(shop, replica)
        viewed = day.product[day.kind == InteractionType.VIEW]
        views += np.bincount(shop.world.products.slot[viewed], minlength=len(views))
    for category in range(shop.config.n_categories):
        place = shop.world.categories.slots(category)
        on_sale = state.shelf[place] >= 0
        appeal = state.appeal[place][on_sale]
        position = shop.world.listing_positions(state.appeal, state.ordinal)[place][on_sale]
        assert sorted(position.tolist()) == list(range(int(on_sale.sum())))
        weight = np.exp(appeal) * (position + 1.0) ** -0.7
        expected = views[place].sum() * weight / weight.sum()
        assert (np.abs(views[place][on_sale] - expected) < 5 * np.sqrt(expected) + 1).all()


def shop_day(shop: SyntheticShop, replica: int) -> Any:
    from recsys_assets.ingest.synthetic.behaviour import simulate_day

    return simulate_day(shop.world, shop.world.on(START), np.random.default_rng(replica))


@pytest.mark.parametrize(("exponent", "low", "high"), [(0.0, -0.1, 0.1), (1.0, -1.2, -0.5)])
def test_the_same_product_is_viewed_more_when_listed_higher(exponent: float, low: float, high: float) -> None:
    """Regression within products over weeks, with all else of the world on: the slope is the bias that was put in."""
    shop = small_shop(position_bias=exponent, product_lifetime_days=36000, n_users=2000, seasonal_cycle=0.0)
    attention, interest = [], []
    for week in range(8):
        state = shop.world.on(day_of(7 * week))
        days = [shop.behaviour(day_of(7 * week + offset)) for offset in range(7)]
        viewed = np.concatenate([day.product[day.kind == InteractionType.VIEW] for day in days])
        views = np.bincount(shop.world.products.slot[viewed], minlength=shop.config.n_products)
        interest.append(np.log(views + 0.5))
        attention.append(np.log1p(shop.world.listing_positions(state.appeal, state.ordinal)))
    x = np.array(attention) - np.mean(attention, axis=0)
    y = np.array(interest) - np.mean(interest, axis=0)
    assert low < (x * y).sum() / (x * x).sum() < high


def test_sessions_view_then_cart_then_buy() -> None:
    shop = small_shop(n_users=800, views_per_session=8.0)
    day = shop.behaviour(START)
    first: dict[InteractionType, dict[tuple[int, int], int]] = {kind: {} for kind in InteractionType}
    for session, product, kind, when in zip(day.session, day.product, day.kind, day.microsecond, strict=True):
        line, moments = (int(session), int(product)), first[InteractionType(int(kind))]
        if kind != InteractionType.VIEW:
            assert line not in moments, "a product is carted and bought once per session"
        moments.setdefault(line, int(when))
    views, carts, purchases = (first[kind] for kind in list(InteractionType)[:3])
    assert len(views) > len(carts) > len(purchases) > 100
    assert all(views[line] < carts[line] for line in carts)
    assert all(carts[line] < purchases[line] for line in purchases)
    for session in range(int(day.session.max()) + 1):
        own = day.session == session
        assert len(set(day.user[own].tolist())) == 1
        moments = day.microsecond[own & (day.kind == InteractionType.VIEW)]
        assert 1 <= len(moments) <= MAX_VIEWS_PER_SESSION and (np.diff(moments) > 0).all()
    assert (np.diff(day.microsecond) >= 0).all()


@pytest.mark.parametrize("mean", [1.01, 2.5, 4.0, 8.0])
def test_session_lengths_have_the_mean_asked_for(mean: float) -> None:
    lengths = session_length_distribution(mean)
    assert lengths.sum() == pytest.approx(1.0)
    assert (lengths * np.arange(1, MAX_VIEWS_PER_SESSION + 1)).sum() == pytest.approx(mean)


def test_there_is_something_to_learn() -> None:
    """New purchases of two weeks: the truth beats EASE beats popularity, each clearly (NDCG@10)."""
    shop = SyntheticShop(SyntheticShopConfig(seed=5, start=START))
    cut = 60
    past, future = events_of(shop, 0, cut), events_of(shop, cut, cut + 14)
    users, products = shop.users(day_of(cut))["user_id"].to_pylist(), shop.products(day_of(cut))
    names = products["product_id"].to_pylist()
    clicks = counts(past, users, names)
    bought = counts(past.filter(pc.equal(past["interaction_type"], "purchase")), users, names)
    wanted = counts(future.filter(pc.equal(future["interaction_type"], "purchase")), users, names) > 0
    known = bought > 0
    gram = (clicks > 0).astype(float).T @ (clicks > 0)
    inverse = np.linalg.inv(gram + 100.0 * np.eye(len(names)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    scores = {
        "popularity": np.tile(bought.sum(axis=0), (len(users), 1)),
        "ease": (clicks > 0) @ weights,
        "truth": shop.purchase_probability(users, names, noon(cut), 14),
    }
    ndcg = {name: ndcg_at_10(score, wanted & ~known, known) for name, score in scores.items()}
    assert 1.6 * ndcg["popularity"] < ndcg["ease"] < 0.6 * ndcg["truth"], ndcg


def counts(events: pa.Table, users: list[str], products: list[str]) -> np.ndarray[Any, Any]:
    table = np.zeros((len(users), len(products)))
    rows, columns = (
        pc.index_in(events["user_id"], pa.array(users)),
        pc.index_in(events["product_id"], pa.array(products)),
    )
    both = pc.and_(pc.is_valid(rows), pc.is_valid(columns))
    np.add.at(table, (np.asarray(rows.filter(both)), np.asarray(columns.filter(both))), 1.0)
    return table


def ndcg_at_10(scores: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], excluded: np.ndarray[Any, Any]) -> float:
    rows = wanted.any(axis=1)
    best = np.argsort(-np.where(excluded, -np.inf, scores)[rows], axis=1, kind="stable")[:, :10]
    discount = 1 / np.log2(np.arange(2, 12))
    gained = (np.take_along_axis(wanted[rows], best, axis=1) * discount).sum(axis=1)
    ideal = np.cumsum(discount)[np.minimum(wanted[rows].sum(axis=1), 10) - 1]
    return float((gained / ideal).mean())


def test_names_tell_of_style_brand_and_category() -> None:
    table = small_shop().products(START)
    for row in table.to_pylist():
        assert row["name"].startswith(f"{row['brand']} ")
        assert any(row["name"].endswith(noun) for index in range(5) for noun in category_words(index).nouns)
    assert len({brand_name(index) for index in range(6000)}) == 6000
    assert len({category_words(index).name for index in range(100)}) == 100


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("days", 0),
        ("n_users", 0),
        ("n_products", 19),
        ("n_brands", 0),
        ("sessions_per_user_per_day", -0.1),
        ("views_per_session", 1.0),
        ("noise", 1.5),
        ("position_bias", float("nan")),
        ("episode_days", 0),
    ],
)
def test_a_setting_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"SyntheticShopConfig\.{field} .*got"):
        SyntheticShopConfig(**{field: value})
