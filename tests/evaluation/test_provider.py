"""Exposure of producers by hand, and group ratios beside fairlearn's own."""

import numpy as np
import pytest

from recsys_assets.evaluation.fairness import between_groups, fairness_gaps
from recsys_assets.evaluation.provider import distance, provider_exposure, providers_of
from recsys_assets.evaluation.segments import Segmentation, SegmentRules
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task
from tests.evaluation.helpers import END, START, catalogue, interactions, lists

PRODUCTS = catalogue(
    ["a", "b", "c", "d", "e"],
    brand=["North", "North", "South", None, "Unseen"],
    category=[None, None, None, " ", None],
)


def task() -> EvaluationTask:
    """Sales before the window: a 3, b 1, c 1, d 1; a view of c, which is not a sale; e was never seen."""
    past = [("u", p, "purchase", -2.0) for p in "aaabcd"] + [("u", "c", "view", -1.0)]
    return build_task(interactions([*past, ("u", "e", "purchase", 1.0)]), PRODUCTS, EvaluationWindow(START, END))


def test_exposure_beside_catalogue_and_sales_by_hand() -> None:
    asked = task()
    brand, popularity = providers_of(asked, PRODUCTS)
    assert (brand.dimension, popularity.dimension) == ("brand", "popularity")  # nobody has a category
    a, b, c, d = asked.products.indices(list("abcd")).tolist()
    found = provider_exposure(lists([a, b], [a, c], [a, -1]), brand)
    by_group = {share.group: share for share in found.shares}
    assert set(by_group) == {"North", "South", "(unknown)"}  # e was never seen and cannot be listed
    assert (by_group["North"].exposure, by_group["North"].catalogue) == pytest.approx((4 / 5, 2 / 4))
    assert (by_group["South"].sales, by_group["(unknown)"].sales) == pytest.approx((1 / 6, 1 / 6))
    assert found.from_catalogue == pytest.approx((abs(4 / 5 - 2 / 4) + abs(1 / 5 - 1 / 4) + 1 / 4) / 2)
    assert found.from_sales == pytest.approx((abs(4 / 5 - 4 / 6) + abs(1 / 5 - 1 / 6) + 1 / 6) / 2)
    # Amounts 0, 1/5, 4/5 of three groups: ((2-4) * 0 + (4-4) / 5 + (6-4) * 4/5) / 3.
    assert found.gini == pytest.approx((2 * 4 / 5) / 3)
    assert (found.groups, found.unexposed) == (3, 1)
    nothing = provider_exposure(lists([-1, -1]), brand)
    assert (nothing.from_catalogue, nothing.from_sales, nothing.gini) == (None, None, None)
    bands = provider_exposure(lists([a, d]), popularity)
    assert sum(share.catalogue for share in bands.shares) == pytest.approx(1)
    assert sum(share.products for share in bands.shares) == 4 and bands.gini is None


def test_without_a_catalogue_popularity_is_left() -> None:
    assert [division.dimension for division in providers_of(task(), None)] == ["popularity"]


def test_distance_is_the_share_that_would_change_hands() -> None:
    assert distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1
    assert distance(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.25)
    assert distance(np.zeros(2), np.array([1.0, 0.0])) is None


def test_ratios_by_hand_and_bounded() -> None:
    codes = np.repeat([0, 1], 60)
    values = np.concatenate([np.tile([1.0, 0.0], 30), np.tile([1.0, 0.0, 0.0, 0.0], 15)])
    (difference, ratio), (none, undefined) = between_groups(np.stack([values, np.zeros(120)], axis=1), codes)
    assert (difference, ratio) == pytest.approx((1 / 4, 1 / 2))
    assert none == 0 and np.isnan(undefined)
    names = Segmentation("gender", ("f", "m"), codes, demographic=True)
    measures = {"hit_rate": values, "recall": values, "tail_share": np.zeros(120)}
    hit, _, tail = fairness_gaps({"model": measures}, [names], SegmentRules(minimum_size=50))["model"]
    assert (hit.gap, hit.ratio) == pytest.approx((difference, ratio))
    assert hit.ratio_low is not None and hit.ratio_high is not None
    assert 0 < hit.ratio_low < 0.5 < hit.ratio_high < 1.2
    assert (tail.ratio, tail.ratio_low) == (None, None)
