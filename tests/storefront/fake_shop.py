"""A small shop that speaks the service's contract over HTTP, and can fail, delay and lie on command.

Its "model" is made so that a test can tell what it must answer: products of the category last seen come first, and the
reason names the product that brought them there.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

STOREFRONT = Path(__file__).resolve().parents[2] / "storefront"
KEY = "rk_test_key"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'"
)
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
WORDS = {
    "Mugs": ("Travel Mug", "Teacup", "Mug", "Espresso Cup"),
    "Tea": ("Green Tea", "Black Tea", "Herbal Tea", "Tea Sampler"),
    "Lighting": ("Table Lamp", "Floor Lamp", "String Lights", "Pendant Light"),
    "Toys": ("Plush Bear", "Wooden Train", "Puzzle", "Building Blocks"),
    "Garden": ("Plant Pot", "Watering Can", "Bird Feeder", "Herb Planter"),
    "Headphones": ("Headphones", "Earbuds", "Portable Speaker", "Headset"),
    "Bags": ("Tote Bag", "Backpack", "Wash Bag", "Shoulder Bag"),
    "Wall Art": ("Poster", "Canvas Print", "Photo Frame", "Wall Clock"),
}
STYLES = (
    "Striped Vintage",
    "Pastel Floral",
    "Bold Geometric",
    "Rustic Oak",
    "Playful Neon",
    "Elegant Luxury",
    "Minimal",
)
BRANDS = ("Pellatta", "Delramere", "Alaco", "Norvevale")
ACTS = {
    "view": ("viewed", "viewed"),
    "add_to_cart": ("carted", "added"),
    "purchase": ("bought", "bought"),
    "rating": ("for_you", "rated"),
}


def small_catalogue(per_category: int = 14) -> list[dict[str, Any]]:
    """Products of eight categories, the categories taking turns; the third of each category is sold out."""
    products = []
    for turn in range(per_category):
        for c, (category, nouns) in enumerate(WORDS.items()):
            brand, style = BRANDS[(turn + c) % len(BRANDS)], STYLES[(turn * 3 + c) % len(STYLES)]
            products.append(
                {
                    "id": f"P{len(products):04d}",
                    "name": f"{brand} {style} {nouns[turn % len(nouns)]}",
                    "category": category,
                    "brand": brand,
                    "price": round(4.5 + turn * 3.25 + c, 2),
                    "available": turn != 2,
                    "rating": None if turn % 3 == 1 else round(2.5 + (turn * 7 + c * 3) % 25 / 10, 1),
                    "reviews": None if turn % 3 == 1 else 3 + turn * c,
                }
            )
    return products


@dataclass
class FakeShop:
    """State and misbehaviour of one shop. `failing` maps a path prefix to (status, seconds of delay)."""

    products: list[dict[str, Any]] = field(default_factory=small_catalogue)
    shoppers: list[dict[str, Any]] = field(default_factory=list)
    failing: dict[str, tuple[int, float]] = field(default_factory=dict)
    retry_once: bool = False
    fallback: str | None = None
    shorter_by: int = 0
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.config = {"api": "", "key": KEY, "shop": "Larkspur & Co", "currency": "GBP"} | self.config
        if not self.shoppers:
            names = [product["name"] for product in self.products]
            self.shoppers = [
                {"id": f"U{i:04d}", "label": label, "events": 12 + 7 * i, "last_products": names[i : i + 3]}
                for i, label in enumerate(("Tea and mugs", "Lamps, often", "Gifts for children", "Garden in spring"))
            ]

    def history(self, user: str, sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Events of a user, oldest first, and those that came with the question."""
        return [event for event in self.events.values() if event["user_id"] == user] + sent

    def data(self, name: str) -> dict[str, Any] | None:
        """A file of the data folder."""
        categories = list(dict.fromkeys(product["category"] for product in self.products if product["category"]))
        return {
            "catalogue.json": {"products": self.products, "categories": categories},
            "shoppers.json": {"shoppers": self.shoppers},
            "config.json": self.config,
        }.get(name)

    def recommend(self, question: dict[str, Any]) -> dict[str, Any]:
        """Products of the category last seen first, with a reason naming what was seen; else the popular ones."""
        past = self.history(question["user_id"], question.get("events", []))
        allowed = question.get("filters", {}).get("categories")
        hidden = {event["product_id"] for event in past if event["event_type"] == "purchase"}
        hidden |= set(question.get("context", {}).get("product_ids", [])) | set(question.get("exclude_product_ids", []))
        pool = [p for p in self.products if p["id"] not in hidden and (not allowed or p["category"] in allowed)]
        by_id = {product["id"]: product for product in self.products}
        last = next((event for event in reversed(past) if event["product_id"] in by_id), None)
        if last is None or self.fallback:
            return self.answer([self.item(p, "popular", "Popular this week") for p in pool], question)
        seen = by_id[last["product_id"]]
        code, act = ACTS[last["event_type"]]
        near = [p for p in pool if p["category"] == seen["category"] and p["id"] != seen["id"]]
        far = [p for p in pool if p["category"] != seen["category"] and p["id"] != seen["id"]]
        said = f"Because you {act} {seen['name']}"
        more = {"reason_product_id": seen["id"]}
        if question.get("explain"):
            more["explanation"] = [{"product_id": seen["id"], "weight": 0.25}]
        items = [self.item(p, code, said) | more for p in near[:8]]
        return self.answer(items + [self.item(p, "popular", "Popular this week") for p in far], question)

    def item(self, product: dict[str, Any], code: str, reason: str) -> dict[str, Any]:
        """One recommendation with its card."""
        kept = {key: value for key, value in product.items() if key not in ("id", "rating", "reviews")}
        card = {"product_id": product["id"]} | kept
        shown = {"product_id": product["id"], "score": 1.0, "reason": reason, "reason_code": code}
        return shown if product.get("no_card") else shown | {"product": card}

    def answer(self, items: list[dict[str, Any]], question: dict[str, Any]) -> dict[str, Any]:
        """The answer of a list route."""
        said = {
            "recommendations": items[: max(question.get("num_recommendations", 10) - self.shorter_by, 0)],
            "model_version": "baseline" if self.fallback else "20260101T0200-7f3a",
            "inference_time_ms": 2.41,
            "request_id": f"req-{len(self.requests):05d}",
            "variant": "champion",
        }
        return said | ({"fallback": self.fallback} if self.fallback else {})

    def take(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """Store events once each; with `retry_once` give all of them back one time."""
        if self.retry_once:
            self.retry_once = False
            return {"accepted": 0, "duplicates": 0, "retry": [event["event_id"] for event in events], "request_id": "r"}
        new = [event for event in events if event["event_id"] not in self.events]
        self.events.update({event["event_id"]: event for event in new})
        return {"accepted": len(new), "duplicates": len(events) - len(new), "retry": [], "request_id": "r"}

    def route(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, dict[str, Any]]:
        """Status and answer of an API call."""
        count = {"num_recommendations": int(query.get("k", ["10"])[0])}
        if (method, path) == ("POST", "/recommend"):
            return 200, self.recommend(body)
        if (method, path) == ("POST", "/feedback"):
            return 202, self.take(body["events"])
        if path == "/popular":
            wanted = query.get("category", [None])[0]
            found = [p for p in self.products if wanted in (None, p["category"])]
            return 200, self.answer([self.item(p, "popular", "Popular this week") for p in found], count)
        if path.startswith("/similar/"):
            of = next((p for p in self.products if p["id"] == unquote(path.removeprefix("/similar/"))), None)
            if of is None:
                return 404, {"error": {"code": "not_found", "message": "no such product"}, "request_id": "req-x"}
            found = [p for p in self.products if p["category"] == of["category"] and p["id"] != of["id"]]
            said = f"Shoppers of {of['name']} also look at this"
            return 200, self.answer([self.item(p, "bought_together", said) for p in found], count)
        return 404, {"error": {"code": "not_found", "message": f"no route {path}"}, "request_id": "req-x"}


class Handler(BaseHTTPRequestHandler):
    """HTTP in front of a `FakeShop`: static files, data files, API with key."""

    protocol_version = "HTTP/1.1"

    def __init__(self, shop: FakeShop, *arguments: Any) -> None:
        self.shop = shop
        super().__init__(*arguments)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet: pytest shows what matters."""

    def send(self, status: int, content: bytes, kind: str) -> None:
        """One whole answer with the headers of the real server."""
        self.send_response(status)
        for name, value in (
            ("content-type", kind),
            ("content-length", str(len(content))),
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-cache"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def send_json(self, status: int, body: Any) -> None:
        """A JSON answer."""
        self.send(status, json.dumps(body).encode(), "application/json")

    def misbehave(self, path: str) -> bool:
        """Delay or fail as told; True when an answer was already sent."""
        for prefix, (status, delay) in list(self.shop.failing.items()):
            if path.startswith(prefix):
                time.sleep(delay)
                if status == 0:
                    self.close_connection = True
                    return True
                if status != 200:
                    self.send_json(status, {"error": {"code": "fake", "message": f"told to fail with {status}"}})
                    return True
        return False

    def serve(self, method: str) -> None:
        """Answer one request."""
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(raw) if raw else None
        api = parts.path.startswith(("/recommend", "/feedback", "/popular", "/similar"))
        if api:
            with self.shop.lock:
                self.shop.requests.append((method, parts.path, body))
        if self.misbehave(parts.path):
            return
        if api:
            if self.headers.get("x-api-key") != KEY:
                self.send_json(401, {"message": "Unauthorized"})
                return
            with self.shop.lock:
                status, answer = self.shop.route(method, parts.path, parse_qs(parts.query), body)
            self.send_json(status, answer)
        elif parts.path.startswith("/data/"):
            content = self.shop.data(parts.path.removeprefix("/data/"))
            self.send_json(200 if content else 404, content or {"error": {"code": "not_found", "message": "no file"}})
        else:
            file = STOREFRONT / (parts.path.lstrip("/") or "index.html")
            if file.is_file() and file.resolve().is_relative_to(STOREFRONT):
                self.send(200, file.read_bytes(), TYPES.get(file.suffix, "application/octet-stream"))
            else:
                self.send(404, b"not found", "text/plain")

    def do_GET(self) -> None:
        """Answer a GET."""
        self.serve("GET")

    def do_POST(self) -> None:
        """Answer a POST."""
        self.serve("POST")


@contextmanager
def served(shop: FakeShop, port: int = 0) -> Iterator[str]:
    """The shop's address while it is served from threads of this process."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, shop))
    server.daemon_threads = True
    # A browser that gave up waiting, or was closed, is no fault of the shop.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
