"""Every feature column once more, by brute force in plain Python: loops, no engine, no code of the features."""

import math
import statistics
from datetime import UTC, date, datetime
from typing import Any

Rows = list[dict[str, Any]]
Row = dict[str, Any]

DAY = 86_400.0


class Oracle:
    """Features at ``as_of`` of three lists of canonical rows."""

    def __init__(self, interactions: Rows, products: Rows, users: Rows, as_of: datetime) -> None:
        self.events = [row for row in interactions if row["timestamp"] < as_of]
        self.products = {row["product_id"]: row for row in products}
        self.users = {row["user_id"]: row for row in users}
        self.as_of = as_of

    def user_features(self) -> dict[tuple[str, ...], Row]:
        known = {
            name
            for name, row in self.users.items()
            if row.get("join_date") is None or _midnight(row["join_date"]) < self.as_of
        }
        every = known | {event["user_id"] for event in self.events}
        touched = {name: self._products_of(name) for name in every}
        bought = {name: self._products_of(name, "purchase") for name in every}
        active = [name for name in every if touched[name]]
        mean, strength = _prior([(len(bought[name]), len(touched[name])) for name in active])
        return {(name,): self._user(name, bought[name], touched[name], mean, strength) for name in every}

    def product_features(self) -> dict[tuple[str, ...], Row]:
        every = set(self.products) | {event["product_id"] for event in self.events}
        met = {name: self._users_of(name) for name in every}
        buyers = {name: self._users_of(name, "purchase") for name in every}
        mean, strength = _prior([(len(buyers[name]), len(met[name])) for name in every if met[name]])
        ratings = [event["rating"] for event in self.events if event["rating"] is not None]
        result = {}
        for name in every:
            events = [event for event in self.events if event["product_id"] == name]
            own = [event["rating"] for event in events if event["rating"] is not None]
            row = {"product_id": name, **self._activity(events)}
            for days in (1, 7, 30):
                bought = [event for event in events if event["interaction_type"] == "purchase"]
                row[f"decayed_purchases_{days}d"] = sum(0.5 ** (self._age(event) / days) for event in bought)
            row["distinct_users"], row["buyers"] = len(met[name]), len(buyers[name])
            row["conversion_rate"] = _smooth(len(buyers[name]), len(met[name]), mean, strength)
            row["smoothed_rating"] = _smooth(sum(own), len(own), statistics.fmean(ratings) if ratings else None, 5.0)
            row["price"], row["price_level"] = self._price(name), self._price_level(name)
            result[(name,)] = row
        return result

    def user_product_features(self) -> dict[tuple[str, ...], Row]:
        result = {}
        for user, product in {(event["user_id"], event["product_id"]) for event in self.events}:
            events = [e for e in self.events if (e["user_id"], e["product_id"]) == (user, product)]
            fact = self.products.get(product, {})
            level, usual = self._price_level(product), self._usual_level(user)
            result[(user, product)] = {
                "user_id": user,
                "product_id": product,
                **self._activity(events),
                "mean_rating": _mean([event["rating"] for event in events]),
                "category_affinity": self._affinity(user, "category", fact.get("category")),
                "brand_affinity": self._affinity(user, "brand", fact.get("brand")),
                "price_level_gap": None if level is None or usual is None else level - usual,
            }
        return result

    def _user(self, name: str, bought: set[str], touched: set[str], mean: float | None, strength: float) -> Row:
        events = [event for event in self.events if event["user_id"] == name]
        row = {"user_id": name, **self._activity(events)}
        row["active_days"] = len({event["timestamp"].date() for event in events})
        row["purchase_days"] = len({e["timestamp"].date() for e in events if e["interaction_type"] == "purchase"})
        row["distinct_products"] = len(touched)
        row["conversion_rate"] = _smooth(len(bought), len(touched), mean, strength)
        row["mean_rating"] = _mean([event["rating"] for event in events])
        row["price_level"] = self._usual_level(name)
        for fact in ("category", "brand"):
            values = [self._fact(event, fact) for event in events if self._fact(event, fact) is not None]
            top = min(set(values), key=lambda value: (-values.count(value), value)) if values else None
            row[f"top_{fact}"] = top
            row[f"top_{fact}_affinity"] = self._affinity(name, fact, top)
            row[f"distinct_{fact}_count"] = len(set(values))
        joined = self.users.get(name, {}).get("join_date")
        late = joined is None or _midnight(joined) >= self.as_of
        row["account_age_days"] = None if late else (self.as_of - _midnight(joined)).total_seconds() / DAY
        return row

    def _activity(self, events: Rows) -> Row:
        ages = [self._age(event) for event in events]
        purchases = [event for event in events if event["interaction_type"] == "purchase"]
        spends = [
            self._unit_price(event) * (1.0 if event["quantity"] is None else event["quantity"])
            for event in purchases
            if self._unit_price(event) is not None
        ]
        kinds = [event["interaction_type"] for event in events]
        return {
            "interactions": len(events),
            "views": kinds.count("view"),
            "add_to_carts": kinds.count("add_to_cart"),
            "purchases": kinds.count("purchase"),
            "ratings": kinds.count("rating"),
            "days_since_first_interaction": max(ages, default=None),
            "days_since_last_interaction": min(ages, default=None),
            "days_since_last_purchase": min((self._age(event) for event in purchases), default=None),
            "decayed_interactions_1d": sum(0.5**age for age in ages),
            "decayed_interactions_7d": sum(0.5 ** (age / 7) for age in ages),
            "decayed_interactions_30d": sum(0.5 ** (age / 30) for age in ages),
            "spend": sum(spends) if spends else None,
        }

    def _age(self, event: Row) -> float:
        return (self.as_of - event["timestamp"]).total_seconds() / DAY

    def _fact(self, event: Row, fact: str) -> Any:
        return self.products.get(event["product_id"], {}).get(fact)

    def _unit_price(self, event: Row) -> Any:
        return event["price"] if event["price"] is not None else self._fact(event, "price")

    def _price(self, product: str) -> float | None:
        paid = [e["price"] for e in self.events if e["product_id"] == product and e["price"] is not None]
        return statistics.fmean(paid) if paid else self.products.get(product, {}).get("price")

    def _price_level(self, product: str) -> float | None:
        category = self.products.get(product, {}).get("category")
        peers = {
            event["product_id"]
            for event in self.events
            if self.products.get(event["product_id"], {}).get("category") == category
        }
        prices = [price for price in map(self._price, peers) if price is not None]
        own = self._price(product)
        if own is None or not prices:
            return None
        return math.log(own) - statistics.fmean(map(math.log, prices))

    def _usual_level(self, user: str) -> float | None:
        return _mean([self._price_level(event["product_id"]) for event in self.events if event["user_id"] == user])

    def _affinity(self, user: str, fact: str, value: Any) -> float | None:
        if value is None:
            return None
        everyone = [self._fact(event, fact) for event in self.events if self._fact(event, fact) is not None]
        own = [self._fact(e, fact) for e in self.events if e["user_id"] == user and self._fact(e, fact) is not None]
        return (own.count(value) + 5 * everyone.count(value) / len(everyone)) / (len(own) + 5)

    def _products_of(self, user: str, kind: str | None = None) -> set[str]:
        return {e["product_id"] for e in self.events if e["user_id"] == user and kind in (None, e["interaction_type"])}

    def _users_of(self, product: str, kind: str | None = None) -> set[str]:
        return {
            e["user_id"] for e in self.events if e["product_id"] == product and kind in (None, e["interaction_type"])
        }


def _prior(groups: list[tuple[int, int]]) -> tuple[float | None, float]:
    """Mean and strength of the Beta prior of (successes, trials) groups, by Kleinman's moments as deviations."""
    total = sum(trials for _, trials in groups)
    if not total:
        return None, 10.0
    mean = sum(successes for successes, _ in groups) / total
    if mean in (0.0, 1.0):
        return mean, 10.0
    spread = sum(trials * (successes / trials - mean) ** 2 for successes, trials in groups)
    within = len(groups) - 1
    room = total - sum(trials**2 for _, trials in groups) / total - within
    if room == 0:
        return mean, 10.0
    rho = (spread / (mean * (1 - mean)) - within) / room
    return mean, 1 / min(max(rho, 1 / 1001), 1 / 2) - 1


def _smooth(successes: float, trials: float, mean: float | None, strength: float) -> float | None:
    return None if mean is None else (successes + strength * mean) / (trials + strength)


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
