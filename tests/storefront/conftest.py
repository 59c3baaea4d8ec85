"""Fixtures of the shop page's tests: one Chromium, a fake shop per test, and pages that watch themselves."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.patience import PATIENCE_S
from tests.storefront.fake_shop import FakeShop, served
from tests.storefront.watching import Watched

OUTPUT = Path(os.environ.get("RECSYS_TEST_OUTPUT", Path(__file__).resolve().parents[1] / "output")) / "storefront"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of this machine; tests are skipped, loudly, where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        warnings.warn("CHROMIUM NOT FOUND: the shop page was NOT tested. Install the package `chromium`.", stacklevel=1)
        pytest.skip("no chromium on the path: the shop page was not tested; install the package `chromium`")
    expect.set_options(timeout=1_000 * PATIENCE_S)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def output() -> Path:
    """Folder for screenshots: RECSYS_TEST_OUTPUT, else tests/output; kept after the run."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    return OUTPUT


@pytest.fixture
def shop() -> FakeShop:
    """A fake shop that a test may make fail."""
    return FakeShop()


@pytest.fixture
def address(shop: FakeShop) -> Iterator[str]:
    """Where the fake shop is served."""
    with served(shop) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """A function that opens a page at an address, or only readies it (`visit=False`).

    After the test every page must have kept the house's rules (`Watched`).

    The failures a test provokes are named by `pytest.mark.usefixtures("failing_requests")`: their console lines are
    the browser's own and cannot be avoided.
    """
    opened: list[Watched] = []

    def open_at(url: str, width: int = 1280, height: int = 900, *, visit: bool = True, **options: Any) -> Page:
        size = {"width": width, "height": height}
        wishes = {"color_scheme": "light", "reduced_motion": "reduce"} | options
        context = browser.new_context(viewport=size, **wishes)
        page = context.new_page()
        page.set_default_timeout(1_000 * PATIENCE_S)
        opened.append(Watched(page, url))
        if visit:
            page.goto(url)
        return page

    yield open_at
    provoked = "failing_requests" in request.fixturenames
    faults = [fault for watched in opened for fault in watched.faults(provoked)]
    for watched in opened:
        watched.page.context.close()
    assert faults == []


@pytest.fixture
def failing_requests() -> None:
    """Marks a test that makes requests fail: the browser's own console lines about them are expected."""
