"""Never down: each dependency fails or hangs in turn, and the answer is the next best one, with its cause."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.interactions import Event, InteractionType
from lambda_api.serving.baseline import Baseline, PopularLists
from lambda_api.serving.folder_fetch import FolderUnavailable
from lambda_api.serving.guard import DaemonPool, Guard
from lambda_api.serving.merging import merged
from lambda_api.serving.question import (
    Filters,
    Invocation,
    ListRules,
    PageContext,
    Question,
    RankedItem,
    Ranking,
    Reason,
    UnknownProduct,
)
from lambda_api.serving.routing import HOLDOUT_SALT, RoutingCache, bucket
from lambda_api.serving.scorers import Scored
from lambda_api.serving.service import Budgets, RecommendationService
from lambda_api.serving.service_answer import AfterWork
from lambda_api.state.history import HistoryStore, StoredEvent
from lambda_api.state.popular import PopularEntry, PopularProducts
from lambda_api.state.routing_record import RouteTarget, RoutingRecord, Variant, write_routing
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import TableUnavailable

VIEW, CART, PURCHASE = InteractionType.VIEW, InteractionType.ADD_TO_CART, InteractionType.PURCHASE
NOW = 1_790_000_000
OVERALL = [
    PopularEntry("p1", 9.0, "Mug", "Kitchen", "Acme", 5.0, True),
    PopularEntry("p2", 8.0, "Bowl", "Kitchen", "Bold", 15.0, True),
    PopularEntry("p3", 7.0, "Lamp", "Light", "Acme", 25.0, True),
    PopularEntry("p4", 6.0, "Sold out", "Light", "Acme", 1.0, False),
]


def target(version: str) -> RouteTarget:
    return RouteTarget(version, f"/models/{version}", version)


class FakeScorer:
    """Answers one product named after version and method; fails where told to."""

    def __init__(self) -> None:
        self.failing: dict[str, Exception | Callable[[], None]] = {}
        self.questions: list[Question] = []

    def _maybe_fail(self, *names: str) -> None:
        for name in names:
            problem = self.failing.get(name)
            if isinstance(problem, Exception):
                raise problem
            if problem is not None:
                problem()

    def ready(self, where: RouteTarget, variant: str) -> None:
        self._maybe_fail("ready", f"ready {where.version}")

    def ask(self, where: RouteTarget, asked: Invocation, variant: str = "champion") -> Scored:
        name = asked.operation.removeprefix("answer_")
        self._maybe_fail(name, f"{name} {where.version}")
        if asked.question is not None and name == "answer":
            self.questions.append(asked.question)
        return self._scored(where, "candidates" if name == "unranked" else "ranked")

    def _scored(self, where: RouteTarget, stage: Any) -> Scored:
        item = RankedItem(f"{stage} {where.version}", 1.0, Reason("for_you", "For you"))
        return Scored(Ranking((item,), stage, True), where.version)


class Kept:
    """After-reply work, kept."""

    def __init__(self) -> None:
        self.work: list[AfterWork] = []

    def submit(self, work: AfterWork) -> None:
        self.work.append(work)


class Shop:
    """A service on a real table, with a scorer that can be broken."""

    def __init__(self, path: Path, record: RoutingRecord | None) -> None:
        self.table = SqliteTable(path, "serving")
        if record is not None:
            write_routing(self.table, record, None)
        popular = PopularProducts(self.table)
        popular.publish(OVERALL, {"Kitchen": OVERALL[:2], "Light": OVERALL[2:]}, NOW)
        self.history = HistoryStore(SqliteTable(path, "history"), clock=lambda: NOW)
        self.scorer, self.kept = FakeScorer(), Kept()
        # Nothing but what a test makes hang may take too long, however busy the machine.
        self.popular = PopularLists(popular, guard=Guard("popular", 10))
        self.service = RecommendationService(
            routing=RoutingCache(self.table, guard=Guard("routing", 10)),
            budgets=Budgets(1, 10, 1, 1),
            history=self.history,
            scorer=self.scorer,
            baseline=Baseline(self.popular),
            after_reply=self.kept,
            clock=lambda: NOW,
        )

    def ask(self, user_id: str = "u", events: tuple[Event, ...] = (), **options: Any) -> Any:
        question = Question(user_id, (), NOW, options.pop("k", 10), **options)
        return self.service.recommend(question, events, "r1")


def record(*shares: int, shadow: str | None = None) -> RoutingRecord:
    names = ("champion", "challenger", "second")
    variants = tuple(Variant(name, target(f"v-{name}"), share) for name, share in zip(names, shares, strict=False))
    return RoutingRecord("exp", "salt", variants, target(shadow) if shadow else None, 1, NOW)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "state.sqlite3", record(10_000))


def ids(answer: Any) -> list[str]:
    return [item.product_id for item in answer.ranking.items]


def test_all_well(shop: Shop) -> None:
    answer = shop.ask()
    assert (ids(answer), answer.model_version, answer.variant, answer.cause) == (
        ["ranked v-champion"], "v-champion", "champion", None,
    )  # fmt: skip
    assert answer.timings.keys() == {"routing", "history", "scoring", "total"}


def slow() -> None:
    time.sleep(3.0)


@pytest.mark.parametrize("problem", [RuntimeError("boom"), slow], ids=["fails", "hangs"])
def test_without_the_ranker_candidates_answer(shop: Shop, problem: Any) -> None:
    shop.scorer.failing = {"answer": problem}
    answer = shop.ask()
    assert (ids(answer), answer.model_version) == (["candidates v-champion"], "v-champion")
    assert answer.cause == ("scoring: timeout" if problem is slow else "scoring: error")


def test_without_scoring_popular_answers(shop: Shop) -> None:
    shop.scorer.failing = {"answer": RuntimeError("boom"), "unranked": RuntimeError("boom")}
    answer = shop.ask()
    assert (ids(answer), answer.model_version, answer.ranking.stage) == (["p1", "p2", "p3"], "baseline", "popular")
    assert answer.cause == "scoring: error"


@pytest.mark.parametrize("cause", ["refused", "missing"])
def test_without_a_bundle_popular_answers_and_says_how_it_is_missing(shop: Shop, cause: str) -> None:
    shop.scorer.failing = {"ready": FolderUnavailable(cause, "detail")}
    answer = shop.ask()
    assert (answer.model_version, answer.cause) == ("baseline", f"bundle: {cause}")


def test_a_challenger_that_fails_is_replaced_by_the_champion(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "state.sqlite3", record(0, 10_000))
    shop.scorer.failing = {"ready v-challenger": FolderUnavailable("refused", "not whole")}
    answer = shop.ask()
    assert (answer.variant, answer.model_version, answer.cause) == ("challenger", "v-champion", "bundle: refused")
    shop = Shop(tmp_path / "another.sqlite3", record(0, 10_000))
    shop.scorer.failing = {
        "ready v-challenger": FolderUnavailable("refused", "not whole"),
        "ready v-champion": FolderUnavailable("missing", "gone"),
    }
    both = shop.ask()
    assert (both.model_version, both.cause) == ("baseline", "bundle: refused; bundle: missing")


def interleaved(path: Path, holdout: Variant | None = None) -> Shop:
    return Shop(path / "state.sqlite3", replace(record(0, 10_000), interleaved=True, holdout=holdout))


def test_an_interleaved_list_has_places_of_both_versions_and_says_whose(tmp_path: Path) -> None:
    shop = interleaved(tmp_path)
    answer = shop.ask()
    places = {(item.product_id, item.team) for item in answer.exposure.items}
    assert places == {("ranked v-champion", "v-champion"), ("ranked v-challenger", "v-challenger")}
    assert (answer.variant, answer.model_version, answer.cause) == ("challenger", "v-challenger", None)
    assert {question.explore for question in shop.scorer.questions} == {0.0}
    anonymous = shop.ask("")
    assert (anonymous.variant, ids(anonymous)) == ("champion", ["ranked v-champion"])
    assert [item.team for item in anonymous.exposure.items] == [None]


def test_who_is_held_out_gets_no_interleaved_list(tmp_path: Path) -> None:
    shop = interleaved(tmp_path, Variant("holdout", target("v-old"), 2_000))
    kept = next(f"u{number}" for number in range(100) if bucket(HOLDOUT_SALT, f"u{number}") < 2_000)
    answer = shop.ask(kept)
    assert (answer.variant, ids(answer)) == ("holdout", ["ranked v-old"])


@pytest.mark.parametrize("problem", [RuntimeError("boom"), slow], ids=["fails", "hangs"])
@pytest.mark.parametrize("failing", ["champion", "challenger", "both"])
def test_an_interleaved_list_is_one_versions_where_the_other_does_not_answer(
    tmp_path: Path, failing: str, problem: Any
) -> None:
    shop, named = interleaved(tmp_path), ("champion", "challenger") if failing == "both" else (failing,)
    shop.scorer.failing = {f"{how} v-{name}": problem for name in named for how in ("answer", "unranked")}
    answer = shop.ask()
    version = {"champion": "v-challenger", "challenger": "v-champion", "both": "baseline"}[failing]
    assert (answer.model_version, answer.variant, answer.version_failed) == (
        version,
        "challenger",
        failing != "champion",
    )
    assert answer.cause == ("scoring: timeout" if problem is slow else "scoring: error")
    assert {item.team for item in answer.exposure.items} == {None}


@pytest.mark.parametrize("degraded", ["champion", "challenger"])
def test_a_list_without_its_ranker_is_not_interleaved(tmp_path: Path, degraded: str) -> None:
    shop = interleaved(tmp_path)
    shop.scorer.failing = {f"answer v-{degraded}": RuntimeError("boom")}
    answer = shop.ask()
    other = {"champion": "challenger", "challenger": "champion"}[degraded]
    assert (ids(answer), answer.model_version) == ([f"ranked v-{other}"], f"v-{other}")


@pytest.mark.parametrize("problem", [OSError("disk on fire"), slow], ids=["fails", "hangs"])
def test_without_history_the_events_of_the_request_count(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, problem: Any
) -> None:
    def recent(*arguments: object) -> None:
        if isinstance(problem, Exception):
            raise problem
        problem()

    monkeypatch.setattr(shop.history, "recent", recent)
    seen = (Event("p9", VIEW, NOW),)
    answer = shop.ask(events=seen)
    assert answer.model_version == "v-champion"
    assert answer.cause == ("history: timeout" if problem is slow else "history: error")
    assert shop.scorer.questions[-1].events == seen


def test_before_the_first_release_popular_answers(tmp_path: Path) -> None:
    answer = Shop(tmp_path / "state.sqlite3", None).ask()
    assert (ids(answer)[0], answer.model_version, answer.exposure.experiment, answer.variant) == (
        "p1",
        "baseline",
        "none",
        "none",
    )
    assert answer.cause == "routing: nothing released"


def test_a_route_that_is_not_read_in_time_is_told_as_such(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    slow = RoutingCache(shop.table, guard=Guard("routing", 0.05, pool=DaemonPool()))
    monkeypatch.setattr(slow, "_read", lambda: held.wait(20))
    monkeypatch.setattr(shop.service, "routing", slow)
    answer = shop.ask()
    held.set()
    assert (answer.model_version, answer.cause) == ("baseline", "routing: timeout")


def unavailable(*arguments: object, **named: object) -> None:
    raise TableUnavailable("disk on fire")


def test_with_nothing_at_all_the_list_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path / "state.sqlite3", record(10_000))
    monkeypatch.setattr(SqliteTable, "get", unavailable)
    monkeypatch.setattr(SqliteTable, "query", unavailable)
    shop.scorer.failing = {"ready": RuntimeError("boom")}
    answer = shop.ask()
    assert (ids(answer), answer.model_version) == ([], "baseline")
    assert {part.partition(":")[0] for part in answer.cause.split("; ")} == {"routing", "history", "popular"}


def test_popular_lists_outlive_their_table(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.scorer.failing = {"ready": RuntimeError("boom")}
    shop.ask()
    clock = time.monotonic() + 3600
    monkeypatch.setattr(shop.popular, "_clock", lambda: clock)
    monkeypatch.setattr(SqliteTable, "get", unavailable)
    assert ids(shop.ask()) == ["p1", "p2", "p3"]


def test_a_dependency_that_hangs_is_asked_less_and_less(shop: Shop) -> None:
    calls = []
    held = threading.Event()

    def hang() -> None:
        calls.append(1)
        held.wait(20)

    shop.scorer.failing = {"answer": hang, "unranked": RuntimeError("boom")}
    causes = [shop.ask().cause for _ in range(12)]
    held.set()
    assert causes[0].startswith("scoring: timeout")
    assert causes[-1].startswith("scoring: open")
    assert len(calls) == 5


def test_even_a_failure_in_the_service_itself_gives_a_list(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_api.serving.service.merged", None)
    answer = shop.ask()
    assert (ids(answer), answer.cause, answer.model_version) == (["p1", "p2", "p3"], "service: error", "baseline")
    shop.kept.submit = None  # type: ignore[assignment, method-assign]
    assert ids(shop.ask()) == ["p1", "p2", "p3"]


def test_the_baseline_honours_what_was_asked(shop: Shop) -> None:
    shop.scorer.failing = {"ready": RuntimeError("boom")}
    bought = (Event("p1", PURCHASE, NOW - 5),)
    assert ids(shop.ask(events=bought)) == ["p2", "p3"]
    assert ids(shop.ask(events=bought, exclude_purchased=False)) == ["p1", "p2", "p3"]
    assert ids(shop.ask(exclude_product_ids=("p2",))) == ["p1", "p3"]
    assert ids(shop.ask(filters=Filters(brands=("Acme",)))) == ["p1", "p3"]
    assert ids(shop.ask(filters=Filters(brands=("Acme",), available_only=False, max_price=5.0))) == ["p1", "p4"]
    assert ids(shop.ask(filters=Filters(categories=("Light",)))) == ["p3"]
    assert ids(shop.ask(filters=Filters(min_price=10.0), k=1)) == ["p2"]
    on_page = shop.ask(context=PageContext("product", ("p3",)), filters=Filters(available_only=False))
    assert ids(on_page) == ["p4", "p1", "p2"]  # of the page's category first, without the page's product
    one_of_each = {"context": PageContext("product", ("p3",)), "rules": ListRules(max_per_brand=1)}
    assert ids(shop.ask(**one_of_each, filters=Filters(available_only=False))) == ["p4", "p2", "p1"]
    assert [item.reason.code for item in on_page.ranking.items] == ["popular_in_category", "popular", "popular"]
    assert ids(shop.ask(context=PageContext("category", category="Light"))) == ["p3", "p1", "p2"]
    assert ids(shop.ask(events=(Event("p3", VIEW, NOW - 1),))) == ["p3", "p1", "p2"]


def test_similar_and_popular_fall_back_too(shop: Shop) -> None:
    assert ids(shop.service.similar("p1", 5, "r")) == ["ranked v-champion"]
    shop.scorer.failing = {"similar": RuntimeError("boom")}
    answer = shop.service.similar("p1", 5, "r")
    assert (ids(answer), answer.model_version, answer.cause) == (["p2", "p3"], "baseline", "scoring: error")
    shop.scorer.failing = {"similar": UnknownProduct("no such product")}
    with pytest.raises(UnknownProduct):
        shop.service.similar("p1", 5, "r")
    assert ids(shop.service.popular("Light", 5, "r")) == ["p3"]
    assert ids(shop.service.popular("Nowhere", 5, "r")) == []


def test_history_reaches_the_scorer_newest_known_merged_with_the_request(shop: Shop) -> None:
    shop.history.record([StoredEvent("e1", "u", "p1", VIEW, NOW - 60), StoredEvent("e2", "u", "p2", CART, NOW - 50)])
    sent = (Event("p2", CART, NOW), Event("p3", VIEW, NOW - 10), Event("p1", VIEW, NOW - 60))
    shop.ask(events=sent)
    question = shop.scorer.questions[-1]
    assert [(e.product_id, e.timestamp - NOW) for e in question.events] == [("p1", -60), ("p2", -50), ("p3", -10)]
    assert (question.now, question.seed) == (NOW, "r1")


def test_a_shopper_silent_for_years_is_judged_at_the_time_of_their_last_event(shop: Shop) -> None:
    long_ago = NOW - 10 * 365 * 86_400
    shop.ask(events=(Event("p1", VIEW, long_ago),))
    assert shop.scorer.questions[-1].now == long_ago + 1
    shop.ask(events=(Event("p1", VIEW, long_ago), Event("p2", VIEW, NOW)))
    assert shop.scorer.questions[-1].now == NOW


def test_every_answer_leaves_an_exposure_and_a_question_for_the_shadow(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "state.sqlite3", record(4_000, 6_000, shadow="v-shadow"))
    for number in range(50):
        shop.ask(f"u{number}")
    shares = {"champion": 0.4, "challenger": 0.6}
    assert {work.exposure.variant for work in shop.kept.work} == set(shares)
    for work in shop.kept.work:
        exposure = work.exposure
        assert exposure.variant_propensity == shares[exposure.variant]
        assert [item.rank for item in exposure.items] == [1]
        assert work.shadow == target("v-shadow")
        assert Question.from_json(work.question).user_id == exposure.user_id


EVENTS = st.lists(
    st.builds(Event, st.sampled_from("abc"), st.sampled_from([VIEW, PURCHASE]), st.integers(NOW - 1000, NOW)),
    max_size=8,
)


@given(stored=EVENTS, sent=EVENTS)
def test_merging_keeps_everything_stored_in_order_and_adds_nothing_twice(
    stored: list[Event], sent: list[Event]
) -> None:
    stored.sort(key=lambda event: event.timestamp)
    result = merged(stored, sent, NOW)
    assert [e.timestamp for e in result] == sorted(e.timestamp for e in result)
    rest = list(result)
    for event in stored:
        rest.remove(event)
    assert set(rest) <= set(sent) - set(stored)
    assert len(rest) == len(set(rest))
    assert merged(result, sent, NOW) == result
