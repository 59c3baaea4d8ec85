"""Limits per category: by hand, and as properties of any list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.recommender.two_stage.breadth import (
    FREE_AFTER_ONE_CLICK,
    FREE_PLACES,
    ONE_CLICK_SHARE,
    broad,
    shares_of_single_clicks,
)

codes = st.lists(st.integers(-1, 4), max_size=40)


def test_by_hand() -> None:
    one_category = [0] * 10 + [1, 2, 1, 2, 1, 2, 1, 2]
    assert broad(one_category, {}, 1.0, 12) == list(range(12))
    # Three are free; category 0 has its fourth place at the seventh of the list (0.6 * 7 = 4.2), then at the ninth.
    assert broad(one_category, {}, 0.6, 10) == [0, 1, 2, 10, 11, 12, 3, 13, 4, 5]
    assert broad(one_category, {0: 0.2}, 0.6, 12) == [0, 1, 10, 11, 12, 13, 14, 15, 16, 17, 2, 3], "these fill the list"
    assert broad([-1] * 8, {}, 0.1, 8) == list(range(8)), "what has no category is not limited"
    assert broad([0] * 8, {}, 0.1, 6) == list(range(6)), "nothing else is there"
    assert broad([], {}, 0.5, 3) == []


@given(categories=codes, share=st.floats(0.05, 1.0), own=st.dictionaries(st.integers(0, 4), st.floats(0.05, 1.0)))
def test_any_list(categories: list[int], share: float, own: dict[int, float]) -> None:

    def most(code: int, place: int) -> int:
        free = FREE_AFTER_ONE_CLICK if code in own else FREE_PLACES
        return max(free, int(own.get(code, share) * (place + 1)))

    whole = broad(categories, own, share, len(categories))
    assert sorted(whole) == list(range(len(categories))), "nothing is lost or listed twice"
    for count in range(len(categories)):
        assert broad(categories, own, share, count) == whole[:count]
    for code in set(categories):
        assert [at for at in whole if categories[at] == code] == [at for at, of in enumerate(categories) if of == code]
    for place, at in enumerate(whole):
        code = categories[at]
        held = sum(categories[other] == code for other in whole[: place + 1])
        if code < 0 or held <= most(code, place):
            continue
        # Over the limit only where every product that is left is over its own.
        for other in whole[place:]:
            left = categories[other]
            before = sum(categories[one] == left for one in whole[:place])
            assert left >= 0 and before >= most(left, place)


def test_single_clicks_of_a_session() -> None:
    categories = np.array([1, 1, 2, 3, 0, 2, 2, -1, 1], dtype=np.int32)
    inside = np.array([False] * 4 + [True] * 5)
    shares = shares_of_single_clicks(categories, inside, 0.6)
    assert shares == {0: pytest.approx(ONE_CLICK_SHARE + 1 / 9), 1: pytest.approx(ONE_CLICK_SHARE + 3 / 9)}
    assert shares_of_single_clicks(np.array([4, 4, 4, 4], dtype=np.int32), np.arange(4) == 3, 0.6) == {4: 0.6}
    assert shares_of_single_clicks(np.array([-1], dtype=np.int32), np.ones(1, dtype=bool), 0.6) == {}
