"""Strategies as steps between routing records: what each leaves, and that no sequence of steps strands a shopper."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.serving.routing import assign
from lambda_api.state.routing_record import WHOLE, RouteTarget, RoutingRecord, Variant
from recsys_deploy.release import strategies
from recsys_deploy.release.route import RouteRefused
from recsys_deploy.release.strategies import Strategy

OLD, NEW, OTHER = (RouteTarget(f"v{number}.0.0", f"bundles/{number}", f"sum{number}") for number in (1, 2, 3))
LIVE = RoutingRecord("none", "none", (Variant("champion", OLD, WHOLE),), shadow=None, revision=7, updated_at=1)
BESIDE = [Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.SHADOW]


def weights(record: RoutingRecord) -> dict[str, int]:
    return {variant.target.version: variant.weight for variant in record.variants}


def begun(strategy: Strategy, share: float = 0.1) -> RoutingRecord:
    record = strategies.begin(LIVE, NEW, strategy, share, now=50)
    assert record is not None
    return record


def test_each_strategy_leaves_what_it_says() -> None:
    assert weights(begun(Strategy.CANARY, 0.25)) == {"v1.0.0": 7_500, "v2.0.0": 2_500}
    assert weights(begun(Strategy.BLUE_GREEN)) == {"v1.0.0": 0, "v2.0.0": WHOLE}
    shadow = begun(Strategy.SHADOW)
    assert (weights(shadow), shadow.shadow) == ({"v1.0.0": WHOLE}, NEW)
    assert weights(begun(Strategy.IMMEDIATE)) == {"v2.0.0": WHOLE}


@pytest.mark.parametrize("strategy", BESIDE)
def test_promoted_everybody_meets_the_new_version_and_withdrawn_the_old_one(strategy: Strategy) -> None:
    promoted = strategies.promote(begun(strategy), now=60)
    withdrawn = strategies.withdraw(begun(strategy), now=60)
    assert withdrawn is not None
    assert (weights(promoted), promoted.shadow) == ({"v2.0.0": WHOLE}, None)
    assert (weights(withdrawn), withdrawn.shadow) == ({"v1.0.0": WHOLE}, None)


@pytest.mark.parametrize("strategy", BESIDE)
def test_beginning_again_changes_nothing_and_another_version_is_refused(strategy: Strategy) -> None:
    record = begun(strategy)
    assert strategies.begin(record, NEW, strategy, 0.1, now=70) is None
    with pytest.raises(RouteRefused, match=r"v2\.0\.0 is being tried .* rollback` first"):
        strategies.begin(record, OTHER, strategy, 0.1, now=70)


def test_a_canary_begun_again_with_another_share_moves_only_shoppers_of_the_champion() -> None:
    at_ten = begun(Strategy.CANARY, 0.1)
    at_thirty = strategies.begin(at_ten, NEW, Strategy.CANARY, 0.3, now=70)
    assert at_thirty is not None and at_thirty.salt == at_ten.salt
    shoppers = [f"shopper-{number}" for number in range(2_000)]
    before = {one for one in shoppers if assign(at_ten, one).target == NEW}
    after = {one for one in shoppers if assign(at_thirty, one).target == NEW}
    assert before < after


def test_refusals_name_the_remedy() -> None:
    with pytest.raises(RouteRefused, match="use --strategy immediate"):
        strategies.begin(None, NEW, Strategy.CANARY, 0.1, now=1)
    with pytest.raises(RouteRefused, match="answers already"):
        strategies.begin(LIVE, OLD, Strategy.CANARY, 0.1, now=1)
    for step in (lambda: strategies.promote(LIVE, 1), lambda: strategies.change_share(LIVE, 0.5, 1)):
        with pytest.raises(RouteRefused, match="release start"):
            step()
    two = (Variant("champion", OLD, 8_000), Variant("b", NEW, 1_000), Variant("c", OTHER, 1_000))
    with pytest.raises(RouteRefused, match="end the experiment first"):
        strategies.promote(replace(LIVE, variants=two), 1)


@pytest.mark.parametrize("share", [0.0, 0.00001, 1.0])
def test_a_canary_of_nobody_or_everybody_is_refused(share: float) -> None:
    with pytest.raises(RouteRefused, match="is none"):
        strategies.begin(LIVE, NEW, Strategy.CANARY, share, now=1)


STEPS = st.sampled_from(["canary", "blue-green", "shadow", "immediate", "share", "promote", "withdraw"])


@given(st.lists(st.tuples(STEPS, st.sampled_from([OLD, NEW, OTHER]), st.floats(0.01, 0.99)), max_size=12))
def test_whatever_is_done_one_live_version_answers_and_revisions_grow(
    steps: list[tuple[str, RouteTarget, float]],
) -> None:
    record = LIVE
    for at, (name, target, share) in enumerate(steps):
        try:
            if name == "share":
                after: RoutingRecord | None = strategies.change_share(record, share, at)
            elif name == "promote":
                after = strategies.promote(record, at)
            elif name == "withdraw":
                after = strategies.withdraw(record, at)
            else:
                after = strategies.begin(record, target, Strategy(name), share, at)
        except RouteRefused:
            continue
        if after is not None:
            assert after.revision == record.revision + 1
            assert after.champion.target in (record.champion.target, target, *_beside(record))
            record = after
        assert len(_beside(record)) <= 1


def _beside(record: RoutingRecord) -> list[RouteTarget]:
    return [variant.target for variant in record.variants[1:]] + ([record.shadow] if record.shadow else [])
