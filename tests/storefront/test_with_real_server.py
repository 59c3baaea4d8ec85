"""The page with the server it is made for: real processes, a real model, a real state store."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from lambda_api.recommender.catalogue import read_catalogue
from recsys_assets.publishing.storefront import Storefront, StorefrontProduct, StorefrontShopper, write_storefront
from recsys_deploy.up import PAGE_FOLDER, ensure_page_config
from tests.local_server.processes import running
from tests.serving_home import ServedHome, make_home
from tests.storefront.watching import become, cards, names, reasons, settled, shelf, until

OpenPage = Callable[..., Page]
FOR_YOU = "Recommended for you"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Live:
    """A served home and where."""

    home: ServedHome
    address: str

    def feedback(self) -> list[dict[str, object]]:
        """Every event the server wrote durably, once each."""
        lines: dict[str, dict[str, object]] = {}
        for file in self.home.settings.home.rglob("*.jsonl"):
            for line in file.read_text().splitlines():
                record = json.loads(line)
                record = record.get("record", record)
                if "event_id" in record:
                    lines[record["event_id"]] = record
        return list(lines.values())


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A shop of 800 products, served by two workers."""
    folder = tmp_path_factory.mktemp("shop")
    home = make_home(folder / "home", products=800, shoppers=20)
    (published,) = [path for path in Path(home.settings.catalogue_uri).iterdir() if (path / "manifest.json").is_file()]
    catalogue = read_catalogue(published)
    listed = [catalogue.card(product_id) for product_id in home.product_ids]
    products = tuple(
        StorefrontProduct(
            card.product_id, card.name or card.product_id, card.category, card.brand, card.price, card.available
        )
        for card in listed
        if card is not None
    )
    categories = tuple(dict.fromkeys(product.category for product in products if product.category))
    shoppers = tuple(StorefrontShopper(user, f"Shopper {user}", 50, ()) for user in home.shoppers)
    write_storefront(Storefront(products, categories, shoppers), home.settings.home / PAGE_FOLDER)
    ensure_page_config(home.settings)
    with running(folder, fakes=False) as server:
        yield Live(home, f"http://127.0.0.1:{server.port}")


@pytest.mark.usefixtures("failing_requests")
def test_the_documentation_page_sends_a_request_with_explain_and_diversity(live: Live, open_page: OpenPage) -> None:
    page = open_page(f"{live.address}/docs")
    page.get_by_label("API key").fill(live.home.key)
    form = page.get_by_role("form", name="Try POST /recommend")
    body = json.loads(form.get_by_label("Body").input_value())
    assert body["explain"] is True and body["diversity"] > 0
    form.get_by_label("Body").fill(json.dumps(body | {"user_id": live.home.shoppers[0]}))
    form.get_by_role("button").click()
    expect(form.locator("output")).to_contain_text("200")
    answer = json.loads(form.locator("output").inner_text().partition("\n")[2])
    assert len(answer["recommendations"]) == 10 and any("explanation" in item for item in answer["recommendations"])
    similar = page.get_by_role("form", name="Try GET /similar/{product_id}")
    similar.get_by_role("textbox", name="product_id").fill("no such/product")
    similar.get_by_role("button").click()
    expect(similar.locator("output")).to_contain_text("unknown_product")
    assert not Axe().run(page).response["violations"]


def test_one_view_makes_a_new_visitors_list_personal(live: Live, open_page: OpenPage) -> None:
    page = open_page(live.address)
    section = shelf(page, FOR_YOU)
    before = names(section)
    assert len(before) == 12
    assert not any("you viewed" in reason for reason in reasons(section))
    clicked = before[2]
    cards(section).nth(2).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(clicked)
    assert any(clicked in reason for reason in reasons(section)), reasons(section)
    assert len(names(shelf(page, "Similar to this"))) == 8
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Welcome")
    after = names(section)
    assert after != before and clicked in " ".join(reasons(section))
    expect(page.locator(".panel")).to_contain_text("v1.0.0")
    expect(page.locator(".panel")).to_contain_text("champion")
    until(page, lambda: any(event["user_id"].startswith("visitor-") for event in live.feedback()))  # type: ignore[attr-defined]


def test_known_shopper_adds_and_buys(live: Live, open_page: OpenPage) -> None:
    page = open_page(live.address)
    strangers = names(shelf(page, FOR_YOU))
    user = live.home.shoppers[3]
    become(page, f"Shopper {user}")
    section = settled(shelf(page, FOR_YOU))
    mine = names(section)
    assert mine != strangers
    cards(section).first.get_by_role("button").click()
    expect(page.get_by_role("link", name="Cart, 1 item")).to_be_visible()
    expect(section).to_contain_text(f"after you added {mine[0]}")
    page.get_by_role("link", name="Cart, 1 item").click()
    page.get_by_role("button", name="Buy").click()
    expect(page.get_by_role("heading", name="Thank you")).to_be_focused()
    page.get_by_role("link", name="Back to the shop").click()
    assert mine[0] not in names(section), "what was bought is not recommended again"
    until(page, lambda: {"add_to_cart", "purchase"} <= kinds(live, user))


def kinds(live: Live, user: str) -> set[str]:
    """Kinds of events that the server stored of a shopper."""
    found = {
        str(event.get("event_type", event.get("interaction_type")))
        for event in live.feedback()
        if event["user_id"] == user
    }
    return {kind.lower() for kind in found}


def test_every_view_stands_with_the_real_policy_and_data(live: Live, open_page: OpenPage) -> None:
    page = open_page(live.address)
    settled(shelf(page, FOR_YOU))
    category = page.get_by_role("navigation", name="Categories").get_by_role("link").nth(1).inner_text()
    for view in (f"category/{category}", "search?q=mug", "categories", "cart"):
        page.goto(f"{live.address}/#/{view}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator(".card-skeleton")).to_have_count(0)
        expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.usefixtures("failing_requests")
def test_a_product_nobody_knows_is_not_offered(live: Live, open_page: OpenPage) -> None:
    page = open_page(f"{live.address}/#/product/no-such-product")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such product")
    assert page.get_by_role("button", name="Add to cart").count() == 0
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.usefixtures("failing_requests")
def test_wrong_key_is_told(live: Live, open_page: OpenPage) -> None:
    page = open_page(live.address, visit=False)
    wrong = {"api": "", "key": "rk_wrong_key", "shop": "Wrong"}
    page.route("**/data/config.json", lambda route: route.fulfill(json=wrong))
    page.goto(live.address)
    expect(shelf(page, FOR_YOU).get_by_role("alert")).to_contain_text("recsys keys create")
