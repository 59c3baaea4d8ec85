"""The engine keeps every promise of a question: exclusions, filters, pages, rules, and the same list every time."""

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.catalogue import Catalogue
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.two_stage.breadth import FREE_PLACES
from lambda_api.recommender.two_stage.ranker import Ranker
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.serving.engine import Engine
from lambda_api.serving.question import Filters, ListRules, PageContext, Question, Ranking, UnknownProduct
from tests.serving.learned_shops import MODELS, NOW, catalogue, learned, question

VIEW, PURCHASE = InteractionType.VIEW, InteractionType.PURCHASE
each_model = pytest.mark.parametrize("name", MODELS)


@lru_cache
def engine(name: str = "item_knn") -> Engine:
    return Engine(learned(name), catalogue())


def ids(ranking: Ranking) -> list[str]:
    return [item.product_id for item in ranking.items]


def by_hand(name: str, asked: Question, keep: list[str]) -> tuple[list[str], list[float]]:
    """The model's own list over the products that may be shown."""
    model = learned(name)
    history = Histories.from_events([asked.events], asked.now, model.products, [asked.user_id])
    allowed = np.sort(model.products.indices(keep))
    found = model.recommend(history, asked.k, exclude=Ragged.from_rows([[]]), candidates=allowed)
    usable = found.products[0] >= 0
    return model.products.external(found.products[0][usable]), found.scores[0][usable].tolist()


def may_be_shown(asked: Question) -> list[str]:
    """Ids that pass the question's filters and exclusions, one product at a time."""
    kept = []
    bought = {event.product_id for event in asked.events if event.interaction_type == PURCHASE}
    for product_id in catalogue().products.external(np.arange(len(catalogue()))):
        card = catalogue().card(product_id)
        assert card is not None
        filters = asked.filters
        wrong = (
            (filters.available_only and not card.available)
            or (filters.categories and card.category not in filters.categories)
            or (filters.brands and card.brand not in filters.brands)
            or (filters.min_price is not None and (card.price is None or card.price < filters.min_price))
            or (filters.max_price is not None and (card.price is None or card.price > filters.max_price))
            or product_id in asked.exclude_product_ids
            or (asked.exclude_purchased and product_id in bought)
        )
        if not wrong:
            kept.append(product_id)
    return kept


some_filters = st.builds(
    Filters,
    categories=st.lists(st.sampled_from(["c0", "c1", "c2", "c3", "nothing"]), max_size=3).map(tuple),
    brands=st.lists(st.sampled_from(["b0", "b1", "b2", "nobody"]), max_size=2).map(tuple),
    min_price=st.none() | st.sampled_from([0.0, 2.0, 3.5]),
    max_price=st.none() | st.sampled_from([2.0, 5.0]),
    available_only=st.booleans(),
)


@each_model
@settings(max_examples=10)
@given(
    user=st.integers(0, 239),
    filters=some_filters,
    excluded=st.lists(st.integers(0, 100).map(lambda number: f"p{number}"), max_size=5).map(tuple),
    exclude_purchased=st.booleans(),
    k=st.integers(1, 100),
)
def test_a_plain_list_is_the_models_own_over_what_may_be_shown(
    name: str, user: int, filters: Filters, excluded: tuple[str, ...], exclude_purchased: bool, k: int
) -> None:
    asked = question(
        f"u{user}",
        k,
        filters=filters,
        exclude_product_ids=excluded,
        exclude_purchased=exclude_purchased,
        include_products=True,
    )
    ranking = engine(name).answer(asked)
    products, scores = by_hand(name, asked, may_be_shown(asked))
    assert ids(ranking) == products
    assert [item.score for item in ranking.items] == pytest.approx(scores)
    assert all(item.propensity is None for item in ranking.items)
    assert all(item.product == catalogue().card(item.product_id) for item in ranking.items)


@each_model
def test_an_answer_travels_as_json(name: str) -> None:
    asked = question("u5", explain=True, include_products=True, explore=0.3, diversity=0.4, seed="x")
    ranking = engine(name).answer(asked)
    assert Ranking.from_json(json.loads(json.dumps(ranking.to_json()))) == ranking
    assert Question.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    assert engine(name).answer(Question.from_json(asked.to_json())) == ranking


