"""Each drift changes what it says, as strongly as it says, and nothing before its first day."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets.ingest.synthetic import Drift, DriftKind, SyntheticShop, SyntheticShopConfig
from recsys_assets.ingest.synthetic.tracking import UNDEFINED
from tests.ingest.synthetic_shops import START, day_of, digest, events_of, noon, small_shop

BREAK = 20


def drifted(kind: DriftKind, strength: float, **changes: object) -> SyntheticShop:
    return small_shop(drift=(Drift(kind, day_of(BREAK), strength),), **changes)


@pytest.mark.parametrize("kind", DriftKind)
def test_nothing_changes_before_the_first_day(kind: DriftKind) -> None:
    steady, drifting = small_shop(), drifted(kind, 0.5)
    for offset in range(BREAK):
        assert digest(drifting.day_events(day_of(offset))) == digest(steady.day_events(day_of(offset)))
    eve = day_of(BREAK - 1)
    assert digest(drifting.users(eve)) == digest(steady.users(eve))
    assert digest(drifting.products(eve)) == digest(steady.products(eve))
    assert digest(drifting.day_events(day_of(BREAK))) != digest(steady.day_events(day_of(BREAK)))


def test_a_taste_shift_turns_what_shoppers_want_by_its_strength() -> None:
    def likeness(shop: SyntheticShop) -> float:
        """Mean correlation over shoppers between what they are likely to buy before and after."""
        users, products = shop._user_ids.to_pylist(), shop.products(day_of(0))
        on_sale = products.filter(products["available"])["product_id"].to_pylist()
        # Averaged over two months each, so that episodes of interest even out.
        before, after = (
            np.mean([shop.purchase_probability(users, on_sale, noon(o)) for o in offsets], axis=0)
            for offsets in (range(0, 60, 7), range(60, 120, 7))
        )
        rows = (before.std(axis=1) > 0) & (after.std(axis=1) > 0)
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(before[rows], after[rows], strict=True)]))

    lasting = {"product_lifetime_days": 36000, "restocking": 0.0}
    steady, *shifted = (
        likeness(small_shop(drift=drift, **lasting))
        for drift in ((), *((Drift(DriftKind.TASTE_SHIFT, day_of(60), strength),) for strength in (0.3, 1.0)))
    )
    assert steady > shifted[0] + 0.02 and shifted[0] > shifted[1] + 0.1


def test_a_catalogue_shift_replaces_its_share_of_the_shelf_on_its_day() -> None:
    strength = 0.4
    steady, shifted = small_shop(n_products=1000), drifted(DriftKind.CATALOGUE_SHIFT, strength, n_products=1000)
    day = day_of(BREAK).toordinal()
    before, after = shifted.world.shelf(day - 1), shifted.world.shelf(day)
    undisturbed = steady.world.shelf(day)
    new = (after >= 0) & (shifted.world.products.launch[after] == day)
    replaced = new.sum() - (steady.world.products.launch[undisturbed[undisturbed >= 0]] == day).sum()
    assert abs(replaced - 1000 * strength) < 4 * np.sqrt(1000 * strength * (1 - strength))
    gone = set(shifted._product_ids.take(pa.array(before[new & (before >= 0)])).to_pylist())
    later = set(events_of(shifted, BREAK, BREAK + 5)["product_id"].to_pylist())
    assert gone and not gone & later
    assert later & set(shifted._product_ids.take(pa.array(after[new])).to_pylist())
    style_before = shifted.world.products.style[before[new & (before >= 0)]].mean(axis=0)
    style_after = shifted.world.products.style[after[new]].mean(axis=0)
    assert np.linalg.norm(style_after - style_before) > 1


def test_a_price_shift_raises_every_price_and_sells_less() -> None:
    steady, shifted = small_shop(), drifted(DriftKind.PRICE_SHIFT, 1.0)
    day = day_of(BREAK)
    old, new = steady.products(day), shifted.products(day)
    ratio = np.asarray(new["price"]) / np.asarray(old["price"])
    np.testing.assert_allclose(ratio, 2.0, rtol=0.01)
    events = shifted.day_events(day)
    listed = dict(zip(new["product_id"].to_pylist(), new["price"].to_pylist(), strict=True))
    assert events["price"].to_pylist() == [listed[product] for product in events["product_id"].to_pylist()]
    on_sale = old.filter(old["available"])["product_id"].to_pylist()
    users = steady._user_ids.to_pylist()
    dearer = shifted.purchase_probability(users, on_sale, noon(BREAK)).sum()
    assert dearer < 0.8 * steady.purchase_probability(users, on_sale, noon(BREAK)).sum()


def test_a_tracking_bug_garbles_its_share_of_events_and_spares_the_rest() -> None:
    strength = 0.3
    steady, broken = small_shop(n_users=1000), drifted(DriftKind.TRACKING_BUG, strength, n_users=1000)
    clean, garbled = steady.day_events(day_of(BREAK)), broken.day_events(day_of(BREAK))
    signs = {
        "user_id": pc.is_null(garbled["user_id"]),
        "product_id": pc.equal(garbled["product_id"], UNDEFINED),
        "interaction_type": pc.equal(garbled["interaction_type"], UNDEFINED),
        "price": pc.less(garbled["price"], 0.0),
    }
    share = strength / 5 * clean.num_rows
    for sign in signs.values():
        assert abs(pc.sum(pc.fill_null(sign, False)).as_py() - share) < 5 * np.sqrt(share)
    assert abs(garbled.num_rows - clean.num_rows - share) < 5 * np.sqrt(share)
    damaged = pa.array(np.any([np.asarray(pc.fill_null(sign, False)) for sign in signs.values()], axis=0))
    spared = garbled.filter(pc.invert(damaged)).to_pylist()
    truth = {row["interaction_id"]: row for row in clean.to_pylist()}
    assert all(truth[row["interaction_id"]] == row for row in spared)
    assert set(garbled["interaction_id"].to_pylist()) == set(truth), "no event is dropped"


def test_a_tracking_bug_does_not_change_the_truth() -> None:
    steady, broken = small_shop(), drifted(DriftKind.TRACKING_BUG, 1.0)
    users, products = steady._user_ids.to_pylist(), steady._product_ids.to_pylist()
    assert (
        steady.purchase_probability(users, products, noon(BREAK))
        == broken.purchase_probability(users, products, noon(BREAK))
    ).all()


def test_two_drifts_of_one_kind_add_up() -> None:
    twice = (Drift(DriftKind.PRICE_SHIFT, day_of(9), 0.1), Drift(DriftKind.PRICE_SHIFT, day_of(5), 0.5))
    shop = small_shop(drift=twice)
    levels = [shop.world.price_level(day_of(offset).toordinal()) for offset in (4, 5, 8, 9)]
    np.testing.assert_allclose(levels, [1, 3 / 2, 3 / 2, 33 / 20])


def test_a_drift_before_the_shop_opens_or_without_strength_is_refused() -> None:
    with pytest.raises(ValueError, match=r"SyntheticShopConfig\.drift"):
        SyntheticShopConfig(start=START, drift=(Drift(DriftKind.PRICE_SHIFT, START - timedelta(days=1)),))
    for strength in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"Drift\.strength"):
            Drift(DriftKind.PRICE_SHIFT, START, strength)
