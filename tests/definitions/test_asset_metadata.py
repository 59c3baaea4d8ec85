"""What people see of an asset before its first materialisation, and where links lead."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lambda_api.settings import Settings, make_settings
from recsys_assets import asset_metadata
from recsys_assets import definitions as assets_location
from recsys_assets.page_links import page_link
from recsys_deploy import definitions as deploy_location
from tests.sagemaker.test_wiring import AWS, TRAINING

ROOT = Path(__file__).resolve().parents[2]
WRITTEN_BESIDE = {"set_aside_interactions", "quarantined_interactions"}
"""Tables that the step of another asset writes."""


def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    found = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    return {name: spec for name, spec in found.items() if "dagster/auto_created_stub_asset" not in spec.metadata}


ALL = {**specs(assets_location.defs), **specs(deploy_location.defs)}


def test_every_asset_has_an_owner_a_kind_a_description_and_its_code() -> None:
    for name, spec in ALL.items():
        assert spec.owners and spec.kinds and spec.description, name
        if name not in WRITTEN_BESIDE:
            assert spec.code_version, name
            [reference] = spec.metadata["dagster/code_references"].code_references
            source = Path(reference.file_path).read_text().splitlines()
            assert any(f"def {name}(" in line for line in source[reference.line_number - 1 :][:30]), name


def test_kinds_name_what_computes_a_model() -> None:
    kinds = {name: ALL[f"{name}_model"].kinds for name in ("ncf", "hybrid", "matrix_factorisation", "content")}
    assert {"pytorch"} <= kinds["ncf"] and {"lightgbm"} <= kinds["hybrid"]
    assert (kinds["matrix_factorisation"], kinds["content"]) == ({"implicit"}, {"scikitlearn"})
    assert "duckdb" in ALL["user_features"].kinds


def test_on_aws_kinds_name_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings(
        {"home": tmp_path, **AWS, **TRAINING, "features_glue_job": "job", "inference_image": TRAINING["training_image"]}
    )
    built = {**specs(assets_location.build_defs(settings)), **specs(deploy_location.build_defs(settings))}
    of_kind = {kind: {name for name, spec in built.items() if kind in spec.kinds} for kind in ("sagemaker", "glue")}
    assert of_kind["sagemaker"] == {
        "ncf_model", "hybrid_model", "refitted_model", "batch_questions", "batch_recommendations",
    }  # fmt: skip
    assert of_kind["glue"] == {"user_features", "product_features", "user_product_features"}


def test_tables_show_their_columns_before_they_are_there() -> None:
    tables = {name for name, spec in ALL.items() if "dagster/column_schema" in spec.metadata}
    assert tables == {
        "products", "users", "raw_interactions", "interactions", "user_features", "product_features",
        "user_product_features", "temporal_splits", "batch_recommendations", "served_lists", "list_outcomes",
    }  # fmt: skip
    columns = ALL["user_features"].metadata["dagster/column_schema"].columns
    assert columns[0].name == "user_id" and all(column.description for column in columns)


def test_a_stage_has_another_code_version_when_its_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, beside = tmp_path / "training", tmp_path / "models"
    stage.mkdir()
    beside.mkdir()
    module: Any = type(sys)("stage_under_test")
    module.__file__ = str(stage / "assets.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    versions = []
    for file, text in ((stage / "assets.py", "a"), (stage / "pure.py", "b"), (beside / "model.py", "c")):
        file.write_text(text)
        asset_metadata.code_version.cache_clear()
        versions.append(asset_metadata.code_version(module.__name__))
    (tmp_path / "other.py").write_text("not of this stage")
    asset_metadata.code_version.cache_clear()
    assert asset_metadata.code_version(module.__name__) == versions[-1]
    assert len(set(versions)) == 3


def test_every_stage_has_checks() -> None:
    checked = {key.asset_key.to_user_string() for key in assets_location.defs.resolve_asset_graph().asset_check_keys}
    features = {"user_features", "product_features", "user_product_features"}
    models = {name for name in ALL if ALL[name].group_name == "training"}
    assert features | models | {"temporal_splits", "evaluation_report", "registered_model"} <= checked


def test_loading_the_locations_warns_of_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", "import recsys_assets.definitions, recsys_deploy.definitions"],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "RECSYS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stderr == ""


def settings_with(home: Path, url: str) -> Settings:
    return make_settings({"home": home, "pages_url": url})


def test_pages_are_linked_over_http_or_shown_as_a_path_and_never_as_a_file_url(tmp_path: Path) -> None:
    page = tmp_path / "reports" / "evaluation_report.html"
    linked = page_link(settings_with(tmp_path, "http://127.0.0.1:8000/"), page)
    assert linked == dg.MetadataValue.url("http://127.0.0.1:8000/reports/evaluation_report.html")
    assert page_link(settings_with(tmp_path, ""), page) == dg.MetadataValue.path(str(page))
