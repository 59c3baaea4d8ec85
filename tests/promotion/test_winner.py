"""Which recipe goes live: changes must be better, refreshes must not do harm, and nothing else is asked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys_assets.evaluation.champion import AS_SERVED
from recsys_assets.evaluation.evaluate_models import ChampionRecord, Evaluation
from recsys_assets.evaluation.report import PromotionFigures
from recsys_assets.promotion.decision import PromotionInput, RefreshRules, decide_refresh
from recsys_assets.promotion.winner import choose_winner

N = 400
END = datetime(2024, 3, 8, tzinfo=UTC)
BASE = np.random.default_rng(7).beta(0.4, 3.0, N)
NOISE = np.random.default_rng(8).normal(0.0, 0.05, N)
BETTER, MUCH_WORSE = BASE + NOISE + 0.02, BASE + NOISE - 0.03
SLIGHTLY_WORSE = BASE + 0.2 * NOISE - 0.0005


def evaluation(
    challenger: str, recipe: str | None, data_end: datetime = END - timedelta(days=7), **ndcg: np.ndarray
) -> Evaluation:
    figures = {name.replace("as_served", AS_SERVED): PromotionFigures(one, 0.4, 0.2) for name, one in ndcg.items()}
    champion = None if recipe is None else ChampionRecord("v1.2.0", data_end, recipe)
    setting = SimpleNamespace(start=END - timedelta(days=7), end=END)
    report: Any = SimpleNamespace(challenger=challenger, reference_baseline="popularity", setting=setting)
    return Evaluation(report, figures, {}, champion)


def test_the_first_champion_is_compared_with_popularity() -> None:
    won = choose_winner(evaluation("ease", None, popularity=BASE, ease=BETTER))
    assert (won.name, won.rule, won.decision.promote) == ("ease", "first", True)
    lost = choose_winner(evaluation("ease", None, popularity=BASE, ease=BASE))
    assert (lost.rule, lost.decision.promote) == ("first", False)


def test_a_better_recipe_is_a_change() -> None:
    won = choose_winner(evaluation("ease", "item_knn", item_knn=BASE, ease=BETTER, as_served=BETTER + 1))
    assert (won.name, won.rule, won.decision.promote) == ("ease", "change", True)
    assert "better than the champion v1.2.0 (item_knn)" in won.decision.reasons[0]


def test_a_recipe_that_is_not_better_leaves_the_champion_to_be_refreshed() -> None:
    won = choose_winner(evaluation("ease", "item_knn", item_knn=BASE, ease=BASE + NOISE, as_served=SLIGHTLY_WORSE))
    assert (won.name, won.rule, won.decision.promote) == ("item_knn", "refresh", True)
    assert "ease is not better than" in won.decision.reasons[0] and "Same recipe" in won.decision.reasons[-1]


def test_the_same_recipe_goes_on_without_asking_whether_it_is_better() -> None:
    """A test window that the champion has learned from compares with nothing; the same recipe is refreshed."""
    won = choose_winner(evaluation("ease", "ease", ease=BASE, popularity=BASE))
    assert (won.rule, won.decision.promote, won.decision.comparison) == ("refresh", True, None)


def test_a_refresh_that_does_harm_is_refused() -> None:
    won = choose_winner(evaluation("ease", "ease", ease=MUCH_WORSE, as_served=BASE))
    assert (won.rule, won.decision.promote) == ("refresh", False)
    assert "worse than the champion v1.2.0 (ease) by more than the margin" in won.decision.reasons[0]


def test_nothing_newer_to_learn_from_is_no_refresh() -> None:
    won = choose_winner(evaluation("ease", "ease", data_end=END, ease=BASE))
    assert (won.rule, won.decision.promote) == ("refresh", False)
    assert "has learned from everything before" in won.decision.reasons[0]


def _measured(refresh: np.ndarray, coverage: float = 0.4) -> PromotionInput:
    old, new = PromotionFigures(BASE, 0.4, None), PromotionFigures(refresh, coverage, None)
    return PromotionInput(champion="v1", challenger="ease", old=old, new=new)


def test_harm_has_to_be_shown_beyond_the_margin() -> None:
    rules = RefreshRules(max_harm=0.05)
    margin = 0.05 * BASE.mean()
    assert decide_refresh(_measured(BASE - 0.9 * margin), rules).promote
    assert not decide_refresh(_measured(BASE - 1.1 * margin), rules).promote
    # Uncertain harm goes on: the interval reaches over the margin.
    uncertain = BASE - 1.1 * margin + np.random.default_rng(0).normal(0, 0.2, N)
    found = decide_refresh(_measured(uncertain), rules)
    assert found.promote and found.comparison is not None and found.comparison.low < -margin
    assert "Catalogue coverage would fall by 50.0%" in decide_refresh(_measured(BASE, 0.2)).reasons[0]
    few = _measured(BASE)
    assert decide_refresh(few, RefreshRules(min_users=N + 1)).comparison is None


@pytest.mark.parametrize("share", [0.0, 0.10])
def test_error_rates_of_a_refresh(share: float) -> None:
    """Refreshes as good as the champion are hardly ever refused, those 10 % worse nearly always (500 users)."""
    rng = np.random.default_rng(1)
    trials, refused = 200, 0
    for seed in range(trials):
        champion = rng.beta(0.4, 1.2, 500)
        fresh = _measured(champion * (1 - share) + rng.normal(0, 0.05, 500))
        measured = replace(fresh, old=PromotionFigures(champion, 0.4, None))
        refused += not decide_refresh(measured, RefreshRules(resamples=300, seed=seed)).promote
    assert refused <= 0.05 * trials if share == 0 else refused >= 0.9 * trials
