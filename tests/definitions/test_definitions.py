"""The two code locations as Dagster sees them: loadable, complete, light to import, and wired as documented."""

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from recsys_assets import definitions as assets_location
from recsys_assets.jobs import INGESTION, MODELLING, MONITORING, PUBLISHING, SERVED
from recsys_deploy import definitions as deploy_location

ROOT = Path(__file__).resolve().parents[2]
LOCATIONS = {"recsys_assets": assets_location.defs, "recsys_deploy": deploy_location.defs}
HEAVY = ("torch", "great_expectations", "sklearn", "sagemaker", "implicit", "matplotlib", "onnxruntime", "pyspark")


@pytest.mark.parametrize("location", LOCATIONS)
def test_definitions_load(location: str) -> None:
    dg.Definitions.validate_loadable(LOCATIONS[location])


@pytest.mark.parametrize("location", LOCATIONS)
def test_importing_the_definitions_stays_within_its_budget(location: str, tmp_path: Path) -> None:
    script = f"import json, sys, {location}.definitions; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "RECSYS_HOME": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert json.loads(result.stdout.splitlines()[-1]) == []


def test_importing_the_definitions_writes_nothing(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", "import recsys_assets.definitions, recsys_deploy.definitions"],
        check=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "RECSYS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
    )
    assert not (tmp_path / "home").exists()


def test_the_workspace_names_both_locations() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    named = {entry["python_module"]["location_name"]: entry["python_module"] for entry in workspace["load_from"]}
    assert set(named) == set(LOCATIONS)
    assert all(entry["module_name"] == f"{name}.definitions" for name, entry in named.items())


def test_dg_finds_the_first_location() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert importlib.import_module(project["code_location_target_module"]).defs is assets_location.defs


def test_no_dependency_is_a_misspelt_asset() -> None:
    # Dagster takes a mistyped key for an external asset and loads happily.
    external = {
        name: {
            key.to_user_string()
            for key in defs.resolve_asset_graph().get_all_asset_keys()
            - defs.resolve_asset_graph().executable_asset_keys
        }
        for name, defs in LOCATIONS.items()
    }
    assert external == {
        "recsys_assets": {"set_aside_interactions", "quarantined_interactions"},
        "recsys_deploy": {"interactions", "registered_model"},
    }


def test_every_asset_says_what_it_is() -> None:
    for defs in LOCATIONS.values():
        graph = defs.resolve_asset_graph()
        for key in graph.executable_asset_keys:
            asset = graph.get(key)
            assert asset.group_name != "default", key
            assert asset.owners, key
            assert asset.description, key
            assert asset.kinds, key


def test_every_asset_of_the_pipeline_has_a_freshness_policy() -> None:
    graph = assets_location.defs.resolve_asset_graph()
    assert all(graph.get(key).freshness_policy for key in graph.executable_asset_keys)


def test_the_job_selections_partition_the_graph() -> None:
    graph = assets_location.defs.resolve_asset_graph()
    parts = [selection.resolve(graph) for selection in (INGESTION, SERVED, MODELLING, MONITORING, PUBLISHING)]
    assert sum(len(part) for part in parts) == len(set().union(*parts))
    assert set().union(*parts) == graph.executable_asset_keys


def test_daily_assets_backfill_in_a_single_run() -> None:
    graph = assets_location.defs.resolve_asset_graph()
    daily = [graph.get(key) for key in graph.executable_asset_keys if graph.get(key).partitions_def is not None]
    assert {asset.key.to_user_string() for asset in daily} == {
        "raw_interactions", "interactions", "served_lists", "list_outcomes", "data_quality_report", "drift_report",
        "business_report",
    }  # fmt: skip
    # A report is of one day: a backfill of them is one run a day.
    many = [asset for asset in daily if asset.group_name != "monitoring"]
    assert all(asset.backfill_policy == dg.BackfillPolicy.single_run() for asset in many)


def test_every_critical_check_blocks() -> None:
    graph = assets_location.defs.resolve_asset_graph()
    for table in ("raw_interactions", "products", "users", "serving_catalogue", "popular_products"):
        checks = [graph.get(key) for key in graph.asset_check_keys if key.asset_key == dg.AssetKey(table)]
        assert any(check.blocking for check in checks), table
