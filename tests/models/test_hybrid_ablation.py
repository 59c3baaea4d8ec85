"""What an ablation leaves out is really out, and what it keeps is the hybrid."""

import numpy as np

from benchmarks.hybrid_ablation import GROUPS, SMALLER, Fitted, ablation, belongs
from lambda_api.recommender.two_stage.features import FeatureRows, feature_names
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from recsys_assets.models.hybrid import SOURCES, Hybrid
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


def test_every_feature_but_fusionbelongs_to_a_group_and_the_table_has_a_line_for_each() -> None:
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
