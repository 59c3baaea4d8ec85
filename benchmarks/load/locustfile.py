"""Shoppers as locust users: what they ask for, in which proportion.

The environment says where the page's data are (``LOAD_DATA``: folder with ``shoppers.json``, ``catalogue.json`` and
``config.json``).

Of all requests 55 % are recommendations on the home page, 20 % come from product pages (recommendations and similar
products), 20 % are feedback, 3 % popular products and 2 % health.
"""

import json
import os
import random
import uuid
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant_pacing, task

DATA = Path(os.environ["LOAD_DATA"])
CONFIG = json.loads((DATA / "config.json").read_text(encoding="utf-8"))
SHOPPERS = [one["id"] for one in json.loads((DATA / "shoppers.json").read_text(encoding="utf-8"))["shoppers"]]
PRODUCTS = [one["id"] for one in json.loads((DATA / "catalogue.json").read_text(encoding="utf-8"))["products"]]
NEW_VISITORS = 0.3
PACING_S = float(os.environ.get("LOAD_PACING_S", "0"))
"""Seconds between one user's requests at least; 0: as fast as answers come."""


class Shopper(FastHttpUser):
    """One visitor with a connection of their own. Product choice falls off with popularity, as it does in shops."""

    wait_time = constant_pacing(PACING_S)

    def on_start(self) -> None:
        """Become somebody."""
        self.user_id = f"new-{uuid.uuid4()}" if random.random() < NEW_VISITORS else random.choice(SHOPPERS)
        self.request_id: str | None = None
        self.waiting: list[dict[str, Any]] = []
        self.headers = {"X-API-Key": CONFIG["key"], "Content-Type": "application/json"}

    @task(55)
    def homepage(self) -> None:
        """The list on the home page."""
        self._recommend(
            {"page": "homepage", "device": random.choice(("mobile", "desktop"))}, "POST /recommend homepage"
        )

    @task(10)
    def product_page(self) -> None:
        """The list under a product."""
        self._recommend({"page": "product", "product_ids": [a_product()]}, "POST /recommend product")

    @task(10)
    def similar(self) -> None:
        """Products like the one on show."""
        self._get(f"/similar/{a_product()}?k=8", "GET /similar/{product_id}")

    @task(20)
    def feedback(self) -> None:
        """A view mostly, sometimes into the cart, now and then a purchase."""
        kind = random.choices(("view", "add_to_cart", "purchase"), (80, 15, 5))[0]
        event = {
            "event_id": str(uuid.uuid4()),
            "user_id": self.user_id,
            "product_id": a_product(),
            "event_type": kind,
        }
        if self.request_id is not None:
            event["request_id"] = self.request_id
        events = [*self.waiting, event][:50]
        with self._post("/feedback", {"events": events}, f"POST /feedback {kind}") as response:
            if response.status_code != 202:
                response.failure(f"status {response.status_code}")
                return
            again = set(response.json()["retry"])
            self.waiting = [one for one in events if one["event_id"] in again]

    @task(3)
    def popular(self) -> None:
        """What everybody wants."""
        self._get("/popular?k=10", "GET /popular")

    @task(2)
    def health(self) -> None:
        """A monitor's look."""
        self._get("/health", "GET /health")

    def _recommend(self, context: dict[str, Any], name: str) -> None:
        body = {"user_id": self.user_id, "num_recommendations": 10, "context": context}
        with self._post("/recommend", body, name) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            answer = response.json()
            self.request_id = answer["request_id"]
            if not answer["recommendations"]:
                response.failure("an empty list")
            elif "fallback" in answer:
                # An answer, but not the best one: a line of its own in the report.
                response.request_meta["name"] = f"fallback {answer['fallback']}"

    def _post(self, path: str, body: dict[str, Any], name: str) -> Any:
        return self.client.post(path, json=body, headers=self.headers, name=name, catch_response=True)

    def _get(self, path: str, name: str) -> None:
        self.client.get(path, headers=self.headers, name=name)


def a_product() -> str:
    """A product, popular ones more often."""
    return str(PRODUCTS[min(int(random.paretovariate(0.6)) - 1, len(PRODUCTS) - 1)])
