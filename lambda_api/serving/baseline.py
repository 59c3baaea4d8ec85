"""The answer when no model can give one: popular in the category at hand, then popular in the shop.

Put here what can be decided from the published lists alone. Keep those lists' storage (``lambda_api.state.popular``)
and everything that needs a model or the catalogue out.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lambda_api.product_card import ProductCard
from lambda_api.serving.guard import DependencyFailed, Guard
from lambda_api.serving.question import Filters, Question, RankedItem, Ranking, Reason
from lambda_api.serving.scorers import excluded_products
from lambda_api.state.popular import PopularEntry, PopularProducts

Entries = tuple[PopularEntry, ...]
KEPT_CATEGORIES = 512


@dataclass(slots=True)
class _Known:
    entries: Entries
    due_at: float


class PopularLists:
    """The published lists, each read at most once in ``ttl_s``; the last known one when the table fails.

    Args:
        products: the lists in the table.
        guard: around each reading.
        ttl_s, retry_s: seconds until a list is read again, after a success and after a failure.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        products: PopularProducts,
        *,
        guard: Guard | None = None,
        ttl_s: float = 60.0,
        retry_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._products = products
        self.guard = Guard("popular", 0.05, clock=clock) if guard is None else guard
        self._ttl_s = ttl_s
        self._retry_s = retry_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str | None, _Known] = OrderedDict()

    def of(self, category: str | None) -> tuple[Entries, str | None]:
        """The list of a category (``None``: of the shop), empty where there is none, and what failed, if anything."""
        known = self._known.get(category)
        if known is not None and self._clock() < known.due_at:
            return known.entries, None
        try:
            if category is None:
                entries = self.guard.call(self._products.overall)
            else:
                entries = self.guard.call(self._products.of_category, category)
        except DependencyFailed as failure:
            if known is None:
                return (), f"popular: {failure.cause}"
            known.due_at = self._clock() + self._retry_s
            return known.entries, None
        with self._lock:
            self._known[category] = _Known(entries, self._clock() + self._ttl_s)
            self._known.move_to_end(category)
            while len(self._known) > KEPT_CATEGORIES:
                self._known.popitem(last=False)
        return entries, None


class Baseline:
    """Answers any question from popular lists, within its filters and exclusions. Never raises for a failing table."""

    def __init__(self, lists: PopularLists) -> None:
        self._lists = lists

    def answer(self, question: Question) -> tuple[Ranking, str | None]:
        """A list as long as the published ones allow, and what failed while making it, if anything."""
        overall, cause = self._lists.of(None)
        categories = _categories(question, {entry.product_id: entry for entry in overall})
        own: list[PopularEntry] = []
        for category in categories:
            entries, failed = self._lists.of(category)
            cause = cause or failed
            own.extend(entries)
        # Scores of two categories' lists do not compare; shares of their best do, and interleave them.
        chosen = [(entry, True) for entry in (_interleaved(own) if len(categories) > 1 else own)]
        chosen += [(entry, False) for entry in overall]
        return _ranking(chosen, question), cause

    def popular(self, category: str | None, k: int) -> tuple[Ranking, str | None]:
        """The ``k`` most popular available products of a category (of the shop: ``None``), and what failed."""
        entries, cause = self._lists.of(category)
        question = Question(user_id="", events=(), now=0, k=k, include_products=True)
        return _ranking([(entry, category is not None) for entry in entries], question), cause


def _categories(question: Question, known: Mapping[str, PopularEntry]) -> list[str]:
    """Categories at hand, most telling first: the filter's, the page's, of products on the page, of the last event."""
    if question.filters.categories:
        return list(dict.fromkeys(question.filters.categories))
    if question.context.category:
        return [question.context.category]
    latest = sorted(question.events, key=lambda event: event.timestamp, reverse=True)
    for product_id in [*question.context.product_ids, *(event.product_id for event in latest)]:
        entry = known.get(product_id)
        if entry is not None and entry.category:
            return [entry.category]
    return []


def _interleaved(entries: Iterable[PopularEntry]) -> list[PopularEntry]:
    by_category: dict[str | None, list[PopularEntry]] = {}
    for entry in entries:
        by_category.setdefault(entry.category, []).append(entry)
    shares = [(entry.score / (group[0].score or 1.0), entry) for group in by_category.values() for entry in group]
    return [entry for _, entry in sorted(shares, key=lambda pair: -pair[0])]


def _ranking(chosen: Sequence[tuple[PopularEntry, bool]], question: Question) -> Ranking:
    excluded = excluded_products(question)
    items: list[RankedItem] = []
    for entry, in_category in chosen:
        if len(items) == question.k:
            break
        if entry.product_id in excluded or not _passes(entry, question.filters):
            continue
        excluded.add(entry.product_id)
        items.append(_item(entry, in_category and entry.category is not None, question.include_products))
    return Ranking(tuple(items), "popular", False)


def _item(entry: PopularEntry, in_category: bool, with_product: bool) -> RankedItem:
    card = ProductCard(entry.product_id, entry.name, entry.category, entry.brand, entry.price, entry.available)
    if in_category:
        reason = Reason("popular_in_category", f"Popular in {entry.category}")
    else:
        reason = Reason("popular", "Popular in the shop")
    return RankedItem(entry.product_id, entry.score, reason, product=card if with_product else None)


def _passes(entry: PopularEntry, filters: Filters) -> bool:
    if filters.available_only and not entry.available:
        return False
    if filters.categories and entry.category not in filters.categories:
        return False
    if filters.brands and entry.brand not in filters.brands:
        return False
    if filters.min_price is not None and (entry.price is None or entry.price < filters.min_price):
        return False
    return filters.max_price is None or (entry.price is not None and entry.price <= filters.max_price)
