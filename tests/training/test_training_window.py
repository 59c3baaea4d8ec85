"""The catalogue as known at a moment."""

from statistics import median

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from recsys_assets.schema import PRODUCTS
from recsys_assets.training.training_window import known_catalogue

CATALOGUE = PRODUCTS.conform(
    pa.table({"product_id": ["a", "b", "c", "d"], "name": list("ABCD"), "price": [9.0, 8.0, None, 7.0]})
)
PRICES = st.one_of(st.none(), st.sampled_from([0.5, 1.25, 3.0, 19.99]))


def _catalogue(paid: list[tuple[str, float | None]], later: list[str]) -> dict[str, float | None]:
    columns = {
        "product_id": pa.array([product for product, _ in paid], pa.string()),
        "price": pa.array([price for _, price in paid], pa.float64()),
    }
    found = known_catalogue(CATALOGUE, pa.table(columns), pa.chunked_array([later], pa.string()))
    return dict(zip(found["product_id"].to_pylist(), found["price"].to_pylist(), strict=True))


@given(paid=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), PRICES), max_size=30))
def test_a_price_is_the_median_of_those_paid_before(paid: list[tuple[str, float | None]]) -> None:
    found = _catalogue(paid, [])
    for product, listed in (("a", 9.0), ("b", 8.0), ("c", None), ("d", 7.0)):
        before = [price for sold, price in paid if sold == product and price is not None]
        assert found[product] == (median(before) if before else listed)


def test_products_first_sold_later_are_unknown() -> None:
    assert set(_catalogue([("a", 1.0)], ["a", "b"])) == {"a", "c", "d"}
