"""What trainers refuse, and what their formulas give on numbers small enough to check by hand."""

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lambda_api.interactions import InteractionType
from recsys_assets.models.content import Content
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ease import Ease
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.matrix_factorisation import MatrixFactorisation
from recsys_assets.models.popularity import Popularity, decayed_popularity, trend
from recsys_assets.models.zoo import TRAINERS, make_trainer
from recsys_assets.schema import INTERACTIONS, PRODUCTS

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)


def shop(rows: list[tuple[str, str, str, float]], catalogue: Mapping[str, list[Any]] | None = None) -> TrainingData:
    """Rows of (user, product, type, days before `AS_OF`)."""
    interactions = pa.table(
        {
            "interaction_id": pa.array([str(row) for row in range(len(rows))], pa.string()),
            "user_id": pa.array([row[0] for row in rows], pa.string()),
            "product_id": pa.array([row[1] for row in rows], pa.string()),
            "interaction_type": pa.array([row[2] for row in rows], pa.string()),
            "timestamp": pa.array([AS_OF - timedelta(days=row[3]) for row in rows], pa.timestamp("us", tz="UTC")),
        }
    )
    products = pa.table(dict(catalogue or {"product_id": ["a", "b", "c"]}))
    return TrainingData.from_tables(INTERACTIONS.conform(interactions), PRODUCTS.conform(products), as_of=AS_OF)


def by_product(data: TrainingData, values: np.ndarray) -> dict[str, float]:
    return dict(zip(data.products.external(np.arange(len(data.products))), values.tolist(), strict=True))


SALES = [
    ("u", "a", "purchase", 1.0),
    ("u", "a", "view", 1.0),
    ("v", "a", "purchase", 14.0),
    ("v", "b", "add_to_cart", 7.0),
    ("w", "b", "view", 21.0),
]


def test_confidence_of_old_pairs_by_hand() -> None:
    """``(1 + alpha * profile)``, halved for every week since the pair's newest event; the profile counts back from the
    shopper's own newest one."""
    data = shop([*SALES, ("w", "b", "purchase", 28.0), ("x", "c", "view", 10_000.0)])
    weights = {"view": 1.0, "add_to_cart": 2.0, "purchase": 4.0}
    trainer = MatrixFactorisation(alpha=8.0, half_life_days=7.0, event_half_life_days=7.0, type_weights=weights)
    half = Fraction(1, 2)
    expected = {
        ("u", "a"): (1 + 8) * half ** Fraction(1, 7),
        ("v", "a"): (1 + 8 * half) * half**2,
        ("v", "b"): (1 + 8 * Fraction(2, 4)) * half,
        ("w", "b"): (1 + 8 * half) * half**3,
        ("x", "c"): (1 + 8 * Fraction(1, 4)) * Fraction(1, 10**6),
    }
    found = trainer.confidences(data).todok()
    named = {(data.users.external([u])[0], data.products.external([p])[0]): value for (u, p), value in found.items()}
    assert named == pytest.approx({pair: float(value) for pair, value in expected.items()}, rel=1e-6)
    plain = MatrixFactorisation(alpha=8.0, half_life_days=7.0, event_half_life_days=None, type_weights=weights)
    assert plain.confidences(data).data.min() >= 1


def test_factors_follow_what_goes_together_now() -> None:
    """a went with b a year ago and goes with c today; every pair was bought by as many shoppers as often."""
    rows = [(f"{day}-{shopper}", product, "purchase", float(day) + shopper / 10)
            for day, pair in ((365, "ab"), (3, "ac")) for shopper in range(9) for product in pair]  # fmt: skip
    data = shop(rows)
    a, b, c = data.products.indices(["a", "b", "c"]).tolist()
    options = {"factors": 2, "regularisation": 0.1, "alpha": 5.0}

    def scores(half_life: float | None) -> np.ndarray:
        model = MatrixFactorisation(event_half_life_days=half_life, **options).fit(data)
        newcomer = shop([("new", "a", "purchase", 1.0)]).histories()
        return np.asarray(model.score_all(newcomer)[0])

    faded, plain = scores(30.0), scores(None)
    assert faded[c] > 2 * faded[b]
    assert plain[c] == pytest.approx(plain[b], rel=0.2)
    assert min(faded[a], plain[a]) > 0


