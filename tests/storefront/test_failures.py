"""What the page does when the service fails, is slow, refuses, or the connection is gone."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.storefront.fake_shop import FakeShop
from tests.storefront.watching import cards, names, reasons, settled, shelf, until

OpenPage = Callable[..., Page]
FOR_YOU = "Recommended for you"
WAITING = "JSON.parse(localStorage.getItem('shop.events.waiting') ?? '[]')"

pytestmark = pytest.mark.usefixtures("failing_requests")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "recsys keys create"),
        (403, "revoked, expired or of another scope"),
        (404, "may have left the shop"),
        (422, "Trying again will not help"),
        (429, "Wait a few seconds"),
        (500, "not your doing"),
        (503, "not your doing"),
        (0, "cannot be reached"),
    ],
)
def test_failure_says_what_to_do_and_retry_works(
    shop: FakeShop, address: str, open_page: OpenPage, status: int, advice: str
) -> None:
    shop.failing["/recommend"] = (status, 0)
    page = open_page(address)
    section = shelf(page, FOR_YOU)
    expect(section.get_by_role("alert")).to_contain_text(advice)
    expect(section.locator(".card-skeleton")).to_have_count(0)
    assert len(names(shelf(page, "Popular"))) == 8, "one failing list must not take the others down"
    expect(page.locator(".panel")).to_contain_text("Nobody")
    section.get_by_role("button", name="Retry").click()
    expect(section.get_by_role("alert")).to_contain_text(advice)
    shop.failing.clear()
    section.get_by_role("button", name="Retry").click()
    assert len(names(section)) == 12
    expect(section.get_by_role("alert")).to_have_count(0)
    expect(cards(section).first.get_by_role("link")).to_be_focused()


@pytest.mark.slow
def test_service_that_never_answers_ends_in_a_notice(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    shop.failing["/popular"] = (200, 14)
    page = open_page(address)
    expect(shelf(page, "Popular").locator(".card-skeleton")).to_have_count(8)
    assert len(names(shelf(page, FOR_YOU))) == 12
    expect(shelf(page, "Popular").get_by_role("alert")).to_contain_text("took too long", timeout=13_000)


def test_the_shop_s_own_images_are_shown_and_drawn_where_they_cannot_be_loaded(
    shop: FakeShop, address: str, open_page: OpenPage
) -> None:
    for product in shop.products:  # of this origin, since a page of these tests may ask no other
        product["image"] = f"{address}/images/{product['category'].replace(' ', '')}.svg"
    drawn = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="9"/></svg>'
    page = open_page(address, visit=False)
    page.route("**/images/*", lambda route: route.abort())
    page.route("**/images/Mugs.svg", lambda route: route.fulfill(body=drawn, content_type="image/svg+xml"))
    page.goto(f"{address}/#/category/Mugs")
    image = page.locator(".card").first.locator("img.picture-photo")
    expect(image).to_be_visible()
    until(page, lambda: bool(image.evaluate("image => image.naturalWidth")))
    page.goto(f"{address}/#/category/Tea")
    expect(page.locator(".card").first.locator("svg.picture")).to_be_visible()


def test_answer_that_is_not_json(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address, visit=False)
    page.route("**/popular?*", lambda route: route.fulfill(status=200, body="<html>proxy</html>"))
    page.goto(address)
    expect(shelf(page, "Popular").get_by_role("alert")).to_contain_text("could not be read")


def test_a_list_of_shoppers_that_is_slow_is_shown_once(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    """Opened, closed and opened again before the first answer: both answers arrive, in the wrong order."""
    page = open_page(address)
    held: list[Route] = []
    page.route("**/shoppers.json", lambda route: held.append(route))
    opener, dialog = page.get_by_role("button", name="Shopping as"), page.get_by_role("dialog")
    opener.click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    opener.click()
    expect(dialog).to_be_visible()
    until(page, lambda: len(held) == 2)
    for route in reversed(held):
        route.continue_()
    people = dialog.locator("button.person")
    expect(people).to_have_count(1 + len(shop.shoppers))
    page.wait_for_timeout(200)
    expect(people).to_have_count(1 + len(shop.shoppers))


@pytest.mark.parametrize("file", ["config.json", "catalogue.json", "shoppers.json"])
def test_missing_data_file_is_told_and_read_again(shop: FakeShop, address: str, open_page: OpenPage, file: str) -> None:
    shop.failing[f"/data/{file}"] = (500, 0)
    page = open_page(address)
    if file == "shoppers.json":
        expect(page.get_by_role("alert")).to_have_count(0)
        page.get_by_role("button", name="Shopping as").click()
        expect(page.get_by_role("dialog").get_by_role("button", name="New visitor")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_visible()
    shop.failing.clear()
    page.get_by_role("button", name="Retry").click()
    if file == "shoppers.json":
        expect(page.get_by_role("dialog").get_by_role("button", name="Garden in spring")).to_be_visible()
    else:
        expect(cards(shelf(page, FOR_YOU))).to_have_count(12)
        expect(page.get_by_role("navigation", name="Categories").get_by_role("link")).to_have_count(9)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_events_made_offline_survive_a_reload_and_the_list_still_reacts(
    shop: FakeShop, address: str, open_page: OpenPage
) -> None:
    page = open_page(address)
    section = shelf(page, FOR_YOU)
    shop.failing["/feedback"] = (0, 0)
    name = names(section)[2]
    # The third product of the fake shop's first turn: it can be bought.
    cards(section).nth(2).get_by_role("button").click()
    # The event rides along in the question, so the list follows although feedback is down.
    expect(section).to_contain_text(f"Because you added {name}")
    expect(page.locator(".panel")).to_contain_text("Waiting to be sent")
    expect(page.locator(".panel")).to_contain_text("1 event not sent yet")
    (kept,) = page.evaluate(WAITING)
    assert shop.events == {}
    page.reload()
    settled(section)
    assert page.evaluate(WAITING) == [kept]
    button = page.get_by_role("button", name="Send now").element_handle()
    assert button is not None
    shop.failing.clear()
    # Not by the locator: the page tries again by itself, too, and takes the button away where it was first.
    button.evaluate("button => button.click()")
    expect(page.get_by_role("button", name="Send now")).to_have_count(0)
    assert shop.events == {kept["event_id"]: kept}
    assert page.evaluate(WAITING) == []


def test_offline_is_named_and_mended_when_back(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    name = names(shelf(page, "Popular"))[0]
    page.context.set_offline(True)
    cards(shelf(page, "Popular")).first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(shelf(page, "Similar to this").get_by_role("alert")).to_contain_text("You are offline")
    expect(shelf(page, FOR_YOU).get_by_role("alert")).to_contain_text("You are offline")
    page.context.set_offline(False)
    assert reasons(shelf(page, FOR_YOU))[0] == f"Because you viewed {name}"
    # Both lists are asked for again at once, in any order; still the second repeats nothing of the first.
    similar, recommended = names(shelf(page, "Similar to this")), names(shelf(page, FOR_YOU))
    assert similar and recommended and not set(similar) & set(recommended)
    expect(page.get_by_role("alert")).to_have_count(0)
    until(page, lambda: len(shop.events) == 1)
    until(page, lambda: page.evaluate(WAITING) == [])
    assert [event["event_type"] for event in shop.events.values()] == ["view"]


def test_event_given_back_by_the_service_is_sent_again(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    settled(shelf(page, FOR_YOU))
    shop.retry_once = True
    cards(shelf(page, FOR_YOU)).first.get_by_role("link").click()
    until(page, lambda: len(shop.events) == 1)
    sent = [body["events"] for _, path, body in shop.requests if path == "/feedback"]
    assert len(sent) == 2 and sent[0] == sent[1]


def test_event_the_service_will_never_take_does_not_hold_back_the_others(
    shop: FakeShop, address: str, open_page: OpenPage
) -> None:
    page = open_page(address, visit=False)
    good = [{"event_id": f"e{i}", "user_id": "u", "product_id": f"P000{i}", "event_type": "view"} for i in range(3)]
    queue = json.dumps([good[0], good[1] | {"event_id": "poison"}, good[2]])
    page.add_init_script(f"localStorage.setItem('shop.events.waiting', {json.dumps(queue)})")

    take = shop.take

    def refuse(route) -> None:  # type: ignore[no-untyped-def]
        events = route.request.post_data_json["events"]
        if any(event["event_id"] == "poison" for event in events):
            error = {"error": {"code": "invalid", "message": "unknown product", "field": "events.1"}}
            route.fulfill(status=422, content_type="application/json", body=json.dumps(error))
        else:
            route.fulfill(status=202, content_type="application/json", body=json.dumps(take(events)))

    page.route("**/feedback", refuse)
    page.goto(address)
    until(page, lambda: len(shop.events) == 2)
    until(page, lambda: page.evaluate(WAITING) == [])
    assert set(shop.events) == {"e0", "e2"}
    expect(page.get_by_role("alert")).to_contain_text("unknown product")


def test_clock_that_runs_ahead_loses_its_time_and_not_the_event(
    shop: FakeShop, address: str, open_page: OpenPage
) -> None:
    page = open_page(address, visit=False)
    take = shop.take

    def refuse(route) -> None:  # type: ignore[no-untyped-def]
        events = route.request.post_data_json["events"]
        if "timestamp" in events[0]:
            error = {"error": {"code": "invalid", "message": "in the future", "field": "events.0.timestamp"}}
            route.fulfill(status=422, content_type="application/json", body=json.dumps(error))
        else:
            route.fulfill(status=202, content_type="application/json", body=json.dumps(take(events)))

    page.route("**/feedback", refuse)
    page.goto(f"{address}/#/product/P0001")
    until(page, lambda: len(shop.events) == 1)
    until(page, lambda: page.evaluate(WAITING) == [])
    (event,) = shop.events.values()
    assert event["product_id"] == "P0001"
    expect(page.get_by_role("alert")).to_have_count(0)


def test_many_waiting_events_go_in_batches_of_fifty(shop: FakeShop, address: str, open_page: OpenPage) -> None:
    page = open_page(address, visit=False)
    many = [{"event_id": f"e{i}", "user_id": "u", "product_id": "P0001", "event_type": "view"} for i in range(120)]
    page.add_init_script(f"localStorage.setItem('shop.events.waiting', {json.dumps(json.dumps(many))})")
    page.goto(address)
    until(page, lambda: len(shop.events) == 120)
    until(page, lambda: page.evaluate(WAITING) == [])
    assert [len(body["events"]) for _, path, body in shop.requests if path == "/feedback"] == [50, 50, 20]
    assert len(shop.events) == 120
