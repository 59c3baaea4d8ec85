"""Whether everybody can use the page: keyboard, screen readers, any width, zoom, light and dark, no jumps."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.storefront.fake_shop import FakeShop, served
from tests.storefront.watching import cards, settled, shelf, told

OpenPage = Callable[..., Page]
FOR_YOU = "Recommended for you"
VIEWS = {
    "home": "#/",
    "product": "#/product/P0000",
    "sold_out": "#/product/P0018",
    "category": "#/category/Tea",
    "categories": "#/categories",
    "search": "#/search?q=striped",
    "nothing_found": "#/search?q=xyzzy",
    "cart": "#/cart",
    "missing": "#/nowhere",
    "rated": "#/product/P0001",
}
DESKTOP, PHONE = (1280, 900), (390, 844)
AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


def ready(page: Page) -> None:
    """Wait until the view and its lists stand."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".card-skeleton")).to_have_count(0)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def fill_cart(page: Page, address: str) -> None:
    page.goto(f"{address}/#/product/P0003")
    page.get_by_role("button", name="Add to cart", exact=True).click()
    expect(page.locator(".seen-line").first).to_be_visible()
    expect(page.locator(".in-cart")).to_contain_text("1 in your cart")


def violations(page: Page) -> list[str]:
    found = Axe().run(page, options=AXE).response["violations"]
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:300]}" for each in found for node in each["nodes"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_violation_on_any_view(
    address: str, open_page: OpenPage, scheme: str, size: tuple[int, int]
) -> None:
    page = open_page(address, *size, color_scheme=scheme)
    ready(page)
    fill_cart(page, address)
    found = {}
    for name, view in VIEWS.items():
        page.goto(f"{address}/{view}")
        ready(page)
        found[name] = violations(page)
    page.get_by_role("button", name="Shopping as").click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Garden in spring")).to_be_visible()
    found["picker"] = violations(page)
    assert {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.usefixtures("failing_requests")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_where_things_failed(
    shop: FakeShop, address: str, open_page: OpenPage, scheme: str
) -> None:
    shop.failing |= {"/recommend": (500, 0), "/popular": (401, 0), "/feedback": (503, 0)}
    page = open_page(f"{address}/#/product/P0000", color_scheme=scheme)
    expect(page.get_by_role("button", name="Send now")).to_be_visible()
    ready(page)
    assert violations(page) == []
    page.goto(f"{address}/#/")
    expect(page.get_by_role("alert")).to_have_count(2)
    assert violations(page) == []


@pytest.mark.slow
def test_nothing_sticks_out_at_any_width(address: str, open_page: OpenPage) -> None:
    page = open_page(address, 1280, 800)
    ready(page)
    fill_cart(page, address)
    for view in VIEWS.values():
        page.goto(f"{address}/{view}")
        ready(page)
        for width in (320, 390, 600, 820, 1024, 1160, 1440, 1600):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (view, width)


@pytest.mark.parametrize("size", [(640, 450), (320, 256)], ids=["200%", "400%"])
def test_zoomed_page_keeps_its_content_reachable(address: str, open_page: OpenPage, size: tuple[int, int]) -> None:
    """Zoom is a smaller window in CSS pixels: 1280 x 900 at 200 %, 1280 x 1024 at 400 % (WCAG 1.4.10)."""
    page = open_page(address, *size)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.evaluate("getComputedStyle(document.querySelector('.masthead')).position") == "static"
    card = cards(shelf(page, FOR_YOU)).first
    card.scroll_into_view_if_needed()
    card.get_by_role("link").click()
    expect(page.get_by_role("button", name="Add to cart", exact=True)).to_be_visible()


@pytest.mark.parametrize("size", [DESKTOP, PHONE, (320, 640)], ids=["desktop", "phone", "small"])
def test_touch_targets_are_large(address: str, open_page: OpenPage, size: tuple[int, int]) -> None:
    """44 x 44 CSS pixels at least; a card's link counts as the whole card, a link within a sentence does not count."""
    page = open_page(address, *size)
    ready(page)
    fill_cart(page, address)
    small = """() => [...document.querySelectorAll('a, button, input, select')].filter((node) => {
      if (!node.checkVisibility() || node.closest('dialog') || node.matches('.skip, .in-cart a')) return false;
      const whole = node.matches('.card-link') ? node.closest('li') : node.closest('.search') ?? node;
      const { width, height } = whole.getBoundingClientRect();
      return width < 44 || height < 43.5;
    }).map((node) => node.outerHTML.slice(0, 160))"""
    for view in VIEWS.values():
        page.goto(f"{address}/{view}")
        ready(page)
        assert page.evaluate(small) == [], view


def test_headings_are_in_order_and_landmarks_stand(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    ready(page)
    fill_cart(page, address)
    for view in VIEWS.values():
        page.goto(f"{address}/{view}")
        ready(page)
        levels = page.eval_on_selector_all(
            "main h1, main h2, main h3, aside h2, aside h3", "nodes => nodes.map((node) => Number(node.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1, (view, levels)
        assert all(b - a <= 1 for a, b in pairwise(levels)), (view, levels)
    for role in ("banner", "main", "search", "contentinfo", "complementary"):
        expect(page.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]


@pytest.mark.slow
def test_content_does_not_jump_while_it_loads(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    """Cumulative layout shift (web.dev/cls) stays under a tenth of what is called good (0.1)."""
    shop.failing |= {"/recommend": (200, 0.6), "/popular": (200, 0.9), "/similar": (200, 0.9), "/data": (200, 0.2)}
    for size in (DESKTOP, PHONE):
        for view in ("#/", "#/product/P0000", "#/category/Tea"):
            page = open_page(f"{address}/{view}", *size)
            ready(page)
            page.wait_for_timeout(1_500)
            ready(page)
            assert page.evaluate("window.__shift") < 0.01, (size, view)
            page.context.close()


def test_keyboard_alone_is_enough(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    """Skip link, picker, search, card, cart, buying: without a mouse."""
    page = open_page(address)
    ready(page)
    press = page.keyboard.press

    def tab_to(name: str, limit: int = 80) -> None:
        for _ in range(limit):
            press("Tab")
            said = page.evaluate(
                "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText ?? '').trim()"
            )
            if said.replace("\n", " ").startswith(name):
                return
        raise AssertionError(f"no way to {name!r} by Tab")

    press("Tab")
    expect(page.get_by_role("link", name="Skip to the products")).to_be_focused()
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    assert "#/" in page.url or page.url.rstrip("/") == address
    page.evaluate("document.activeElement.blur(); document.getElementById('skip').focus()")
    tab_to("Shopping as")
    press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("button", name="Shopping as")).to_be_focused()
    press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="Garden in spring")).to_be_visible()
    tab_to("Gifts for children")
    press("Enter")
    expect(page.get_by_role("button", name="Shopping as Gifts for children")).to_be_focused()
    ready(page)
    page.get_by_role("searchbox").focus()
    page.keyboard.type("teacup")
    press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    wanted = next(p for p in shop.products if "Teacup" in p["name"] and p["available"])
    tab_to(wanted["name"])
    outline = page.evaluate("getComputedStyle(document.activeElement.closest('li')).outlineStyle")
    assert outline == "solid", "the focus must be seen"
    press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(wanted["name"])
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    tab_to("Add to cart")
    press("Enter")
    tab_to("Go to the cart")
    press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your cart")
    tab_to("Buy")
    press("Enter")
    expect(page.get_by_role("heading", name="Thank you")).to_be_focused()
    events = told(page, shop, ("view", "add_to_cart", "purchase"))
    assert {event["event_type"] for event in events} == {"view", "add_to_cart", "purchase"}
    assert {event["user_id"] for event in events} == {"U0002"}


@pytest.mark.slow
def test_news_of_what_the_cart_shows_leave_the_keyboard_where_it_is(
    shop: FakeShop, address: str, open_page: OpenPage
) -> None:
    page = open_page(f"{address}/#/product/P0000")
    page.get_by_role("button", name="Add to cart", exact=True).wait_for()
    shop.failing["/feedback"] = (200, 1.5)
    shop.failing["/recommend"] = (200, 1.5)
    page.get_by_role("button", name="Add to cart", exact=True).click()
    page.get_by_role("link", name="Go to the cart").click()
    page.get_by_role("button", name="Buy").focus()
    page.evaluate("window.__buy = document.activeElement")
    told(page, shop, ["add_to_cart"])
    settled(shelf(page, "Recommended for you"))
    assert page.evaluate("document.activeElement === window.__buy")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Thank you")).to_be_focused()
    told(page, shop, ["purchase"])


def test_less_movement_is_respected_and_movement_is_used_otherwise(
    shop: FakeShop, address: str, open_page: OpenPage
) -> None:
    page = open_page(address)
    count = "Element.prototype.animate = function () { window.__moves = (window.__moves ?? 0) + 1; return {}; }; 0"
    for wish, moved in (("reduce", False), ("no-preference", True)):
        page.emulate_media(reduced_motion=wish)  # type: ignore[arg-type]
        page.goto(f"{address}/?{wish}")
        page.evaluate(count)
        section = settled(shelf(page, FOR_YOU))
        cards(section).first.get_by_role("button").click()
        expect(section).to_contain_text("Changed after you added")
        settled(section)
        assert bool(page.evaluate("window.__moves ?? 0")) is moved


def test_pictures_are_the_same_every_time_and_differ_between_categories(
    shop: FakeShop, address: str, open_page: OpenPage
) -> None:
    drawings = []
    read = "nodes => nodes.map((node) => node.outerHTML.replace(/printed-[0-9]+/g, 'printed'))"
    for _ in range(2):
        page = open_page(f"{address}/#/categories")
        ready(page)
        drawings.append(page.eval_on_selector_all("main svg.picture", read))
    assert drawings[0] == drawings[1]
    assert len(set(drawings[0])) == len(drawings[0]) == 8
    assert page.locator("svg.picture:not([aria-hidden=true])").count() == 0


@pytest.mark.slow
def test_screenshots_before_and_after_a_click(output: Path, open_page: OpenPage) -> None:
    """Not a comparison: pictures for people, of the moment the list reacts."""
    shop = FakeShop()
    with served(shop) as address:
        for device, size in (("desktop", (1440, 1000)), ("phone", PHONE)):
            for scheme in ("light", "dark"):
                page = open_page(address, *size, color_scheme=scheme)
                ready(page)
                page.screenshot(path=output / f"{device}_{scheme}_1_before.png", full_page=True)
                cards(shelf(page, FOR_YOU)).nth(1).get_by_role("button").click()
                expect(shelf(page, FOR_YOU)).to_contain_text("Changed after you added")
                ready(page)
                page.screenshot(path=output / f"{device}_{scheme}_2_after_adding.png", full_page=True)
                cards(shelf(page, FOR_YOU)).nth(2).get_by_role("link").click()
                ready(page)
                page.screenshot(path=output / f"{device}_{scheme}_3_product.png", full_page=True)
                page.goto(f"{address}/#/cart")
                ready(page)
                page.screenshot(path=output / f"{device}_{scheme}_4_cart.png", full_page=True)
    assert len(list(output.glob("*_after_adding.png"))) == 4