@pytest.mark.parametrize(("page", "kind"), [("product", VIEW), ("cart", InteractionType.ADD_TO_CART)])
def test_the_page_counts_as_an_event_and_is_not_listed(page: str, kind: InteractionType) -> None:
    context = PageContext(page, ("p13", "p14", "p14", "unheard of"))  # type: ignore[arg-type]
    on_page = engine().answer(question("new", events=(), context=context))
    as_events = engine().answer(
        question(
            "new", events=tuple(Event(p, kind, NOW) for p in ("p13", "p14", "p14")), exclude_product_ids=("p13", "p14")
        )
    )
    assert on_page == as_events
    assert on_page.personal
    assert not {"p13", "p14"} & set(ids(on_page))
    elsewhere = engine().answer(question("new", events=(), context=replace(context, page="homepage")))
    assert not elsewhere.personal


def test_a_category_page_lists_its_category() -> None:
    page = PageContext("category", category="c2")
    listed = engine().answer(question("u1", context=page, include_products=True))
    assert {item.product.category for item in listed.items if item.product} == {"c2"}
    wider = engine().answer(question("u1", context=page, filters=Filters(("c0", "c1")), include_products=True))
    assert {item.product.category for item in wider.items if item.product} <= {"c0", "c1"}
    unknown = engine().answer(question("u1", context=PageContext("category", category="no such")))
    assert unknown == engine().answer(question("u1"))


def test_what_the_catalogue_does_not_have_is_not_available() -> None:
    model = learned("item_knn")
    known = ["p1", "p2", "p3", "p4"]
    few = Catalogue.from_columns(known, known, ["c0"] * 4, [None] * 4, [1.0] * 4, [True, True, True, False], [None] * 4)
    assert set(ids(Engine(model, few).answer(question("u1", 50, exclude_purchased=False)))) == {"p1", "p2", "p3"}
    everything = question(
        "u1", 200, exclude_purchased=False, filters=Filters(available_only=False), include_products=True
    )
    all_items = Engine(model, few).answer(everything).items
    assert len(all_items) == len(model.products)
    assert {item.product_id for item in all_items if item.product is not None} == set(known)


def test_without_a_catalogue_nothing_is_hidden() -> None:
    bare = Engine(learned("item_knn"), None)
    assert len(bare.answer(question("u1", 200, exclude_purchased=False)).items) == len(learned("item_knn").products)
    assert bare.answer(question("u1", filters=Filters(categories=("c1",)))).items == ()
    assert bare.answer(question("u1", filters=Filters(max_price=1e9))).items == ()
    assert "p" in bare.answer(question("u1")).items[0].reason.text


def test_hostile_ids_find_nothing_and_break_nothing() -> None:
    hostile = ("", "\0", "p1\0", "\ud800", "p" * 10_000, "../../etc/passwd", "💥")
    events = tuple(Event(product_id, VIEW, NOW - 1) for product_id in hostile)
    asked = question("u\0\ud800", events=events, exclude_product_ids=hostile, context=PageContext("cart", hostile))
    assert engine().answer(asked).stage == "popular"
    for product_id in hostile:
        with pytest.raises(UnknownProduct):
            engine().similar(product_id, 3)


def test_events_after_now_are_left_out() -> None:
    later = question("new", events=(Event("p13", VIEW, NOW + 1),))
    assert not engine().answer(later).personal


@each_model
def test_diversity_spreads_the_list_and_none_leaves_it_alone(name: str) -> None:
    spread = {0.0: 0.0, 0.5: 0.0, 1.0: 0.0}
    for user in range(0, 40, 4):
        for diversity in spread:
            items = engine(name).answer(question(f"u{user}", diversity=diversity)).items
            products = learned(name).products.indices([item.product_id for item in items])
            alike = engine(name).likeness(learned(name), products)
            spread[diversity] += float(alike.sum() - len(items))
    assert spread[0.5] < spread[0.0]
    assert spread[1.0] <= spread[0.5]


