"""The shop page's data: shoppers of different kinds, always the same ones, and of them only names of products."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from recsys_assets.publishing.popular import recent_data
from recsys_assets.publishing.storefront import (
    CATALOGUE_JSON,
    LAST_PRODUCTS,
    SHOPPERS,
    SHOPPERS_JSON,
    Storefront,
    choose_shoppers,
    image_address,
    make_storefront,
    whole_log,
    write_storefront,
)
from tests.publishing.shops import END, Home, Touch, ago, listed, random_log, write_log, write_products

AFTER_ALL = int((END + timedelta(days=1)).timestamp())


def shop_of_kinds(home: Home) -> None:
    """One shopper of each kind who is clearly first of it, and a crowd nobody would choose."""
    write_products(home.lake, [*listed("m1", "m2", "m3", category="Mugs"), *listed("t1", "t2", category="Tea")])
    log: list[Touch] = []
    log += [("busy", f"{'mmt'[n % 3]}1", "view", ago(30, seconds=900 * n)) for n in range(60)]
    log += [("mugs", f"m{1 + n % 3}", "view", ago(25, seconds=900 * n)) for n in range(12)]
    log += [("today", f"{'mt'[n % 2]}1", "view", ago(0, seconds=60 + n)) for n in range(9)]
    log += [("back", "m1", "view", ago(50)), ("back", "m2", "view", ago(5))]
    log += [("light", "t1", "view", ago(1)), ("light", "t2", "purchase", ago(0.5))]
    for number in range(30):
        log += [(f"crowd{number}", f"{'mt'[n % 2]}1", "view", ago(12, seconds=600 * n)) for n in range(7)]
    write_log(home.lake, log)


def test_each_kind_has_its_clearest_shopper_first(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    shop_of_kinds(home)
    chosen = choose_shoppers(whole_log(home.lake), AFTER_ALL)
    assert [(shopper.id, shopper.label) for shopper in chosen[:5]] == [
        ("light", "Light, mostly Tea"),
        ("busy", "Busy, mostly Mugs"),
        ("mugs", "One interest, mostly Mugs"),
        ("today", "Recent, mostly Mugs"),
        ("back", "Back after 45 days, mostly Mugs"),
    ]
    assert chosen[1].events == 60
    assert chosen[0].last_products == ("Name t2", "Name t1")
    assert len(chosen) == SHOPPERS == len({shopper.id for shopper in chosen})


def test_only_shoppers_the_model_learned_from_and_all_of_them_where_there_are_few(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    write_products(home.lake, listed("a"))
    write_log(home.lake, [("old", "a", "view", ago(20)), ("old", "a", "view", ago(1)), ("new", "a", "view", ago(1))])
    chosen = choose_shoppers(whole_log(home.lake), int(ago(10).timestamp()))
    assert [(shopper.id, shopper.events) for shopper in chosen] == [("old", 2)]
    assert len(choose_shoppers(whole_log(home.lake), AFTER_ALL)) == 2


def random_storefront(home: Home) -> Storefront:
    products = [f"p{number}" for number in range(40)]
    write_products(
        home.lake,
        [row for n, id in enumerate(products) for row in listed(id, category=f"C{n % 5}", available=n % 3 > 0)],
    )
    write_log(home.lake, random_log(11, users=60, products=40, events=1_500))
    return make_storefront(whole_log(home.lake), recent_data(home.lake, END), AFTER_ALL)


def test_the_same_lake_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        files = write_storefront(random_storefront(Home.at(folder)), folder / "storefront")
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_the_files_say_what_the_page_needs_and_nothing_personal(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    made = random_storefront(home)
    write_storefront(made, tmp_path / "storefront")
    assert {file.name for file in (tmp_path / "storefront").iterdir()} == {CATALOGUE_JSON, SHOPPERS_JSON}
    catalogue = json.loads((tmp_path / "storefront" / CATALOGUE_JSON).read_text())
    shoppers = json.loads((tmp_path / "storefront" / SHOPPERS_JSON).read_text())
    assert set(catalogue) == {"products", "categories"} and set(shoppers) == {"shoppers"}
    assert {frozenset(product) for product in catalogue["products"]} == {
        frozenset(("id", "name", "category", "brand", "price", "available", "rating", "reviews", "image"))
    }
    assert len(catalogue["products"]) == 40
    assert sorted(catalogue["categories"]) == [f"C{n}" for n in range(5)]
    names = {product["name"] for product in catalogue["products"]}
    for shopper in shoppers["shoppers"]:
        assert set(shopper) == {"id", "label", "events", "last_products"}
        assert 1 <= len(shopper["last_products"]) <= LAST_PRODUCTS and names >= set(shopper["last_products"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("https://cdn.example/a.jpg, https://cdn.example/b.jpg", "https://cdn.example/a.jpg"),
        ("http://cdn.example/a.jpg", None),
        ("javascript:alert(1)", None),
        ("https://cdn.example/" + "a" * 2_000, None),
        ("", None),
        (None, None),
    ],
)
def test_only_addresses_of_images_that_the_page_may_load_are_published(text: str | None, shown: str | None) -> None:
    assert image_address(text) == shown


def test_products_come_most_popular_first(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    write_products(home.lake, [*listed("quiet", "loud", "once", category="Mugs"), *listed("tea", category="Tea")])
    log = [("u", "loud", "purchase", ago(1)), ("u", "loud", "purchase", ago(2)), ("u", "once", "purchase", ago(2))]
    write_log(home.lake, [*log, ("u", "tea", "view", ago(3))])
    made = make_storefront(whole_log(home.lake), recent_data(home.lake, END), AFTER_ALL)
    assert [product.id for product in made.products[:2]] == ["loud", "once"]
    assert {product.id for product in made.products[2:]} == {"quiet", "tea"}
    assert made.categories == ("Mugs", "Tea")
