"""Pages of a home over HTTP: reports and data docs, and nothing else of the home."""

import http.client
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from lambda_api.settings import read_settings
from recsys_assets.page_links import page_link
from recsys_deploy import homes
from recsys_deploy.pages_server import serve


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    for name, text in (
        ("reports/evaluation_report.html", "<h1>report</h1>"),
        ("data_docs/gx/index.html", "<h1>docs</h1>"),
        ("reports/.hidden", "x"),
        ("state.sqlite3", "secret"),
        ("storefront/config.json", "key"),
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "reports" / "link.html").symlink_to(tmp_path / "state.sqlite3")
    made = serve(tmp_path, 0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def ask(server: ThreadingHTTPServer, path: str, host: str | None = None) -> tuple[int, str, str]:
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers.get("Content-Security-Policy", "")
    connection.close()
    return found


def test_reports_and_data_docs_are_served_and_may_load_nothing_from_elsewhere(server: ThreadingHTTPServer) -> None:
    status, text, policy = ask(server, "/reports/evaluation_report.html?x=1")
    assert (status, text) == (200, "<h1>report</h1>") and policy.startswith("default-src 'self'")
    assert ask(server, "/data_docs/gx/index.html")[0] == 200
    assert ask(server, "/ready")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/", "/reports/", "/reports", "/state.sqlite3", "/storefront/config.json", "/reports/../state.sqlite3",
        "/reports/%2e%2e/state.sqlite3", "/reports/.hidden", "/reports/link.html", "/reports/none.html",
        "//reports/..%2fstate.sqlite3",
    ],
)  # fmt: skip
def test_nothing_else_of_the_home_is(server: ThreadingHTTPServer, path: str) -> None:
    status, text, _ = ask(server, path)
    assert status == 404 and "secret" not in text and "key" not in text


def test_another_site_cannot_read_them_under_its_own_name(server: ThreadingHTTPServer) -> None:
    assert ask(server, "/reports/evaluation_report.html", host="evil.example")[0] == 421


def test_dagster_links_to_the_server_that_up_and_ui_start(tmp_path: Path) -> None:
    environment = {"RECSYS_HOME": str(tmp_path / "home")}
    settings = homes.open_shop(None, environment)
    link = page_link(settings, settings.home / "reports" / "evaluation_report.html")
    assert link.value == f"{homes.PAGES_URL}/reports/evaluation_report.html"
    moved = homes.open_shop(None, {**environment, "RECSYS_PAGES_URL": "http://127.0.0.1:9009"})
    assert moved.pages_url == read_settings(environment).pages_url == "http://127.0.0.1:9009"