def test_caps_hold_while_there_is_a_choice_and_never_shorten_a_list() -> None:
    rules = ListRules(max_per_category=3, max_per_brand=4)
    for user in range(0, 40, 2):
        for explore in (0.0, 0.5):
            asked = question(f"u{user}", include_products=True, explore=explore, seed=str(user), rules=rules)
            cards = [item.product for item in engine().answer(asked).items]
            categories = [card.category for card in cards if card]
            brands = [card.brand for card in cards if card]
            assert max(map(categories.count, categories)) <= 3
            assert max(map(brands.count, brands)) <= 4
    one_category = engine().answer(question("u1", filters=Filters(categories=("c1",)), rules=rules))
    assert len(one_category.items) == 10, "a cap that cannot be kept gives way"


@pytest.mark.parametrize("change", [{"max_per_brand": 0}, {"freshness": -1.0}, {"fresh_days": 0.0}])
def test_rules_that_make_no_sense_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        ListRules(**change)  # type: ignore[arg-type]


def test_exploring_is_seeded_and_its_propensities_are_frequencies() -> None:
    asked = question("u2", 5, explore=0.4)
    answers = [engine().answer(replace(asked, seed=str(seed))) for seed in range(400)]
    assert answers[3] == engine().answer(replace(asked, seed="3"))
    base = ids(engine().answer(replace(asked, explore=0.0)))
    for place in range(5):
        kept = [answer.items[place] for answer in answers if answer.items[place].product_id == base[place]]
        assert {item.propensity for item in kept} == {0.6}
        assert len(kept) / 400 == pytest.approx(0.6, abs=5 * np.sqrt(0.24 / 400))
        assert all(item.reason.code != "exploration" for item in kept)
        swapped = [answer.items[place] for answer in answers if answer.items[place].product_id != base[place]]
        assert {item.reason.code for item in swapped} == {"exploration"}
        assert {item.propensity for item in swapped} == {0.4 / 45}, "a pool of fifty less the five listed"


def test_freshness_brings_new_products_up() -> None:
    model = learned("item_knn")
    names = model.products.external(np.arange(len(model.products)))
    old, new = [NOW - 400 * 86_400] * len(names), [NOW - 3_600] * len(names)
    plain = engine().answer(question("u4", filters=Filters(available_only=False)))
    young = [ids(engine().answer(question("u4", 30, filters=Filters(available_only=False))))[25]]
    seen = [new[at] if name in young else old[at] for at, name in enumerate(names)]
    blank = [None] * len(names)
    dated = Catalogue.from_columns(names, names, blank, blank, blank, [True] * len(names), seen)
    asked = question("u4", filters=Filters(available_only=False))
    assert young[0] not in ids(plain)
    assert young[0] in ids(Engine(model, dated).answer(replace(asked, rules=ListRules(freshness=1.0))))
    assert ids(Engine(model, dated).answer(asked)) == ids(plain)


def test_a_product_younger_than_the_model_has_one_place_where_it_suits() -> None:
    shop = Engine(learned("item_knn"), catalogue(new=True))
    asked = question("new", events=(Event("p40", VIEW, NOW - 5),), include_products=True)
    items = shop.answer(asked).items
    assert [item.product_id for item in items[:-1]] == ids(engine().answer(asked))[:-1]
    assert items[-1].product_id == "new-near"
    assert items[-1].reason.text == "New, and similar to taste3 thing40"
    assert items[-1].reason.code == "new_and_similar"
    assert items[-1].reason.product_id == "p40"
    assert items[-1].product == catalogue(new=True).card("new-near")
    for without in (
        replace(asked, exclude_product_ids=("new-near",)),
        replace(asked, filters=Filters(categories=("c2",))),
        replace(asked, filters=Filters(max_price=4.0)),
        replace(asked, now=NOW + 60 * 86_400),
        replace(asked, k=3),
        replace(asked, explore=0.2),
        replace(asked, events=()),
        replace(asked, events=(Event("p70", VIEW, NOW - 5),)),
        replace(asked, rules=ListRules(new_products=False)),
    ):
        assert "new-near" not in ids(shop.answer(without))
    brand = replace(asked, rules=ListRules(max_per_category=3))
    categories = [item.product.category for item in shop.answer(brand).items if item.product]
    assert max(map(categories.count, categories)) <= 3, "the new product keeps the limit too"


