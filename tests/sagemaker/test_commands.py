"""`recsys batch` and `recsys endpoints` as typed: what they do, print, and say when they cannot."""

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from moto import mock_aws

from recsys_deploy import cli, homes
from recsys_deploy.batch.results import TABLE, record_key
from tests.sagemaker.batch_shop import BatchShop, make_batch_shop
from tests.sagemaker.fake_sagemaker import CREDENTIALS, REGION
from tests.sagemaker.jobs import PLACEMENT
from tests.sagemaker.test_endpoints import SESSION


def type_in(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of ``recsys`` with these words."""
    monkeypatch.setattr(sys, "argv", ["recsys", *words])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return tmp_path


def test_batch_recommends_to_everybody_and_says_where(
    home: Path, shop: BatchShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert type_in(monkeypatch, "batch") == 0
    said = capsys.readouterr().out
    shoppers = sorted(set(shop.lake.read(TABLE)["user_id"].to_pylist()))
    assert f"stored {len(shoppers)} lists of v1.0.0" in said.replace("\n", " ")
    assert shop.serving.get(record_key(shoppers[0])) is not None
    with dg.DagsterInstance.from_config(str(shop.settings.home / "dagster")) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("batch_recommendations"))
        assert event is not None and event.asset_materialization is not None
        assert event.asset_materialization.metadata["shoppers"].value == len(shoppers)
        assert instance.get_latest_materialization_event(dg.AssetKey("batch_questions")) is not None
    assert type_in(monkeypatch, "batch", "--keep-questions") == 0
    assert "0 parts were answered by this run" in capsys.readouterr().out.replace("\n", " ")


def test_batch_without_a_champion_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_batch_shop(home, promoted=False)
    assert type_in(monkeypatch, "batch") == 2
    assert "materialise registered_model first" in capsys.readouterr().err.replace("\n", " ")


@mock_aws
def test_endpoints_are_made_listed_and_deleted_by_version(
    home: Path, shop: BatchShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Any] = []

    def client(name: str, **_: Any) -> Any:
        made.append(SESSION.client(name, **CREDENTIALS))
        return made[-1]

    monkeypatch.setattr("boto3.client", client)
    SESSION.client("s3", **CREDENTIALS).create_bucket(
        Bucket="models", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    assert type_in(monkeypatch, "endpoints", "create", "v1.0.0") == 2
    assert "set RECSYS_INFERENCE_IMAGE" in capsys.readouterr().err.replace("\n", " ")
    settings = homes.settings_of_last_home()
    away = {"inference_image": PLACEMENT.image, "training_role_arn": PLACEMENT.role_arn, "models_uri": "s3://models/b"}
    told = settings.model_construct(**{**settings.model_dump(), **away})
    monkeypatch.setattr("recsys_deploy.endpoints.commands.settings_of_last_home", lambda: told)
    assert type_in(monkeypatch, "endpoints", "create", "v1.0.0", "--instances", "1", "--max-instances", "3") == 0
    said = capsys.readouterr().out
    name = said.split(" is InService")[0].strip()
    assert f"recsys release start v1.0.0 --endpoint {name}" in said.replace("\n", "")
    assert type_in(monkeypatch, "endpoints", "list") == 0
    assert capsys.readouterr().out == f"{name}  InService\n"
    assert type_in(monkeypatch, "endpoints", "delete", "v1.0.0") == 0
    assert type_in(monkeypatch, "endpoints", "list") == 0
    assert capsys.readouterr().out == f"{name} is deleted\n"
    assert type_in(monkeypatch, "endpoints", "create", "v1.0.0", "--memory-mb", "1500") == 2
    assert "choose one of 1024" in capsys.readouterr().err.replace("\n", " ")
