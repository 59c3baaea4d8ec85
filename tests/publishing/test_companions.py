"""Companions are what a count by hand over all baskets says, whatever the baskets."""

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.recommender.ids import IdMap
from recsys_assets.lake import Lake
from recsys_assets.publishing import companions
from recsys_assets.publishing.catalogue import build_catalogue
from recsys_assets.publishing.companions import MAX_COMPANIONS, MIN_SHARED_BASKETS, companions_of
from tests.publishing.shops import Touch, ago, listed, write_log, write_products


def by_hand(log: list[Touch], products: IdMap, most_lines: int) -> list[list[int]]:
    baskets: dict[object, set[int]] = defaultdict(set)
    for user, product, kind, moment in log:
        if kind == "purchase":
            baskets[user, moment.date()].add(int(products.indices([product])[0]))
    kept = [basket for basket in baskets.values() if len(basket) <= most_lines]
    bought = Counter(place for basket in kept for place in basket)
    both = Counter(pair for basket in kept for pair in permutations(basket, 2))
    rows = []
    for place in range(len(products)):
        found = [
            (-Fraction(count * count, bought[place] * bought[other]), -count, other)
            for (own, other), count in both.items()
            if own == place and count >= MIN_SHARED_BASKETS and count * len(kept) > bought[place] * bought[other]
        ]
        rows.append([other for _, _, other in sorted(found)][:MAX_COMPANIONS])
    return rows


lines = st.tuples(
    st.sampled_from(["u0", "u1", "u2", "u3"]),
    st.integers(0, 13).map(lambda product: f"p{product}"),
    st.sampled_from(["purchase"] * 6 + ["view", "add_to_cart"]),
    st.builds(ago, st.integers(0, 5), st.sampled_from([1.0, 40_000.0, 86_400.0])),
)


@settings(max_examples=25, deadline=None)
@given(log=st.lists(lines, min_size=1, max_size=250), most_lines=st.sampled_from([4, 100]))
def test_companions_are_those_counted_by_hand(
    log: list[Touch], most_lines: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    write_log(lake, log)
    products = IdMap.from_ids(product for _, product, _, _ in log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(companions, "MAX_BASKET_PRODUCTS", most_lines)
        found = companions_of(lake, products)
    assert found.shape == (len(products), MAX_COMPANIONS) and found.dtype == np.int32
    for row, expected in zip(found.tolist(), by_hand(log, products, most_lines), strict=True):
        assert row == expected + [-1] * (MAX_COMPANIONS - len(expected))


def test_a_pair_beats_a_bestseller_and_chance_makes_none(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    # Everybody buys milk; pen and ink go together.
    log = [(f"u{n}", "milk", "purchase", ago(1)) for n in range(20)]
    log += [(f"u{n}", product, "purchase", ago(1)) for n in range(8) for product in ("pen", "ink")]
    log += [(f"v{n}", "tea", "purchase", ago(1)) for n in range(20)]
    log += [(f"w{n}", f"bulk{product}", "purchase", ago(1)) for n in range(4) for product in range(101)]
    write_log(lake, log)
    write_products(lake, listed("never"))
    made = build_catalogue(lake)

    def named(product: str) -> list[str]:
        row = made.companions[made.products.indices([product])[0]]
        return made.products.external(row[row >= 0])

    assert named("pen") == ["ink", "milk"] and named("ink") == ["pen", "milk"]
    assert set(named("milk")) == {"ink", "pen"}
    assert named("tea") == named("never") == named("bulk0") == []
