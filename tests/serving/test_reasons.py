"""A reason that names a product is true: take the product out of the history and the score falls."""

from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.bundle import KINDS
from lambda_api.recommender.contract import ScoreArray
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.serving.engine import Engine
from lambda_api.serving.question import PageContext, Question, RankedItem
from tests.serving.learned_shops import MODELS, NOW, catalogue, learned, question, shopper_events

DAY = 86_400
VIEW, CART, PURCHASE = InteractionType.VIEW, InteractionType.ADD_TO_CART, InteractionType.PURCHASE
SILENT = {"popularity", "ncf", "two_tower"}
"""Models whose scores no single event can be shown to move."""

each_model = pytest.mark.parametrize("name", MODELS)


@lru_cache
def engine(name: str) -> Engine:
    return Engine(learned(name), catalogue())


def score_without(name: str, asked: Question, product_id: str, removed: str) -> float | None:
    """The score with every event of ``removed`` left out, straight from the model; ``None``: it knows nobody."""
    model = learned(name)
    events = [event for event in asked.events if event.product_id != removed]
    history = Histories.from_events([events], asked.now, model.products, [asked.user_id])
    if not model.knows(history).any():
        return None
    return float(model.score_all(history)[0, model.products.indices([product_id])[0]])


def require_true(name: str, asked: Question, item: RankedItem) -> None:
    named = item.reason.product_id
    assert named in {event.product_id for event in asked.events}
    without = score_without(name, asked, item.product_id, named)
    assert without is None or without < item.score


def test_every_kind_is_asked() -> None:
    assert {learned(name).kind for name in MODELS} == set(KINDS)


@each_model
@pytest.mark.parametrize("exclude_purchased", [True, False])
def test_without_the_named_event_the_score_falls(name: str, exclude_purchased: bool) -> None:
    named = shown = 0
    for user in range(0, 60, 3):
        asked = question(f"u{user}", exclude_purchased=exclude_purchased)
        for item in engine(name).answer(asked).items:
            shown += 1
            if item.reason.product_id is not None:
                named += 1
                require_true(name, asked, item)
    assert shown == 200
    assert (named == 0) if name in SILENT else (named > shown / 2), f"{named} of {shown} reasons name a product"


@each_model
def test_one_reason_is_given_to_a_third_of_a_list(name: str) -> None:
    """Beside the last resort of a list, which nothing else is true of."""
    for user in range(0, 60, 3):
        items = engine(name).answer(question(f"u{user}", k=12, exclude_purchased=False)).items
        named = Counter(
            item.reason.product_id for item in items if item.reason.product_id not in (None, item.product_id)
        )
        assert all(count <= 4 for count in named.values())
        if name not in SILENT and len(items) == 12:
            general = Counter(item.reason for item in items if item.reason.product_id is None)
            assert all(count <= 4 for reason, count in general.items() if reason.code == "popular_in_category")


histories = st.lists(
    st.tuples(st.integers(0, 95), st.sampled_from(list(InteractionType)), st.integers(0, 90 * DAY)), max_size=12
)


@each_model
@settings(max_examples=12)
@given(rows=histories)
def test_no_history_makes_a_reason_lie(name: str, rows: list[tuple[int, InteractionType, int]]) -> None:
    events = tuple(Event(f"p{product}", kind, NOW - age) for product, kind, age in rows)
    asked = question("stranger", events=events, k=6, exclude_purchased=False)
    for item in engine(name).answer(asked).items:
        if item.reason.product_id is not None:
            require_true(name, asked, item)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in SILENT])
def test_a_first_click_makes_the_list_personal_and_is_named(name: str) -> None:
    asked = question("never seen", events=(Event("p40", VIEW, NOW - 5),))
    ranking = engine(name).answer(asked)
    assert ranking.personal
    assert ranking.stage == "ranked"
    reasons = {item.reason.text for item in ranking.items if item.reason.code == "viewed"}
    assert reasons == {"Because you viewed taste3 thing40"} or reasons == {
        "Because you viewed taste3 thing40",
        "You had a look at this",
    }
    stranger = engine(name).answer(question("never seen", events=()))
    assert not stranger.personal
    assert stranger.stage == "popular"
    assert {item.reason.code for item in stranger.items} <= {"popular", "popular_in_category"}


class Boaster(ItemToItemRecommender):
    """Says that the first product of the shopper's past moved every score, whatever the weights."""

    def contributions(
        self, history: Histories, products: IndexArray, scores: ScoreArray | None = None
    ) -> tuple[IndexArray, np.ndarray]:
        past, parts = super().contributions(history, products)
        parts = np.zeros_like(parts)
        parts[:, 0] = 1.0
        return past, parts


def test_what_a_model_claims_is_checked_before_it_is_said() -> None:
    honest = learned("item_knn")
    assert isinstance(honest, ItemToItemRecommender)
    boaster = Boaster(honest.products, honest.popularity, honest.weights, honest.weighting, honest.prior)
    asked = question("u7")
    for item in Engine(boaster, catalogue()).answer(asked).items:
        if item.reason.product_id is not None:
            require_true("item_knn", asked, item)


