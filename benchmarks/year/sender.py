"""Turns what shoppers do into events, as the shop page and the shop's checkout report them."""

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.year.plan import BUG_SHARE
from benchmarks.year.shoppers import ShoppingDay
from recsys_assets.ingest.synthetic.shoppers import user_id
from recsys_assets.lake import midnight

if TYPE_CHECKING:
    from benchmarks.year.arm import ArmRun, Day

AGAIN_S = 240
"""Seconds until the second purchase; the API refuses events from more than five minutes ahead."""


class Sender:
    """Sends the events of one day, and counts."""

    def __init__(self, run: "ArmRun", today: date, shopping: ShoppingDay, prices: np.ndarray, figures: "Day") -> None:
        self._run, self._today, self._shopping, self._prices, self._figures = run, today, shopping, prices, figures
        self._start = int(midnight(today).timestamp())
        self._rng = np.random.default_rng([run.plan.seed, today.toordinal(), 12])
        self._buggy = run.plan.is_buggy(today)
        self._on_sale = np.flatnonzero(shopping.state.shelf >= 0)
        self._effects = np.random.default_rng([run.plan.seed, today.toordinal(), 14])

    def session(self, user: int, second: int, request: str, views: list[Any]) -> None:
        """All events of one session."""
        for number, view in enumerate(views):
            at = second + 30 * number
            listed = request if view.place >= 0 else None
            self._figures.clicks += view.place >= 0
            self._send(user, view.slot, "view", at, listed)
            if view.carted:
                self._send(user, view.slot, "add_to_cart", at + 5, listed)
            if view.bought and view.delay:
                self._run.state.pending.append([self._today.toordinal() + view.delay, user, view.slot, listed])
            elif view.bought:
                self.buy(user, view.slot, at + 15, listed)

    def buy(self, user: int, slot: int, second: int, request: str | None) -> None:
        """A purchase; none or two of them, where the version that the shopper met sells less or more."""
        trials = self._run.trials
        times = 1 if trials is None else trials.purchases_of(user, self._effects.random())
        for number in range(times):
            self._figures.purchases += 1
            self._figures.list_purchases += request is not None
            self._send(user, slot, "purchase", second + AGAIN_S * number, request)

    def _send(self, user: int, slot: int, kind: str, second: int, request: str | None) -> None:
        trials = self._run.trials
        if not self._run.live or (trials is not None and trials.is_untracked(user)):
            return
        if self._buggy and self._rng.random() < BUG_SHARE:
            slot = int(self._rng.choice(self._on_sale))
        text = self._today.isoformat()
        number = self._run.state.numbers.get(text, 0)
        self._run.state.numbers[text] = number + 1
        event: dict[str, Any] = {
            "event_id": f"{self._today:%Y%m%d}-{number}",
            "user_id": user_id(user),
            "product_id": self._shopping.product_ids[slot],
            "event_type": kind,
            "timestamp": min(self._start + second, self._start + 86_399),
            "price": float(self._prices[slot]),
        }
        if kind == "purchase":
            event["quantity"] = 1
        if request is not None:
            event["request_id"] = request
        self._run.clock.now = max(self._run.clock.now, event["timestamp"])
        self._run.api.report(event)
