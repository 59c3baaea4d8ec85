"""Runs the steps of a request: route, history, scoring, fallback, exposure. Feedback is in ``feedback``.

A failing dependency is replaced by the next best source::

    routing record  -> the last known one; without any: popular
    history store   -> the events of the request
    bundle          -> the variant's last good one; without any: the champion's; without that: popular
    ranker          -> candidates without ranking -> the champion's -> popular in the category -> popular in the shop
    interleaving    -> the list of the version that answers -> as above, where neither does
    popular lists   -> the last known ones; without any: an empty list
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lambda_api.interactions import Event
from lambda_api.serving import team_draft
from lambda_api.serving.answer_cache import AnswerCache
from lambda_api.serving.baseline import Baseline
from lambda_api.serving.counters import Counters
from lambda_api.serving.folder_fetch import FolderUnavailable
from lambda_api.serving.guard import DependencyFailed, Guard
from lambda_api.serving.merging import merged
from lambda_api.serving.question import Invocation, Question, Ranking, UnknownProduct
from lambda_api.serving.routing import RoutingCache, assign
from lambda_api.serving.scorers import Scored, Scorer
from lambda_api.serving.service_answer import (
    BASELINE,
    AfterReply,
    AfterWork,
    RequestTrace,
    ServiceAnswer,
    shown_items,
)
from lambda_api.state.exposures import Exposure, ListKind, has_failed
from lambda_api.state.history import HistoryStore
from lambda_api.state.routing_record import WHOLE, RouteTarget, RoutingRecord, Variant

HISTORY_LIMIT = 200
DORMANT_S = 180 * 86_400
"""A shopper silent for longer is scored as at the time of the last event, where recency weights are not zero."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Time budget of each step in seconds. Loading a bundle happens once, before scoring."""

    history_s: float = 0.06
    loading_s: float = 5.0
    scoring_s: float = 0.25
    endpoint_s: float = 0.4


NOBODY = RoutingRecord(
    experiment="none",
    salt="none",
    variants=(Variant("none", RouteTarget(version=BASELINE, bundle_uri="none", checksum="none"), WHOLE),),
    shadow=None,
    revision=0,
    updated_at=0,
)
"""Replaces the routing record while none is known; nothing is scored with it."""

log = logging.getLogger(__name__)


