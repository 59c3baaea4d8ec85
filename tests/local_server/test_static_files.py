"""The shop page over real HTTP: what is served, with which headers, and all the ways in that lead nowhere."""

from pathlib import Path

import pytest

from tests.local_server.processes import Server, statuses, talk


@pytest.mark.parametrize(
    ("path", "media_type", "body"),
    [
        ("/", "text/html", b"<!doctype html><title>shop</title>"),
        ("/js/shop.js", "text/javascript", b"export const shop = 1;"),
        ("/style.css", "text/css", b"body {}"),
        ("/data/catalogue.json", "application/json", b'{"products": []}'),
        ("/js/shop%2Ejs", "text/javascript", b"export const shop = 1;"),
    ],
)
def test_files_are_served_with_their_type_and_bound_browsers(
    server: Server, path: str, media_type: str, body: bytes
) -> None:
    answer = server.request("GET", path, headers={"X-API-Key": ""})
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"].startswith(media_type)
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"] == "no-cache"
    head = server.request("HEAD", path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(body)))


def test_the_key_of_the_page_is_never_stored(server: Server) -> None:
    assert server.request("GET", "/data/config.json").headers["cache-control"] == "no-store"


def test_an_unchanged_file_is_not_sent_again_and_a_new_one_is(server: Server, site: Path) -> None:
    first = server.request("GET", "/data/catalogue.json")
    again = server.request("GET", "/data/catalogue.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    file = site / "home" / "storefront" / "shoppers.json"
    assert server.request("GET", "/data/shoppers.json").status == 404
    file.write_text('{"shoppers": []}')
    assert server.request("GET", "/data/shoppers.json").body == b'{"shoppers": []}'
    file.unlink()
    assert server.request("GET", "/data/shoppers.json").status == 404


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/js/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%2fsecret.txt",
        "/js/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/%252e%252e/secret.txt",
        "/....//secret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%2f%2fetc/passwd",
        "/etc/passwd",
        "http://localhost/../secret.txt",
        "/link.txt",
        "/up/secret.txt",
        "/up/home/state.sqlite3",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/js/./../.env",
        "/js/.",
        "/data/../state.sqlite3",
        "/data/..%2fstate.sqlite3",
        "/data/%2e%2e/recsys.toml",
        "/data/notes.txt",
        "/data/",
        "/data",
        "/js/",
        "/js",
        "/index.html%00.txt",
        "/secret.txt%00",
        "/style.css/",
        "/style.css/../secret.txt",
        "/" + "a" * 5000,
        "/" + "a/" * 600,
        "/con%0d%0aset-cookie:x",
        "/%ff%fe",
        "/~root",
    ],
)
def test_no_way_leads_out_of_the_folders(server: Server, target: str) -> None:
    received = talk(server, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
    assert statuses(received) == [404]
    assert b"SECRET" not in received and b"root:" not in received
    assert b"\r\nset-cookie" not in received.lower()


def test_files_take_no_posts(server: Server) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert server.request(method, "/style.css").status == 404


def test_the_index_has_one_address(server: Server) -> None:
    answer = server.request("GET", "/index.html")
    assert (answer.status, answer.headers["location"]) == (302, "./")


def test_a_published_catalogue_replaces_the_old_one_at_once(server: Server, site: Path) -> None:
    file = site / "home" / "storefront" / "catalogue.json"
    kept = file.read_bytes()
    tag = server.request("GET", "/data/catalogue.json").headers["etag"]
    fresh = file.with_suffix(".writing")
    fresh.write_text('{"products": [1, 2, 3]}')
    fresh.replace(file)
    answer = server.request("GET", "/data/catalogue.json", headers={"If-None-Match": tag})
    assert (answer.status, answer.body) == (200, b'{"products": [1, 2, 3]}')
    file.write_bytes(kept)