def test_without_the_ranker_candidates_answer_and_the_ranker_is_not_asked() -> None:
    whole = learned("hybrid")
    assert isinstance(whole, TwoStageRecommender)
    stage = replace(whole.stage, ranker=Ranker.by_column(-1_000))
    broken = TwoStageRecommender(whole.products, whole.popularity, stage, category_share=whole.category_share)
    asked = question("u8")
    with pytest.raises(IndexError):
        Engine(broken, catalogue()).answer(asked)
    ranking = Engine(broken, catalogue()).answer_unranked(asked)
    assert ranking == engine("hybrid").answer_unranked(asked)
    assert (ranking.stage, ranking.personal, len(ranking.items)) == ("candidates", True, 10)
    found = whole.generator.candidates(Histories.from_events([asked.events], NOW, whole.products))
    fusion = dict(zip(whole.products.external(found.products.values), found.fusion.tolist(), strict=True))
    assert [item.score for item in ranking.items] == [fusion[item.product_id] for item in ranking.items]
    free = [item.score for item in ranking.items][:FREE_PLACES]
    assert free == sorted(free, reverse=True), "later places keep the limit of a category"
    assert set(ids(ranking)) <= set(may_be_shown(asked))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "hybrid"])
def test_models_of_one_stage_answer_alike_without_a_ranker(name: str) -> None:
    asked = question("u8", explore=0.2, seed="s")
    assert engine(name).answer_unranked(asked) == engine(name).answer(asked)


@each_model
def test_similar_products_are_the_models_then_the_categorys(name: str) -> None:
    ranking = engine(name).similar("p40", 30)
    listed = ids(ranking)
    assert len(listed) == len(set(listed))
    assert "p40" not in listed
    cards = [catalogue().card(product_id) for product_id in listed]
    assert all(card and card.available for card in cards)
    assert [item.product for item in ranking.items] == cards
    by_model = [item for item in ranking.items if item.reason.code == "similar"]
    assert all(item.reason.text == "Similar to taste3 thing40" for item in by_model)
    assert all(item.reason.text == "Popular in c1" for item in ranking.items[len(by_model) :])
    assert bool(by_model) == (name != "popularity")
    near = learned(name).similar_items(learned(name).products.indices(["p40"]), 1).products[0]
    if name != "popularity":
        whole = ids(Engine(learned(name), None).similar("p40", 3))
        assert learned(name).products.external(near)[0] == whole[0]
    with pytest.raises(UnknownProduct, match="no product 'x'"):
        engine(name).similar("x", 3)


def test_products_only_the_catalogue_knows_have_their_category() -> None:
    ranking = Engine(learned("item_knn"), catalogue(new=True)).similar("new-far", 5)
    assert [item.reason.text for item in ranking.items] == ["Popular in c1"] * 5


def test_popular_products_of_a_category_are_sorted_and_filtered() -> None:
    model, shop = learned("item_knn"), Engine(learned("item_knn"), catalogue(new=True))
    ranking = shop.similar("new-far", 200)
    cards = [catalogue().card(product_id) for product_id in ids(ranking)]
    assert all(card and card.available and card.category == "c1" for card in cards)
    expected = sorted(
        may_be_shown(question("x", events=(), filters=Filters(("c1",)))),
        key=lambda p: (-float(model.popularity[model.products.indices([p])[0]]), model.products.indices([p])[0]),
    )
    assert ids(ranking) == expected
    assert ids(shop.similar("new-far", 3)) == expected[:3]


def test_history_of_products_sold_out_still_counts() -> None:
    gone = next(product for product in ("p9", "p18", "p27") if not catalogue().card(product).available)  # type: ignore[union-attr]
    ranking = engine().answer(question("new", events=(Event(gone, VIEW, NOW - 1),)))
    assert ranking.personal
