"""The cache of scored lists: the same question is scored once, and no list from before an event is given after it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.handlers.dependencies import Serving
from lambda_api.interactions import Event, InteractionType
from lambda_api.serving.answer_cache import CAPACITY, AnswerCache
from lambda_api.serving.counters import Counters
from lambda_api.serving.question import Filters, PageContext, Question, RankedItem, Ranking, Reason
from lambda_api.serving.scorers import Scored
from lambda_api.settings import make_settings
from lambda_api.state.history import StoredEvent
from lambda_api.state.routing_record import RouteTarget, RoutingRecord, Variant, write_routing
from tests.patience import patient
from tests.serving_home import ServedHome, make_home
from tests.state.tables import Clock

TARGET = RouteTarget("v1", "bundle", "checksum")
ASKED = Question("u", (Event("p1", InteractionType.VIEW, 5),), now=10, k=3)
RANKING = Ranking((), "ranked", True)


class Asked:
    """Counts how often a list is scored."""

    def __init__(self, scored: Scored | None = None) -> None:
        self.times = 0
        self.scored = scored or Scored(RANKING, "v1")

    def __call__(self) -> Scored:
        self.times += 1
        return self.scored


def cache(ttl_s: float = 30, clock: Clock | None = None, catalogue: Any = lambda: "c1") -> AnswerCache:
    return AnswerCache(ttl_s, catalogue, Counters(), clock=clock or Clock(0.0))


def test_the_same_question_is_scored_once_until_it_is_too_old() -> None:
    clock, score = Clock(0.0), Asked()
    kept = cache(30, clock)
    for now in (10, 11, 39):
        assert kept.get_or_score(TARGET, replace(ASKED, now=now, seed=f"request {now}"), score) is score.scored
    assert score.times == 1
    clock.now = 30
    kept.get_or_score(TARGET, ASKED, score)
    assert score.times == 2


OTHERS = [
    replace(ASKED, user_id="v"),
    replace(ASKED, events=()),
    replace(ASKED, events=(*ASKED.events, Event("p2", InteractionType.VIEW, 6))),
    replace(ASKED, events=(Event("p1", InteractionType.PURCHASE, 5),)),
    replace(ASKED, k=4),
    replace(ASKED, exclude_purchased=False),
    replace(ASKED, exclude_product_ids=("p9",)),
    replace(ASKED, filters=Filters(categories=("a",))),
    replace(ASKED, context=PageContext("product", ("p1",))),
    replace(ASKED, diversity=0.5),
    replace(ASKED, explain=True),
    replace(ASKED, explore=0.1),
    replace(ASKED, include_products=True),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda question: str(OTHERS.index(question)))
def test_every_part_of_the_question_tells_lists_apart(other: Question) -> None:
    kept, score = cache(), Asked()
    kept.get_or_score(TARGET, ASKED, score)
    kept.get_or_score(TARGET, other, score)
    assert score.times == 2


def test_another_model_or_catalogue_is_another_list() -> None:
    catalogue, score = ["c1"], Asked()
    kept = cache(catalogue=lambda: catalogue[0])
    kept.get_or_score(TARGET, ASKED, score)
    kept.get_or_score(replace(TARGET, checksum="other"), ASKED, score)
    catalogue[0] = "c2"
    kept.get_or_score(TARGET, ASKED, score)
    assert score.times == 3


@pytest.mark.parametrize(
    ("ttl_s", "asked", "scored"),
    [
        (0, ASKED, Scored(RANKING, "v1")),  # switched off
        (30, ASKED, Scored(RANKING, "v0")),  # the last good model answered instead
        (30, ASKED, Scored(RANKING, "v1", "catalogue: missing")),
    ],
)
def test_what_is_not_kept(ttl_s: float, asked: Question, scored: Scored) -> None:
    kept, score = cache(ttl_s), Asked(scored)
    for _ in range(3):
        kept.get_or_score(TARGET, asked, score)
    assert score.times == 3


def test_the_cache_is_bounded() -> None:
    kept, score = cache(), Asked()
    for number in range(CAPACITY + 10):
        kept.get_or_score(TARGET, replace(ASKED, user_id=str(number)), score)
    assert len(kept._lists) == CAPACITY
    kept.get_or_score(TARGET, replace(ASKED, user_id=str(CAPACITY + 9)), score)
    assert score.times == CAPACITY + 10


def of_events(question: Question) -> Scored:
    """A list that names the events it was made from."""
    item = RankedItem(repr(question.events), 0.0, Reason("popular", ""))
    return Scored(Ranking((item,), "ranked", True), "v1")


@given(st.lists(st.sampled_from(["ask", "view p1", "view p2", "buy p1", "wait"]), max_size=30))
def test_a_list_is_never_older_than_the_newest_event(steps: list[str]) -> None:
    clock, asked = Clock(0.0), ASKED
    kept = cache(30, clock)
    for step in steps:
        if step == "wait":
            clock.now += 7
        elif step == "ask":
            question = replace(asked, now=int(clock.now) + 100)
            assert kept.get_or_score(TARGET, question, partial(of_events, question)) == of_events(asked)
        else:
            kind = InteractionType.PURCHASE if step.startswith("buy") else InteractionType.VIEW
            asked = replace(asked, events=(*asked.events, Event(step[-2:], kind, int(clock.now))))


# -- with a real model, history and log --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served_home(tmp_path_factory: pytest.TempPathFactory) -> ServedHome:
    return make_home(tmp_path_factory.mktemp("cached"), products=400, shoppers=5)


@pytest.fixture
def two_processes(served_home: ServedHome, tmp_path: Path) -> Iterator[tuple[Serving, Serving]]:
    """Two servings of one home, as two workers have them."""
    shutil.copytree(served_home.settings.home, tmp_path / "home")
    held = [patient(make_settings({"home": tmp_path / "home"})) for _ in range(2)]
    for one in held:
        one.warm()
    yield held[0], held[1]
    for one in held:
        one.close()


def lists(serving: Serving, user_id: str, request_id: str) -> list[str]:
    question = Question(user_id, (), serving.service.now, 10)
    answer = serving.service.recommend(question, (), request_id)
    assert answer.cause is None
    return [item.product_id for item in answer.ranking.items]


def test_an_event_that_another_process_took_is_seen_and_every_list_is_logged(
    two_processes: tuple[Serving, Serving], served_home: ServedHome
) -> None:
    here, there = two_processes
    before = lists(here, "visitor", "r1")
    assert lists(here, "visitor", "r2") == before
    assert here.counters.snapshot()["prediction_cache_hit_share"] == 0.5
    assert "recsys_prediction_cache_hit_share 0.5" in here.counters.prometheus()
    product = served_home.product_ids[150]
    event = StoredEvent("e1", "visitor", product, InteractionType.VIEW, there.service.now)
    assert there.feedback.take([event]).accepted == 1
    after = lists(here, "visitor", "r3")
    assert after != before and after == lists(there, "visitor", "r4")
    for request_id in ("r1", "r2", "r3"):  # from the cache or not
        exposure = here.inference_log.get(request_id)
        assert exposure is not None
        assert [item.product_id for item in exposure.items] == (after if request_id == "r3" else before)


def test_a_new_route_is_not_answered_from_the_old_model(two_processes: tuple[Serving, Serving]) -> None:
    here, _ = two_processes
    lists(here, "visitor", "r1")
    record = here.service.routing.known
    assert isinstance(record, RoutingRecord)
    other = replace(record.champion.target, version="v2.0.0", checksum="0" * 64)
    write_routing(here.tables[0], replace(record, variants=(Variant("champion", other, 10_000),), revision=2), 1)
    here.service.routing._due_at = 0.0
    answer = here.service.recommend(Question("visitor", (), here.service.now, 10), (), "r2")
    assert answer.model_version == "v1.0.0"  # the new bundle is missing: the last good one answers, scored again
    assert here.counters.share("prediction_cache", "hit") == 0.0