class RecommendationService:
    """Answers requests. A failing dependency raises nothing.

    Args:
        routing, history, scorer, baseline: see their modules.
        after_reply: takes exposures and shadow questions.
        counters: counts fallbacks by cause.
        explore: share of places filled at random.
        cache: of scored lists; ``None``: none.
        budgets: see `Budgets`.
        clock: seconds since 1970 UTC.
    """

    def __init__(
        self,
        *,
        routing: RoutingCache,
        history: HistoryStore,
        scorer: Scorer,
        baseline: Baseline,
        after_reply: AfterReply,
        counters: Counters | None = None,
        explore: float = 0.0,
        cache: AnswerCache | None = None,
        budgets: Budgets | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.routing = routing
        self.scorer = scorer
        self.baseline = baseline
        self.counters = counters or Counters()
        self._history = history
        self._after_reply = after_reply
        self._explore = explore
        self._cache = cache
        self._clock = clock
        self._budgets = budgets or Budgets()
        self.history_guard = Guard("history", self._budgets.history_s)
        self._guards: dict[tuple[str, str], Guard] = {}
        self._ready: set[tuple[str, str]] = set()

    @property
    def now(self) -> int:
        """Seconds since 1970 UTC."""
        return int(self._clock())

    def recommend(self, question: Question, request_events: Sequence[Event], request_id: str) -> ServiceAnswer:
        """A list for ``question.user_id``.

        Args:
            question: ``events``, ``now``, ``explore`` and ``seed`` are filled in here.
            request_events: events of the request, which may not be stored yet.
            request_id: unique; identifies the list in the inference log and seeds exploration.
        """
        trace = RequestTrace()
        record, variant = self._route(question.user_id, trace)
        try:
            question = self._with_history(question, request_events, request_id, trace)
            scored = self._score(record, variant, question, trace)
        except Exception:
            log.exception("answering failed where nothing may fail")
            trace.failed("service: error")
            scored = self._popular(question, trace)
        answer = self._finish(record, variant, question, scored, request_id, trace)
        self._hand_over(answer, record.shadow, question)
        return answer

    def similar(self, product_id: str, k: int, request_id: str) -> ServiceAnswer:
        """Products similar to one; popular ones when no model answers.

        Raises:
            UnknownProduct: neither the model nor the catalogue has the product.
        """
        trace = RequestTrace()
        record = self._record(trace)
        question = Question("", (), self.now, k, exclude_product_ids=(product_id,), include_products=True)
        scored: Scored | None = None
        if record is not NOBODY:
            scored = self._ask(record.champion, trace, Invocation.of_similar(product_id, k))
        scored = scored or self._popular(question, trace)
        return self._finish(record, record.champion, question, scored, request_id, trace, "similar")

    def popular(self, category: str | None, k: int, request_id: str) -> ServiceAnswer:
        """Popular products of a category, or of the shop."""
        trace = RequestTrace()
        ranking, cause = self.baseline.popular(category, k)
        trace.failed(cause)
        question = Question("", (), self.now, k)
        return self._finish(NOBODY, NOBODY.champion, question, Scored(ranking, BASELINE), request_id, trace, "popular")

    def warm(self) -> None:
        """Load the champion and ask it once, before the first request. Never raises."""
        trace = RequestTrace()
        record = self._record(trace)
        if record is not NOBODY:
            question = Question("", (), self.now, 1)
            self._ask(record.champion, trace, Invocation.of(question))
        if trace.causes:
            log.warning("not warm: %s", trace.cause)

    def guards(self) -> list[Guard]:
        """All guards, for ``/health``."""
        return [self.routing.guard, self.history_guard, *self._guards.values()]

    def _route(self, user_id: str, trace: RequestTrace) -> tuple[RoutingRecord, Variant]:
        since = time.perf_counter()
        record = self._record(trace)
        variant = assign(record, user_id)
        trace.time("routing", since)
        return record, variant

    def _record(self, trace: RequestTrace) -> RoutingRecord:
        record = self.routing.current()
        if record is None:
            failure, failing = self.routing.failure, self.routing.guard.state.failures > 0
            trace.failed(f"routing: {failure.cause if failure else 'error' if failing else 'nothing released'}")
        return record or NOBODY

    def _with_history(
        self, question: Question, request_events: Sequence[Event], request_id: str, trace: RequestTrace
    ) -> Question:
        since = time.perf_counter()
        now = self.now
        try:
            stored = self.history_guard.call(self._history.recent, question.user_id, HISTORY_LIMIT)
            known: bool | None = False
        except DependencyFailed as failure:
            stored, known = (), None
            trace.failed(f"history: {_how(failure)}")
        trace.time("history", since)
        events = merged(stored, request_events, now)
        trace.shopper_known = True if events else known
        newest = max((event.timestamp for event in events), default=now)
        return replace(
            question,
            events=events,
            now=newest + 1 if newest < now - DORMANT_S else now,
            explore=self._explore,
            seed=request_id,
        )

    def _score(self, record: RoutingRecord, variant: Variant, question: Question, trace: RequestTrace) -> Scored:
        since = time.perf_counter()
        scored: Scored | None = None
        if record is not NOBODY:
            if record.interleaved and variant is record.variants[1]:
                scored = self._interleaved(record, question, trace)
            else:
                scored = self._cached(variant, trace, question)
            if scored is None and variant is not record.champion:
                scored = self._ask(record.champion, trace, Invocation.of(question))
        if scored is None:
            scored = self._popular(question, trace)
        trace.time("scoring", since)
        return scored

    def _interleaved(self, record: RoutingRecord, question: Question, trace: RequestTrace) -> Scored | None:
        """The lists of champion and challenger, merged; one of them where only that version answers as it should.

        Both are made one after the other, each within its own budget, and without exploration, which would be noise.
        """
        champion, challenger = record.variants
        asked = replace(question, explore=0.0)
        ours, theirs = self._cached(champion, trace, asked), self._cached(challenger, trace, asked)
        if ours is not None and theirs is not None and _is_own(ours, champion) and _is_own(theirs, challenger):
            return team_draft.draft(ours, theirs, question.k, question.seed)
        if theirs is not None and _is_own(theirs, challenger):
            return theirs
        return ours or theirs

    def _cached(self, variant: Variant, trace: RequestTrace, question: Question) -> Scored | None:
        """The variant's list, from the cache where the same question was asked a moment ago."""

        def score() -> Scored | None:
            scored = self._ask(variant, trace, Invocation.of(question), Invocation.of(question, "answer_unranked"))
            # A list without ranking stands in for a failed one and is not worth keeping.
            return scored if scored is None or not trace.causes else replace(scored, note=scored.note or trace.cause)

        return score() if self._cache is None else self._cache.get_or_score(variant.target, question, score)

    def _ask(self, variant: Variant, trace: RequestTrace, *invocations: Invocation) -> Scored | None:
        """The answer to the first of ``invocations`` that succeeds; otherwise ``None``, with causes noted."""
        target, name = variant.target, variant.name
        place = "endpoint" if target.endpoint else "scoring"
        budget = self._budgets.endpoint_s if target.endpoint else self._budgets.scoring_s
        # Loading takes seconds and scoring milliseconds, so each has its own budget. A variant that has answered stays
        # ready: its last good bundle keeps answering while the next one loads.
        if (place, name) not in self._ready:
            try:
                self._guard("bundle", name, self._budgets.loading_s).call(self.scorer.ready, target, name)
            except DependencyFailed as failure:
                trace.failed(f"bundle: {_how(failure)}")
                return None
            self._ready.add((place, name))
        for asked in invocations:
            guard = self._guard(place if asked.operation == "answer" else f"{place}.{asked.operation}", name, budget)
            try:
                scored = guard.call(self.scorer.ask, target, asked, name)
            except DependencyFailed as failure:
                trace.failed(f"{place}: {_how(failure)}")
                self._ready.discard((place, name))
            else:
                trace.failed(scored.note)
                return scored
        return None

    def _guard(self, name: str, variant: str, budget_s: float) -> Guard:
        guard = self._guards.get((name, variant))
        if guard is None:
            # A process that runs for months sees many experiments, each with its own variant names.
            if len(self._guards) >= 64:
                self._guards.clear()
                self._ready.clear()
            made = Guard(f"{name}/{variant}", budget_s, answers=(UnknownProduct,))
            guard = self._guards.setdefault((name, variant), made)
        return guard

    def _popular(self, question: Question, trace: RequestTrace) -> Scored:
        try:
            ranking, cause = self.baseline.answer(question)
        except Exception:
            log.exception("the baseline failed")
            ranking, cause = Ranking((), "popular", False), "popular: error"
        trace.failed(cause)
        return Scored(ranking, BASELINE)

    def _finish(
        self,
        record: RoutingRecord,
        variant: Variant,
        question: Question,
        scored: Scored,
        request_id: str,
        trace: RequestTrace,
        kind: ListKind = "recommend",
    ) -> ServiceAnswer:
        total = round((time.perf_counter() - trace.started) * 1000, 3)
        trace.timings["total"] = total
        for cause in trace.causes:
            self.counters.add("fallbacks", cause)
        self.counters.add("items_shown", by=len(scored.ranking.items))
        self.counters.add("answers", scored.ranking.stage)
        exposure = Exposure(
            request_id=request_id,
            user_id=question.user_id,
            at_ms=int(self._clock() * 1000),
            experiment=record.experiment,
            variant=variant.name,
            variant_propensity=record.share_of(variant),
            model_version=scored.model_version,
            stage=scored.ranking.stage,
            cause=trace.cause,
            items=shown_items(scored.ranking, scored.teams),
            context=_shown_context(question, scored.ranking),
            latency_ms=total,
            revision=record.revision,
            list_kind=kind,
        )
        return ServiceAnswer(
            scored.ranking,
            scored.model_version,
            variant.name,
            trace.cause,
            exposure,
            trace.timings,
            trace.shopper_known,
            has_failed(exposure, variant.target.version),
        )

    def _hand_over(self, answer: ServiceAnswer, shadow: RouteTarget | None, question: Question) -> None:
        asked = None if shadow is None else question.to_json()
        try:
            self._after_reply.submit(AfterWork(answer.exposure, shadow, asked))
        except Exception:
            log.exception("work after the reply was refused")
            self.counters.add("exposures_lost")


def _is_own(scored: Scored, variant: Variant) -> bool:
    """Whether the list is the ranked one of the variant's own version."""
    return scored.model_version == variant.target.version and scored.ranking.stage == "ranked"


def _how(failure: DependencyFailed) -> str:
    """How a dependency failed, in one of a few words; the details are logged, except while the guard is open."""
    if failure.cause != "open":
        log.warning("%s failed (%s): %s", failure.name, failure.cause, failure.detail)
    if isinstance(failure.__cause__, FolderUnavailable):
        return failure.__cause__.cause
    return failure.cause


def _shown_context(question: Question, ranking: Ranking) -> dict[str, Any]:
    context = question.context
    return {
        "page": context.page,
        "device": context.device,
        "category": context.category,
        "product_ids": list(context.product_ids),
        "k": question.k,
        "diversity": question.diversity,
        "events": len(question.events),
        "personal": ranking.personal,
    }
