"""Dagster reads its files of AWS with the variables that Terraform gives its containers, and knows their commands."""

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from click import Command
from dagster._cli import create_dagster_cli
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from dagster_postgres.utils import pg_url_from_config
from dagster_shared.yaml_utils import load_yaml_from_path
from dagster_webserver.cli import dagster_webserver
from moto import mock_aws

from tests.packaging.dockerfiles import ROOT as REPOSITORY
from tests.packaging.dockerfiles import read
from tests.terraform.runs import State

FOLDER = REPOSITORY / "docker" / "dagster-aws"
SECRET = "a&b/c"


def _containers(state: State) -> dict[str, Mapping[str, Any]]:
    """The container of each task by the last word of its family: run, web, daemon, assets, deploy."""
    tasks = state.of_type("aws_ecs_task_definition").values()
    return {task["family"].rpartition("-")[2]: json.loads(task["container_definitions"])[0] for task in tasks}


def _variables(container: Mapping[str, Any]) -> dict[str, str]:
    """What the container finds in its environment; Secrets Manager gives the same word for every secret."""
    plain = {pair["name"]: pair["value"] for pair in container["environment"]}
    return plain | {pair["name"]: SECRET for pair in container["secrets"]}


def _named(file: Path) -> set[str]:
    return set(re.findall(r"env: (\w+)", file.read_text()))


@pytest.fixture
def containers(environments: Mapping[str, State]) -> dict[str, Mapping[str, Any]]:
    return _containers(environments["prod"])


@pytest.fixture
def of_web(containers: dict[str, Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The web server's environment, in place."""
    variables = _variables(containers["web"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def test_containers_have_what_the_files_name(containers: dict[str, Mapping[str, Any]]) -> None:
    assert set(containers) == {"run", "web", "daemon", "assets", "deploy"}
    of_instance, of_workspace = _named(FOLDER / "dagster.yaml"), _named(FOLDER / "workspace.yaml")
    assert len(of_instance) > 4 and len(of_workspace) == 2
    for name in ("web", "daemon"):
        assert of_instance | of_workspace <= set(_variables(containers[name]))
    # A run carries the instance along, and launches nothing.
    assert of_instance - {"DAGSTER_RUN_TASK_DEFINITION"} <= set(_variables(containers["run"]))


def test_the_image_holds_the_files_where_containers_look(containers: dict[str, Mapping[str, Any]]) -> None:
    image = read(REPOSITORY / "docker" / "dagster.Dockerfile")
    assert f"docker/dagster-aws {_variables(containers['web'])['DAGSTER_HOME']}" in image.all("COPY")
    for container in containers.values():
        (mount,) = container["mountPoints"]
        assert [mount["containerPath"]] == image.all("VOLUME")
        assert container["readonlyRootFilesystem"] is True
        for written in ("HOME", "RECSYS_HOME"):
            assert Path(_variables(container)[written]).is_relative_to(mount["containerPath"])


@mock_aws
def test_dagster_loads_the_instance(
    of_web: dict[str, str], environments: Mapping[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = environments["prod"].one("aws_ecs_task_definition", family="recsys-prod-run")
    made = boto3.client("ecs").register_task_definition(
        family=run["family"],
        requiresCompatibilities=list(run["requires_compatibilities"]),
        cpu=run["cpu"],
        memory=run["memory"],
        containerDefinitions=json.loads(run["container_definitions"]),
    )["taskDefinition"]["taskDefinitionArn"]
    monkeypatch.setenv("DAGSTER_RUN_TASK_DEFINITION", made)
    reference = InstanceRef.from_dir(str(FOLDER))
    logs = reference.compute_log_manager
    assert isinstance(logs, S3ComputeLogManager) and logs._s3_bucket == of_web["DAGSTER_LOG_BUCKET"]
    # Made without a wrong setting, and it finds the container it will give its commands to.
    launcher = reference.run_launcher
    assert isinstance(launcher, EcsRunLauncher) and launcher.task_definition == made
    # Registering, listing secrets and choosing a network are nothing this instance may or has to do.
    assert (launcher.secrets_tags, launcher.run_task_kwargs, launcher.use_current_ecs_task_config) == ([], {}, True)
    assert reference.run_coordinator is not None


def test_history_is_in_the_database_that_terraform_makes(of_web: dict[str, str]) -> None:
    storage = load_yaml_from_path(str(FOLDER / "dagster.yaml"))["storage"]["postgres"]["postgres_db"]
    values = {key: of_web[value["env"]] if "env" in value else value for key, value in storage.items()}
    url = pg_url_from_config({"postgres_db": values})
    assert url == f"postgresql://dagster:a%26b/c@{of_web['DAGSTER_DB_HOST']}:5432/dagster?sslmode=require"


def test_workspace_names_the_services(of_web: dict[str, str], environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    zone = state.one("aws_service_discovery_private_dns_namespace")["name"]
    names = {service["name"] for service in state.of_type("aws_service_discovery_service").values()}
    origins = location_origins_from_yaml_paths([str(FOLDER / "workspace.yaml")])
    assert all(isinstance(origin, GrpcServerCodeLocationOrigin) for origin in origins)
    assert {(o.location_name, o.host, o.port) for o in origins} == {  # type: ignore[union-attr, attr-defined]
        (f"recsys_{name}", f"{name}.{zone}", 4000) for name in names
    }


def test_processes_understand_their_commands(containers: dict[str, Mapping[str, Any]]) -> None:
    programs = {
        "dagster": create_dagster_cli(),
        "dagster._daemon": create_dagster_daemon_cli(),
        "dagster_webserver": dagster_webserver,
    }
    inside = _variables(containers["web"])["DAGSTER_HOME"]
    seen = 0
    for name in ("web", "daemon", "assets", "deploy"):
        alive = containers[name]["healthCheck"]["command"]
        for words in [containers[name]["command"], alive[3:] if alive[2] == "-m" else None]:
            if words is not None:
                here = [word.replace(inside, str(FOLDER)) for word in words]
                _parse(programs[here[0]], here)
                seen += 1
    assert seen == 7
    # A run's command begins with this word, behind the image's `python -m`.
    assert DEFAULT_DAGSTER_ENTRY_POINT == ["dagster"]
    assert importlib.util.find_spec("dagster.__main__") is not None


def _parse(command: Command, words: list[str]) -> None:
    """Raise what click says of ``words`` unless they are a command with its options."""
    context = command.make_context(words[0], list(words[1:]), resilient_parsing=False)
    while hasattr(context.command, "commands"):
        rest = [*context.protected_args, *context.args]
        inner = context.command.commands[rest[0]]
        context = inner.make_context(rest[0], rest[1:], parent=context)