def test_popularity_by_hand() -> None:
    data = shop([(user, product, kind, days if days != 1.0 else 7.0) for user, product, kind, days in SALES])
    model = Popularity(half_life_days=7.0, type_weights={"view": 1.0, "add_to_cart": 2.0, "purchase": 4.0}).fit(data)
    half = Fraction(1, 2)
    expected = {"a": 4 * half + 1 * half + 4 * half**2, "b": 2 * half + 1 * half**3, "c": Fraction(0)}
    assert by_product(data, model.popularity) == {name: float(value) for name, value in expected.items()}
    counted = Popularity(half_life_days=None, type_weights={"purchase": 1.0}).fit(data)
    assert by_product(data, counted.popularity) == {"a": 2, "b": 0, "c": 0}


def test_trend_by_hand() -> None:
    data = shop(SALES)
    weights = {InteractionType.VIEW: 1.0, InteractionType.ADD_TO_CART: 2.0, InteractionType.PURCHASE: 4.0}
    found = by_product(data, trend(data, weights, days=7.0, power=0.5))
    a, b = (1 + 1 + 1 / 4) ** 0.5, (1 + 1 / 2) ** 0.5
    assert found == pytest.approx({"a": a, "b": b, "c": (a + b) / 2})
    assert by_product(data, decayed_popularity(data, weights, None)) == {"a": 9, "b": 3, "c": 0}


def test_cosine_neighbours_by_hand() -> None:
    data = shop(
        [("u", "a", "purchase", 1), ("u", "b", "purchase", 2), ("v", "a", "purchase", 3), ("v", "b", "view", 1)]
    )
    model = ItemKnn(scheme="cosine", type_weights={"purchase": 1.0}, trend_power=0.0).fit(data)
    a, b, c = data.products.indices(["a", "b", "c"])
    rows = model.weights.rows(np.arange(3, dtype=np.int32))
    assert rows[a, b] == rows[b, a] == pytest.approx(1 / np.sqrt(2))
    assert rows[a, a] == rows[b, b] == pytest.approx(1.0)
    assert rows[c].tolist() == [0, 0, 0]


def test_ease_says_how_much_memory_it_needs() -> None:
    rows = [(f"u{index % 7}", f"p{index}", "view", 1.0) for index in range(1000)]
    data = shop(rows, {"product_id": [f"p{index}" for index in range(2000)]})
    with pytest.raises(ValueError, match=r"ease would need 0\.0 GB for 1,000 products .*\(of 2,000\).*top_neighbours"):
        Ease(max_memory_gb=0.03).fit(data)
    assert len(Ease(max_memory_gb=0.03, top_neighbours=5).fit(data).products) == 2000


def test_ease_of_a_large_shop_is_that_of_its_busiest_products() -> None:
    generator = np.random.default_rng(3)
    popularity = 1.0 / np.arange(1, 31)
    rows = [
        (f"u{user}", f"p{product}", "view", float(product))
        for user in range(60)
        for product in generator.choice(30, size=6, replace=False, p=popularity / popularity.sum())
    ]
    data = shop(rows, {"product_id": [f"p{index}" for index in range(40)]})
    shoppers = np.bincount(data.product, minlength=40)
    busiest = np.argsort(-shoppers, kind="stable")[:10]
    names = data.products.external(busiest)
    small = shop([row for row in rows if row[1] in names], {"product_id": names})
    options = {"trend_power": 0.0, "half_life_days": None}
    of_large, of_small = Ease(max_products=10, **options).fit(data), Ease(**options).fit(small)
    place = data.products.indices(small.products.external(np.arange(10)))
    found = of_large.weights.rows(place)
    expected = of_small.weights.rows(np.arange(10, dtype=np.int32))
    np.testing.assert_allclose(found[:, place], np.maximum(expected, 0.0), atol=1e-6)
    assert not found[:, np.setdiff1d(np.arange(40), place)].any()


