"""What an ablation leaves out is really out, and what it keeps is the hybrid."""

from dataclasses import replace

import numpy as np

from benchmarks.hybrid_ablation import GROUPS, SMALLER, Fitted, ablation, belongs
from lambda_api.recommender.two_stage.features import FeatureRows, feature_names
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from recsys_assets.measurement.next_click import next_click
from recsys_assets.models.hybrid import SOURCES, Hybrid
from tests.models.anonymous_clicks import AS_OF, PRODUCTS_OF_RING, anonymous_clicks
from tests.models.hybrid_shop import SMALL, training_data


def test_what_is_left_out_is_not_asked_and_everything_is_the_hybrid() -> None:
    data = training_data()
    fitted = Fitted.on(data, **SMALL)
    whole, hybrid = fitted.model(), Hybrid(**{**SMALLER, **SMALL}).fit(data)
    histories = data.histories().rows(0, 30)
    lists = whole.recommend(histories, 5, fill_with_popular=False)
    assert (lists.products == hybrid.recommend(histories, 5, fill_with_popular=False).products).all()

    candidates = whole.generator.candidates(histories)
    features = FeatureRows(histories, candidates, whole.generator.facts).of()
    left_out = GROUPS["popularity and trend"]
    without = fitted.model(features=left_out)
    changed = features.copy()
    changed[:, [at for at, name in enumerate(whole.stage.feature_names) if name.startswith(left_out)]] += 100.0
    assert (changed != features).any()
    assert (without.stage.rank(changed) == without.stage.rank(features)).all()
    assert (whole.stage.rank(changed) != whole.stage.rank(features)).any()

    fewer = fitted.model(source="co_purchase")
    assert "co_purchase" not in {source.name for source in fewer.generator.sources}
    assert len(fewer.stage.feature_names) == len(whole.stage.feature_names) - 3


def test_a_part_of_the_session_stage_is_left_out_there_alone() -> None:
    """And with nothing left out the sessions are ranked as the hybrid ranks them."""
    task = next_click(anonymous_clicks(), PRODUCTS_OF_RING, AS_OF, allow_repeats=True)
    given = {"allow_repeats": True, "trees": 20, "leaf_rows": 20, "max_clicks": 300}
    fitted, some = Fitted.on_sessions(task.training, **given), task.histories.rows(0, 40)
    whole, hybrid = fitted.model(), Hybrid(**given).fit(task.training)
    assert hybrid.session is not None
    lists = [model.recommend(some, 5, fill_with_popular=False).products for model in (whole, hybrid)]
    assert (lists[0] == lists[1]).all()

    fewer = fitted.model(source="next_click")
    assert fewer.session is not None and fewer.stage is whole.stage
    assert "next_click" in {source.name for source in fitted.generator.sources}
    assert "next_click" not in {source.name for source in fewer.session.generator.sources}
    rows = list(ablation("a log", replace(fitted, windows=()), lambda model: np.ones(3), "MRR@5"))
    assert [row["what"].split(": ")[-1] for row in rows][-1] == "the running session"


def test_every_feature_but_fusion_belongs_to_a_group_and_the_table_has_a_line_for_each() -> None:
    beginnings = [beginning for group in GROUPS.values() for beginning in group]
    names = feature_names(SOURCES)
    assert [name for name in names if not belongs(name, tuple(beginnings))] == ["fusion"]
    for beginning in beginnings:
        assert any(belongs(name, (beginning,)) for name in names), beginning

    asked: list[TwoStageRecommender] = []

    def judge(model: TwoStageRecommender) -> np.ndarray:
        asked.append(model)
        return np.full(3, float(len(asked)))

    fitted = Fitted.on(training_data(), **{**SMALL, "windows": 0, "sources": ("co_purchase", "trending")})
    rows = list(ablation("a shop", fitted, judge))
    assert len(rows) == len(asked) == 1 + 2 + len(GROUPS)
    assert rows[1]["what"] == "a shop: without source co_purchase" and "worth -1.0000" in rows[1]["measured"]
