"""One server for all tests that leave it as it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local_server.processes import Server, running


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop page, its data, and around them what must never be served."""
    root = tmp_path_factory.mktemp("site")
    for name, content in {
        "storefront/index.html": "<!doctype html><title>shop</title>",
        "storefront/js/shop.js": "export const shop = 1;",
        "storefront/style.css": "body {}",
        "storefront/.env": "SECRET",
        "storefront/.git/config": "SECRET",
        "secret.txt": "SECRET",
        "home/storefront/catalogue.json": '{"products": []}',
        "home/storefront/config.json": '{"key": "k"}',
        "home/storefront/notes.txt": "SECRET",
        "home/state.sqlite3": "SECRET",
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (root / "storefront" / "link.txt").symlink_to(root / "secret.txt")
    (root / "storefront" / "up").symlink_to(root)
    return root


@pytest.fixture(scope="package")
def server(site: Path) -> Iterator[Server]:
    """Two workers before fakes; a request has two seconds to arrive."""
    arguments = ("--storefront", str(site / "storefront"), "--request-timeout", "2")
    with running(site, *arguments) as started:
        yield started
