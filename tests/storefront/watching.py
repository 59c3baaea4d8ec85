"""What every page is watched for, whatever a test is about, and the steps that many tests take."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

from tests.patience import PATIENCE_S
from tests.storefront.fake_shop import FakeShop

SHIFTS = """
window.__shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.__shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


class Watched:
    """A page whose console, errors, requests to other origins and popups are noted."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.origin = urlsplit(url).netloc
        self.console: list[str] = []
        self.errors: list[str] = []
        self.strangers: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: (self.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", self._asked)
        page.add_init_script(SHIFTS)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.console.append(message.text)

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.netloc != self.origin and parts.scheme not in ("data", "blob", "about"):
            self.strangers.append(request.url)

    def faults(self, provoked: bool) -> list[str]:
        """What went against the rules. `provoked`: lines of the browser about failed requests are expected."""
        said = [line for line in self.console if not (provoked and line.startswith("Failed to load resource"))]
        return [*said, *self.errors, *(f"request to another origin: {url}" for url in self.strangers)]


def shelf(page: Page, title: str) -> Locator:
    """The section of that name."""
    return page.get_by_role("region", name=title, exact=True)


def cards(section: Locator) -> Locator:
    """Cards of a section that hold a product."""
    return section.locator(".card:not(.card-skeleton)")


def names(section: Locator) -> list[str]:
    """Names on the cards of a section, once it is loaded."""
    settled(section)
    return [text.strip() for text in cards(section).locator(".card-link").all_inner_texts()]


def reasons(section: Locator) -> list[str]:
    """Reasons on the cards of a section, once it is loaded."""
    settled(section)
    return [text.strip() for text in cards(section).locator(".card-reason").all_inner_texts()]


def settled(section: Locator) -> Locator:
    """Wait until a section shows what was asked for last."""
    expect(section).to_be_visible()
    expect(section.locator("[aria-busy=true]")).to_have_count(0)
    expect(section.locator(".card-skeleton")).to_have_count(0)
    return section


def become(page: Page, label: str) -> None:
    """Shop as somebody, through the dialog."""
    page.get_by_role("button", name="Shopping as").click()
    page.get_by_role("dialog").get_by_role("button", name=label).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Let the page work until something holds on this side of the wire."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        page.wait_for_timeout(50)


def told(page: Page, shop: FakeShop, kinds: Collection[str]) -> list[dict[str, Any]]:
    """Events the shop was told of, once there is one of each of ``kinds``: the page goes on before they arrive."""
    until(page, lambda: Counter(kinds) <= Counter(event["event_type"] for event in shop.events.values()))
    return list(shop.events.values())
