"""The answer without a model: popular products of the category at hand, then of the shop."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from lambda_api.product_card import ProductCard
from lambda_api.serving.guard import Guard
from lambda_api.serving.question import Filters, Question, RankedItem, Ranking, Reason
from lambda_api.serving.refreshed import RefreshedValue
from lambda_api.serving.scorers import excluded_products
from lambda_api.state.popular import PopularEntry, PopularProducts

Entries = tuple[PopularEntry, ...]
KEPT_CATEGORIES = 512


class PopularLists:
    """The published lists, each a `RefreshedValue`.

    Args:
        products: the lists in the table.
        guard: around each reading.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        products: PopularProducts,
        *,
        guard: Guard | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._products = products
        self.guard = guard or Guard("popular", 0.05, clock=clock)
        self._clock = clock
        self._lock = threading.Lock()
        self._lists: OrderedDict[str | None, RefreshedValue[Entries]] = OrderedDict()

    def of(self, category: str | None) -> tuple[Entries, str | None]:
        """The list of a category (``None``: of the shop), empty if there is none, and the cause of a failure."""
        with self._lock:
            found = self._lists.get(category)
            if found is None:
                read = self._products.overall if category is None else partial(self._products.of_category, category)
                found = RefreshedValue(read, self.guard, ttl_s=60.0, retry_s=2.0, clock=self._clock)
                self._lists[category] = found
            self._lists.move_to_end(category)
            while len(self._lists) > KEPT_CATEGORIES:
                self._lists.popitem(last=False)
        entries = found.current()
        if entries is None:
            return (), f"popular: {found.failure.cause}" if found.failure else None
        return entries, None


class Baseline:
    """Answers questions from the popular lists, with filters, exclusions and limits. A failing table raises nothing."""

    def __init__(self, lists: PopularLists) -> None:
        self._lists = lists

    def answer(self, question: Question) -> tuple[Ranking, str | None]:
        """The list, as long as the published ones allow, and the cause of a failure."""
        overall, cause = self._lists.of(None)
        categories = _categories(question, {entry.product_id: entry for entry in overall})
        own: list[PopularEntry] = []
        for category in categories:
            entries, failed = self._lists.of(category)
            cause = cause or failed
            own.extend(entries)
        # Scores of different categories do not compare; each divided by the best of its category does.
        chosen = [(entry, True) for entry in (_interleaved(own) if len(categories) > 1 else own)]
        chosen += [(entry, False) for entry in overall]
        return _ranking(chosen, question), cause

    def popular(self, category: str | None, k: int) -> tuple[Ranking, str | None]:
        """The ``k`` most popular available products of a category or the shop, and the cause of a failure."""
        entries, cause = self._lists.of(category)
        question = Question(user_id="", events=(), now=0, k=k, include_products=True)
        return _ranking([(entry, category is not None) for entry in entries], question), cause


def _categories(question: Question, known: Mapping[str, PopularEntry]) -> list[str]:
    """Categories to show: the filter's, else the page's, else that of a product on the page or the last event."""
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
    excluded, rules = excluded_products(question), question.rules
    within: list[RankedItem] = []
    beyond: list[RankedItem] = []
    listed: Counter[tuple[str, str]] = Counter()
    for entry, in_category in chosen:
        if len(within) == question.k:
            break
        if entry.product_id in excluded or not _passes(entry, question.filters):
            continue
        excluded.add(entry.product_id)
        item = _item(entry, in_category and entry.category is not None, question.include_products)
        limited = (("category", entry.category, rules.max_per_category), ("brand", entry.brand, rules.max_per_brand))
        groups = [((kind, name), limit) for kind, name, limit in limited if name is not None and limit is not None]
        if any(listed[group] >= limit for group, limit in groups):
            beyond.append(item)
            continue
        listed.update(group for group, _ in groups)
        within.append(item)
    return Ranking((*within, *beyond)[: question.k], "popular", False)


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