def test_content_works_on_a_shop_that_never_sold_anything() -> None:
    data = shop(
        [],
        {
            "product_id": ["a", "b", "c", "d", "e"],
            "name": ["Blue Café mug", "blue cafe cup", "green sofa", None, "--"],
            "category": ["kitchen", "kitchen", "living", None, None],
            "brand": ["x", None, "x", None, None],
            "price": [4.0, 5.0, 400.0, None, 0.0],
        },
    )
    model = Content().fit(data)
    a, b, c, d, e = data.products.indices(["a", "b", "c", "d", "e"])
    similar = model.similar_items(np.array([a, d, e], dtype=np.int32), 4).products
    assert similar[0].tolist() == [b, c, -1, -1]
    assert similar[1:].tolist() == [[-1] * 4] * 2
    assert (model.popularity == 0).all()


def test_content_price_similarity_falls_with_distance() -> None:
    prices = [1.0, 2.0, 4.0, 8.0, 16.0, None]
    names = [f"p{index}" for index in range(6)]
    data = shop([], {"product_id": names, "price": prices})
    vectors = Content().vectors(data.catalogue.take(pa.array(data.products.indices(names)))).toarray()
    similarity = vectors @ vectors.T
    assert (np.diff(similarity[0, :5]) < 0).all()
    assert np.diag(similarity).tolist() == pytest.approx([1, 1, 1, 1, 1, 0])


def test_content_needs_something_to_compare() -> None:
    with pytest.raises(ValueError, match="none of 3 products has a name"):
        Content().fit(shop(SALES))
    with pytest.raises(ValueError, match="at least one of name_weight"):
        Content(name_weight=0.0, category_weight=0.0, brand_weight=0.0, price_weight=0.0)


@pytest.mark.parametrize("name", [name for name in TRAINERS if name != "content"])
@pytest.mark.parametrize("rows", [[], [("u", "a", "view", 1.0)]], ids=["no interactions", "unweighted type only"])
def test_nothing_to_learn_from_is_an_error(name: str, rows: list[tuple[str, str, str, float]]) -> None:
    with pytest.raises(ValueError, match=f"{name} has nothing to learn from: none of {len(rows)} interactions"):
        make_trainer(name, {"type_weights": {"purchase": 1.0}}).fit(shop(rows))


BAD = [
    ("popularity", {"half_life_days": 0}, "half_life_days"),
    ("popularity", {"half_life_days": float("nan")}, "half_life_days"),
    ("popularity", {"type_weights": {"buy": 1.0}}, "unknown interaction type 'buy'"),
    ("popularity", {"type_weights": {"view": -1.0}}, "type_weights"),
    ("popularity", {"type_weights": {}}, "at least one"),
    ("item_knn", {"scheme": "jaccard"}, "scheme"),
    ("item_knn", {"neighbours": 0}, "neighbours"),
    ("item_knn", {"neighbours": 2.5}, "neighbours"),
    ("item_knn", {"b": 1.5}, r"b must be less than or equal to 1, not 1\.5"),
    ("item_knn", {"k1": -1}, "k1"),
    ("item_knn", {"step_decay": 2}, "step_decay"),
    ("item_knn", {"trend_power": -0.1}, "trend_power"),
    ("ease", {"l2": 0}, "l2"),
    ("ease", {"top_neighbours": 0}, "top_neighbours"),
    ("ease", {"half_life_days": "long"}, "half_life_days"),
    ("matrix_factorisation", {"factors": True}, "factors"),
    ("matrix_factorisation", {"seed": -1}, "seed"),
    ("matrix_factorisation", {"event_half_life_days": 0.0}, "event_half_life_days"),
    ("matrix_factorisation", {"combine": "mean"}, "combine"),
    ("matrix_factorisation", {"alpha": None}, "alpha must be a valid number, not None"),
    ("content", {"price_weight": -1}, "price_weight"),
    ("ease", {"lambda": 3}, "ease has no parameter lambda; it has: .*, l2,"),
    ("svd", {}, "unknown model 'svd'; expected one of: popularity, item_knn,"),
]


@pytest.mark.parametrize(("name", "parameters", "message"), BAD)
def test_values_out_of_range_are_named(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(name, parameters)


def test_naming_models_loads_nothing_heavy() -> None:
    code = (
        "import sys; from recsys_assets.models.zoo import TRAINERS; [TRAINERS[name] for name in TRAINERS];"
        "print(sorted({'torch', 'sklearn', 'implicit', 'great_expectations', 'dagster'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
