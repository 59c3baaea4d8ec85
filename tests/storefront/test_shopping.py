"""What a shopper does: choosing who they are, looking, searching, buying, and watching the list follow."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.storefront.fake_shop import FakeShop
from tests.storefront.watching import become, cards, names, reasons, settled, shelf, told, until

OpenPage = Callable[..., Page]
FOR_YOU = "Recommended for you"


def asked(shop: FakeShop, path: str) -> list[Any]:
    return [body for _, route, body in shop.requests if route == path]


def test_new_visitor_gets_a_personal_list_after_one_view(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    before = names(shelf(page, FOR_YOU))
    assert set(reasons(shelf(page, FOR_YOU))) == {"Popular this week"}
    clicked = before[3]

    cards(shelf(page, FOR_YOU)).nth(3).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(clicked)
    assert reasons(shelf(page, FOR_YOU))[0] == f"Because you viewed {clicked}"
    expect(shelf(page, FOR_YOU)).to_contain_text(f"Changed after you viewed {clicked}")

    page.go_back()
    after = names(shelf(page, FOR_YOU))
    assert after != before
    assert reasons(shelf(page, FOR_YOU))[0] == f"Because you viewed {clicked}"
    flags = shelf(page, FOR_YOU).locator(".card-flag:visible").all_inner_texts()
    assert any("New" in flag for flag in flags)
    (event,) = told(page, shop, ["view"])
    assert event["user_id"].startswith("visitor-") and event["event_type"] == "view"


def test_event_names_the_list_that_led_there(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    settled(shelf(page, FOR_YOU))
    shown = page.locator(".panel .fact-code").last.inner_text()
    cards(shelf(page, FOR_YOU)).first.get_by_role("link").click()
    expect(page.locator(".detail-lead")).to_contain_text(FOR_YOU)
    page.get_by_role("button", name="Add to cart", exact=True).click()
    expect(page.locator(".seen-line")).to_have_count(2)
    settled(shelf(page, FOR_YOU))
    events = told(page, shop, ["view", "add_to_cart"])
    assert [event["event_type"] for event in events] == ["view", "add_to_cart"]
    assert {event["request_id"] for event in events} == {shown}
    assert len({event["event_id"] for event in events}) == 2


def test_adding_on_a_card_changes_the_list_in_place(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    section = shelf(page, FOR_YOU)
    before = names(section)
    cards(section).nth(1).get_by_role("button").click()
    expect(section).to_contain_text(f"Changed after you added {before[1]}")
    assert reasons(section)[0] == f"Because you added {before[1]}"
    expect(page.get_by_role("link", name="Cart, 1 item")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text(f"changed after you added {before[1]}")
    # The button that was pressed is gone with its product: the keyboard must not be lost.
    expect(cards(section).nth(1).get_by_role("link")).to_be_focused()


def test_shoppers_are_chosen_and_told_apart(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    shop.take([{"event_id": "e1", "user_id": "U0001", "product_id": "P0002", "event_type": "view"}])
    page = open_page(address)
    settled(shelf(page, FOR_YOU))
    first = asked(shop, "/recommend")[-1]["user_id"]
    become(page, "Lamps, often")
    expect(page.get_by_role("button", name="Shopping as Lamps, often")).to_be_focused()
    assert reasons(shelf(page, FOR_YOU))[0].startswith("Because you viewed")
    assert asked(shop, "/recommend")[-1]["user_id"] == "U0001"
    page.reload()
    settled(shelf(page, FOR_YOU))
    assert asked(shop, "/recommend")[-1]["user_id"] == "U0001"
    become(page, "New visitor")
    assert set(reasons(shelf(page, FOR_YOU))) == {"Popular this week"}
    assert asked(shop, "/recommend")[-1]["user_id"] not in (first, "U0001")


def test_cart_and_buying(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    first, second = shop.products[0], shop.products[1]
    for product in (first, second):
        page.goto(f"{address}/#/product/{product['id']}")
        page.get_by_role("button", name="Add to cart", exact=True).click()
        expect(page.locator(".in-cart")).to_contain_text("1 in your cart")
    page.get_by_role("link", name="Cart, 2 items").click()
    quantity = page.get_by_label(f"Quantity of {first['name']}")
    quantity.fill("3")
    quantity.press("Tab")
    total = f"£{first['price'] * 3 + second['price']:.2f}"
    expect(page.locator(".cart-total")).to_contain_text(total)
    page.reload()
    expect(page.locator(".cart-total")).to_contain_text(total)
    page.get_by_role("button", name="Buy").click()
    expect(page.get_by_role("heading", name="Thank you")).to_be_focused()
    expect(page.get_by_role("link", name="Cart, 0 items")).to_be_visible()
    expect(page.locator(".seen-act", has_text="Bought")).to_have_count(2)
    expect(shelf(page, FOR_YOU)).to_contain_text(f"Because you bought {second['name']}")
    events = told(page, shop, ["purchase", "purchase"])
    bought = [event for event in events if event["event_type"] == "purchase"]
    assert [(event["product_id"], event["quantity"], event["price"]) for event in bought] == [
        (first["id"], 3, first["price"]),
        (second["id"], 1, second["price"]),
    ]


def test_removing_from_the_cart_keeps_the_keyboard_in_place(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/#/product/P0000")
    page.get_by_role("button", name="Add to cart", exact=True).click()
    page.goto(f"{address}/#/cart")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("The cart is empty.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_search_as_you_type_and_on_enter(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    settled(shelf(page, FOR_YOU))
    box = page.get_by_role("searchbox", name="Search products")
    box.press_sequentially("stri lamp")
    wanted = [p for p in shop.products if "Lamp" in p["name"] and "Stri" in p["name"]]
    expect(page.get_by_role("heading", level=1)).to_have_text(
        f"{len(wanted)} result{'s'[: len(wanted) != 1]} for “stri lamp”"
    )
    expect(box).to_be_focused()
    box.fill("no such thing anywhere")
    expect(page.get_by_text("No product has all of these words.")).to_be_visible()
    box.fill("TEA mug")
    box.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    box.fill("ALACO")
    box.press("Enter")
    alaco = [p for p in shop.products if p["brand"] == "Alaco"]
    expect(page.locator(".tally")).to_have_text(f"{len(alaco)} products")
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("ALACO")
    expect(page.locator(".tally")).to_have_text(f"{len(alaco)} products")


def test_category_with_order_and_more(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    shop.products = [p | {"category": "Kitchen & Tea/Time"} for p in shop.products[:60]]
    page = open_page(address)
    page.get_by_role("navigation", name="Categories").get_by_role("link", name="Kitchen & Tea/Time").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Kitchen & Tea/Time")
    everything = shelf(page, "Everything in Kitchen & Tea/Time")
    expect(cards(everything)).to_have_count(24)
    everything.get_by_role("button", name="Show more").click()
    expect(cards(everything)).to_have_count(48)
    expect(cards(everything).nth(24).get_by_role("link")).to_be_focused()
    everything.get_by_label("Order").select_option("Price: low to high")
    cheapest = min(shop.products, key=lambda product: product["price"])
    assert names(everything)[0] == cheapest["name"]
    assert asked(shop, "/recommend")[-1]["filters"] == {"categories": ["Kitchen & Tea/Time"]}


def test_back_and_forward_neither_repeat_views_nor_lose_the_place(
    shop: FakeShop, address: str, open_page: OpenPage
) -> None:
    page = open_page(address)
    settled(shelf(page, "Popular"))
    card = cards(shelf(page, "Popular")).nth(4)
    card.scroll_into_view_if_needed()
    until(page, lambda: page.evaluate("scrollY") > 0)
    place = page.evaluate("scrollY")
    name = card.get_by_role("link").inner_text()
    card.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Welcome")
    until(page, lambda: abs(page.evaluate("scrollY") - place) < 30)
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    settled(shelf(page, FOR_YOU))
    assert [event["event_type"] for event in told(page, shop, ["view"])] == ["view"]


def test_similar_products_and_their_reason(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/#/product/P0000")
    section = shelf(page, "Similar to this")
    title = page.get_by_role("heading", level=1).inner_text()
    assert set(reasons(section)) == {f"Shoppers of {title} also look at this"}


@pytest.mark.parametrize(("view", "second"), [("#/", "Popular"), ("#/product/P0000", "Similar to this")])
def test_lists_of_one_page_share_no_product(address: str, open_page: OpenPage, view: str, second: str) -> None:
    page = open_page(f"{address}/{view}")
    first, others = names(shelf(page, FOR_YOU)), names(shelf(page, second))
    assert first and others and not set(first) & set(others)
    cards(shelf(page, second)).first.get_by_role("button").click()
    expect(shelf(page, FOR_YOU)).to_contain_text("after you added")
    first, others = names(shelf(page, FOR_YOU)), names(shelf(page, second))
    assert first and others and not set(first) & set(others)


@pytest.mark.parametrize("width", [320, 700, 1000, 1280, 1500])
def test_rows_of_recommendations_have_no_gaps(address: str, open_page: OpenPage, width: int) -> None:
    page = open_page(address, width)
    for title in (FOR_YOU, "Popular"):
        section = settled(shelf(page, title))
        columns = section.locator(".grid").evaluate(
            "list => getComputedStyle(list).gridTemplateColumns.split(' ').length"
        )
        assert section.locator(".card:visible").count() % columns == 0, (title, columns)
    page.set_viewport_size({"width": 1000, "height": 900})
    section = shelf(page, "Popular")
    columns = section.locator(".grid").evaluate("list => getComputedStyle(list).gridTemplateColumns.split(' ').length")
    until(page, lambda: section.locator(".card:visible").count() % columns == 0)


def test_typing_errors_and_plurals_are_understood(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/#/search?q=teacupps")
    expect(page.get_by_text("these are for “teacup”")).to_be_visible()
    assert all("Teacup" in name for name in page.locator("main .card-link").all_inner_texts())
    box = page.get_by_role("searchbox", name="Search products")
    box.fill("lamps")
    lamps = [p for p in shop.products if "Lamp" in p["name"]]
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(lamps)} results for “lamps”")
    box.fill("headphones zzzzz")
    expect(page.get_by_text("No product has all of these words. These have some of them.")).to_be_visible()
    assert page.locator("main .card-link").count() > 0
    page.get_by_role("list", name="Suggestions").get_by_role("link", name="All of Headphones").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Headphones")


def test_products_are_filtered_by_brand_and_category(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/#/search?q=striped")
    found = [p for p in shop.products if "Striped" in p["name"]]
    page.get_by_label("Brand").select_option("Alaco")
    alaco = [p for p in found if p["brand"] == "Alaco"]
    expect(page.locator(".tally")).to_have_text(f"{len(alaco)} of {len(found)} products")
    category = alaco[0]["category"]
    page.get_by_label("Category", exact=True).select_option(category)
    both = [p["name"] for p in alaco if p["category"] == category]
    assert page.locator("main .card-link").all_inner_texts() == both


def test_ratings_are_shown_and_can_be_given(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/#/product/P0000")
    product = shop.products[0]
    expect(page.locator(".detail .rating")).to_contain_text(f"{product['rating']:.1f}, {product['reviews']} review")
    page.get_by_role("button", name="Rate 4 of 5").click()
    expect(page.get_by_role("button", name="Rate 4 of 5")).to_have_attribute("aria-pressed", "true")
    rated = [event for event in told(page, shop, ["rating"]) if event["event_type"] == "rating"]
    assert [(event["product_id"], event["rating"]) for event in rated] == [("P0000", 4)]


def test_any_id_can_be_typed(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    for typed, shown in (("U0001", "Lamps, often"), ("u-7 <x>", "Shopper u-7 <x>")):
        page.get_by_role("button", name="Shopping as").click()
        expect(page.get_by_role("dialog").get_by_role("button", name="U0001")).to_be_visible()
        page.get_by_label("Id of any shopper").fill(typed)
        page.get_by_label("Id of any shopper").press("Enter")
        expect(page.get_by_role("button", name=f"Shopping as {shown}")).to_be_visible()
        settled(shelf(page, FOR_YOU))
        assert asked(shop, "/recommend")[-1]["user_id"] == typed


def test_diversity_and_explanations_can_be_tried(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/#/product/P0000")
    settled(shelf(page, FOR_YOU))
    assert not {"diversity", "explain"} & set(asked(shop, "/recommend")[-1])
    page.get_by_label("Diversity").fill("0.6")
    until(page, lambda: asked(shop, "/recommend")[-1].get("diversity") == 0.6)
    page.get_by_role("button", name="Explain scores").click()
    until(page, lambda: asked(shop, "/recommend")[-1].get("explain") is True)
    expect(shelf(page, FOR_YOU).locator(".card-moved").first).to_have_text(f"{shop.products[0]['name']}: +0.25")
    page.reload()
    settled(shelf(page, FOR_YOU))
    assert asked(shop, "/recommend")[-1]["diversity"] == 0.6


@pytest.mark.usefixtures("failing_requests")
def test_a_product_that_nobody_knows_cannot_be_bought(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/#/product/no-such", 390, 844)
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such product")
    assert page.get_by_role("button", name="Add to cart").count() == 0
    page.get_by_role("link", name="Back to the shop").click()
    settled(shelf(page, FOR_YOU))
    assert shop.events == {}


def test_panel_says_who_answered(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    panel = page.get_by_role("complementary", name="Behind the list")
    for text in ("The model", "20260101T0200-7f3a", "champion", "2.4 ms", "req-"):
        expect(panel).to_contain_text(text)
    shop.fallback = "ranker: timeout"
    page.reload()
    expect(panel).to_contain_text("Fallback: ranker: timeout")
    expect(panel).to_contain_text("baseline")


def test_short_lists_and_products_without_a_card(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    shop.products.insert(0, {"id": "odd/id?#", "name": None, "category": None, "no_card": True})
    shop.shorter_by = 9
    page = open_page(address)
    assert len(names(shelf(page, FOR_YOU))) == 3
    assert names(shelf(page, FOR_YOU))[0] == "Product odd/id?#"
    cards(shelf(page, FOR_YOU)).first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Product odd/id?#")
    settled(shelf(page, FOR_YOU))
    assert [event["product_id"] for event in told(page, shop, ["view"])] == ["odd/id?#"]


def test_prices_are_plain_numbers_without_a_currency(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    del shop.config["currency"]
    page = open_page(f"{address}/#/product/P0000", locale="en-GB")
    expect(page.locator(".detail-price")).to_have_text(f"{shop.products[0]['price']:.2f}")


def test_prices_follow_the_configured_currency(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    shop.config["currency"] = "EUR"
    page = open_page(f"{address}/#/product/P0000", locale="de-DE")
    price = f"{shop.products[0]['price']:.2f}".replace(".", ",") + "\u00a0€"
    expect(page.locator(".detail-price")).to_have_text(price)


def test_unknown_address_offers_a_way_back(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/#/nowhere/at/all")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
    page.get_by_role("link", name="Back to the shop").click()
    settled(shelf(page, FOR_YOU))


@pytest.mark.parametrize("field", ["name", "category", "brand", "reason", "label", "shop"])
def test_markup_in_data_shows_as_text(shop: FakeShop, address: str, open_page: OpenPage, field: str) -> None:
    """Hostile text from the service, the catalogue or the shoppers never becomes markup."""
    hostile = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"
    if field == "reason":
        answer = shop.item
        shop.item = lambda product, code, reason: answer(product, code, hostile)  # type: ignore[method-assign]
    elif field == "label":
        shop.shoppers[0] |= {"label": hostile, "last_products": [hostile]}
    elif field == "shop":
        shop.config["shop"] = hostile
    else:
        shop.products = [product | {field: hostile} for product in shop.products]
    page = open_page(address)
    shown = page.evaluate("document.documentElement.textContent")
    settled(shelf(page, FOR_YOU))
    page.get_by_role("button", name="Shopping as").click()
    page.get_by_role("dialog").get_by_role("button").nth(2).click()
    settled(shelf(page, FOR_YOU))
    shown += page.evaluate("document.documentElement.textContent")
    target = quote(hostile, safe="")
    for view in ("product/P0000", f"category/{target}", f"search?q={target}", "categories", "cart"):
        page.goto(f"{address}/#/{view}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        if view == "product/P0000":
            settled(shelf(page, FOR_YOU))
            shown += page.evaluate("document.querySelector('main').textContent")
        assert page.locator("img, script:not([src])").count() == 0
    assert hostile in shown
