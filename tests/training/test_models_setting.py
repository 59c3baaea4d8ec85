"""The setting ``models``: which models a shop trains, in the graph and in the evaluation."""

from pathlib import Path

import pytest

from lambda_api.settings import make_settings
from recsys_assets.definitions import build_defs
from recsys_assets.models.zoo import ParameterError
from recsys_assets.training.assets import MODEL_NAMES, models_of


def test_a_shop_that_names_models_trains_these_and_the_baselines(tmp_path: Path) -> None:
    settings = make_settings({"home": tmp_path, "models": "ease"})
    assert models_of(settings) == ("popularity", "item_knn", "ease")
    job = build_defs(settings).resolve_job_def("retrain_models_job")
    trained = {node.name for node in job.nodes if node.name.endswith("_model")} - {"refitted_model", "registered_model"}
    assert trained == {"popularity_model", "item_knn_model", "ease_model"}


def test_without_the_setting_all_are_trained(tmp_path: Path) -> None:
    assert models_of(make_settings({"home": tmp_path})) == MODEL_NAMES


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="RECSYS_MODELS: unknown model eas; known: popularity, "):
        models_of(make_settings({"home": tmp_path, "models": "eas"}))