def test_the_words_fit_what_the_shopper_did() -> None:
    knn = engine("item_knn")
    product = knn.answer(question("u0")).items[0].reason.product_id
    assert product is not None
    name = f"taste{int(product[1:]) // 12} thing{product[1:]}"
    words = {
        VIEW: ("viewed", f"Because you viewed {name}"),
        CART: ("carted", f"Because you put {name} in your cart"),
        PURCHASE: ("bought", f"Because you bought {name}"),
        InteractionType.RATING: ("viewed", f"Because you rated {name}"),
    }
    for kind, (code, text) in words.items():
        asked = question("new", events=(Event(product, kind, NOW - 9),), exclude_product_ids=(product,))
        reason = knn.answer(asked).items[0].reason
        assert (reason.code, reason.text, reason.product_id) == (code, text, product)


def test_what_is_bought_again_and_again_says_so() -> None:
    again = [Event("p40", PURCHASE, NOW - days * DAY) for days in (30, 20, 10)]
    expected = {"You buy this regularly": again, "You bought this before": again[-1:]}
    for text, events in expected.items():
        asked = question("new", events=tuple(events), exclude_purchased=False)
        items = engine("item_knn").answer(asked).items
        reasons = [item.reason for item in items if item.product_id == "p40"]
        assert [(reason.code, reason.text) for reason in reasons] == [("buy_again", text)]


def test_popular_is_said_of_what_is_popular() -> None:
    model, columns = learned("item_knn"), engine("item_knn").columns
    for item in engine("item_knn").answer(question("nobody", events=(), k=40)).items:
        index = int(model.products.indices([item.product_id])[0])
        assert item.reason.product_id is None
        if item.reason.code == "popular_in_category":
            rivals = model.popularity[columns.category == columns.category[index]]
            assert (rivals > model.popularity[index]).sum() < 20
            assert item.reason.text == f"Popular in {columns.category_names[columns.category[index]]}"
        else:
            assert item.reason.code == "popular"


def test_this_week_is_said_only_within_a_week_of_the_facts() -> None:
    def said(now: int) -> bool:
        items = engine("hybrid").answer(replace(question("nobody", events=()), now=now)).items
        return any("this week" in item.reason.text for item in items)

    assert said(NOW)
    assert not said(NOW + 8 * DAY)


def test_explanations_name_the_past_and_only_when_asked() -> None:
    asked = question("u3", explain=True)
    past = {event.product_id for event in shopper_events("u3")}
    for item in engine("item_knn").answer(asked).items:
        weights = [weight for _, weight in item.explanation]
        assert weights == sorted(weights, reverse=True)
        assert {product for product, _ in item.explanation} <= past
        assert 0 < len(weights) <= 5
    assert all(not item.explanation for item in engine("item_knn").answer(replace(asked, explain=False)).items)


def paired(*pairs: tuple[str, str]) -> Engine:
    """The shop with companions: for each first product the second."""
    known = catalogue()
    companions = np.full((len(known), 3), -1, dtype=np.int32)
    for own, other in pairs:
        companions[known.products.indices([own])[0], 0] = known.products.indices([other])[0]
    return Engine(learned("item_knn"), known.with_companions(companions))


def test_bought_together_is_said_of_companions_and_moves_the_score() -> None:
    home = PageContext()

    def asked(kind: InteractionType, page: PageContext = home) -> Question:
        events = (Event("p40", kind, NOW - 9),)
        return question("new", events=events, exclude_product_ids=("p40",), context=page)

    shown = engine("item_knn").answer(asked(PURCHASE)).items[0].product_id
    shop = paired(("p40", shown))
    for kind, page, expected in [
        (PURCHASE, PageContext(), "bought_together"),
        (CART, PageContext(), "bought_together"),
        (VIEW, PageContext(), "viewed"),
        (VIEW, PageContext("category", category="c1"), "viewed"),
        (VIEW, PageContext("product", ("p41",)), "viewed"),
        (VIEW, PageContext("product", ("p40",)), "bought_together"),
        (VIEW, PageContext("cart", ("p40",)), "bought_together"),
    ]:
        items = shop.answer(asked(kind, page)).items
        reasons = {item.product_id: item.reason for item in items if item.reason.product_id == "p40"}
        if shown in reasons:
            assert reasons.pop(shown).code == expected, (kind, page)
        else:
            assert page.category or page.product_ids == ("p41",)
        assert "bought_together" not in {reason.code for reason in reasons.values()}
    first = shop.answer(asked(PURCHASE)).items[0]
    assert (first.reason.text, first.reason.product_id) == ("Bought together with taste3 thing40", "p40")
    require_true("item_knn", asked(PURCHASE), first)
    # Companions one way are not companions the other way.
    other = paired((shown, "p40")).answer(asked(PURCHASE)).items[0]
    assert (other.product_id, other.reason.code) == (shown, "bought")


def test_every_bought_together_of_a_shop_is_true() -> None:
    known = catalogue()
    places = np.arange(len(known), dtype=np.int32)
    everything = np.array([np.roll(places, -place - 1) for place in places])[:, : len(known) - 1]
    shop, said = Engine(learned("ease"), known.with_companions(everything)), 0
    for user in range(0, 30, 3):
        asked = question(f"u{user}")
        for item in shop.answer(asked).items:
            if item.reason.code == "bought_together":
                said += 1
                require_true("ease", asked, item)
    assert said > 20
