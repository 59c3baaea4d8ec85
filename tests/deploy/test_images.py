"""``recsys images``: what is built and how, which images may be used, and restarted services."""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from rich.console import Console

from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.deploy.images import (
    DOCKER_MANIFEST,
    ImageOptions,
    PushedImage,
    _findings,
    _restart,
    build_command,
    push_images,
)
from tests.deploy.world import write_tree
from tests.packaging.dockerfiles import ROOT

BASE = f"python:3.13-slim@sha256:{'a' * 64}"
OCI = "application/vnd.oci.image.manifest.v1+json"
VALUES = "runs = { cpu = 1024 }\nsagemaker = { jobs = null }\n"


class Docker:
    """Stands for docker: a build that pushes puts an image into the simulated ECR."""

    def __init__(self, media_type: str = DOCKER_MANIFEST) -> None:
        self.media_type = media_type
        self.commands: list[Sequence[str]] = []
        self.given: list[bytes | None] = []

    def run(self, command: Sequence[str], given: bytes | None) -> None:
        self.commands.append(command)
        self.given.append(given)
        output = next((one for one in command if one.startswith("type=image")), "")
        if found := re.search(r"name=[^/]+/(?P<repository>[^:]+):(?P<tag>[^,]+)", output):
            manifest = {"schemaVersion": 2, "mediaType": self.media_type, "config": {}, "layers": []}
            boto3.client("ecr").put_image(
                repositoryName=found["repository"],
                imageTag=found["tag"],
                imageManifest=json.dumps({**manifest, "name": found["repository"]}),
                imageManifestMediaType=self.media_type,
            )


def options(root: Path, base: str = BASE, values: str = VALUES) -> ImageOptions:
    return ImageOptions(environment="dev", terraform=write_tree(root, values=values), base=base)


@pytest.fixture
def repositories(aws: None) -> Any:
    client = boto3.client("ecr")
    for name in ("dagster", "inference", "training"):
        client.create_repository(repositoryName=f"recsys-dev/{name}")
    yield client
    for name in ("dagster", "inference", "training"):
        client.delete_repository(repositoryName=f"recsys-dev/{name}", force=True)


def push(root: Path, docker: Docker, **changes: Any) -> list[PushedImage]:
    return push_images(options(root, **changes), Console(quiet=True), run=docker.run, sleep=lambda _: None)


@pytest.mark.parametrize("base", ["", "python:3.13-slim", "python@sha512:abc", f"{BASE}; x"])
def test_a_base_that_is_not_pinned_is_refused(tmp_path: Path, base: str) -> None:
    with pytest.raises(DeployError, match=r"not pinned by digest.*docker/README\.md"):
        push(tmp_path, Docker(), base=base)


def test_images_are_built_with_media_types_that_sagemaker_takes(tmp_path: Path) -> None:
    command = build_command("inference", "registry/recsys-dev/inference:abc", options(tmp_path), "abc")
    assert "--provenance=false" in command and "--sbom=false" in command
    assert "type=image,name=registry/recsys-dev/inference:abc,push=true,oci-mediatypes=false" in command
    assert f"PYTHON_IMAGE={BASE}" in command and "docker/inference.Dockerfile" in command


def test_the_inference_image_may_serve_several_models() -> None:
    """CreateModel refuses ``Mode=MultiModel`` for an image without this label."""
    assert (
        "LABEL com.amazonaws.sagemaker.capabilities.multi-models=true"
        in (ROOT / "docker" / "inference.Dockerfile").read_text()
    )


def test_every_needed_image_is_pushed_once_and_services_restart(repositories: Any, tmp_path: Path) -> None:
    ecs = boto3.client("ecs")
    ecs.create_cluster(clusterName="recsys-dev")
    task = {"name": "c", "image": "i", "memory": 128}
    ecs.register_task_definition(family="t", containerDefinitions=[task])
    ecs.create_service(cluster="recsys-dev", serviceName="web", taskDefinition="t", desiredCount=0)
    docker = Docker()
    pushed = push(tmp_path, docker)
    assert [image.repository for image in pushed] == [
        "recsys-dev/dagster",
        "recsys-dev/inference",
        "recsys-dev/training",
    ]
    assert all(image.built and image.digest.startswith("sha256:") for image in pushed)
    logins = [given for command, given in zip(docker.commands, docker.given, strict=True) if command[1] == "login"]
    token = repositories.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert logins[0] == base64.b64decode(token).split(b":")[1], "the password is no argument"
    again = Docker()
    assert not any(image.built for image in push(tmp_path, again)) and again.commands == []


def test_services_are_deployed_anew_though_their_definition_is_the_same(aws: None) -> None:
    """A service whose first deployment failed for want of an image is left alone by a plan and by ECS."""
    region = Aws("eu-central-1")
    arns = [f"arn:aws:ecs:eu-central-1:123456789012:service/recsys-dev/{name}" for name in ("web", "daemon")]
    with Stubber(region.client("ecs")) as stub:
        stub.add_response("list_services", {"serviceArns": arns[:1], "nextToken": "more"})
        stub.add_response("list_services", {"serviceArns": arns[1:]})
        for arn in arns:
            stub.add_response(
                "update_service", {}, {"cluster": "recsys-dev", "service": arn, "forceNewDeployment": True}
            )
        assert _restart(region, "recsys-dev") == 2
        stub.assert_no_pending_responses()


def test_an_image_that_sagemaker_refuses_is_refused_first(repositories: Any, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=rf"inference:\w+\S* has the media type {re.escape(OCI)}.*oci-mediatypes"):
        push(tmp_path, Docker(OCI))


def test_without_repositories_the_deployment_comes_first(aws: None, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="no repository recsys-dev/dagster; run `recsys deploy` first"):
        push(tmp_path, Docker())


def test_an_environment_without_containers_needs_none(aws: None, tmp_path: Path) -> None:
    docker = Docker()
    assert push(tmp_path, docker, values="") == [] and docker.commands == []


@pytest.mark.parametrize(
    ("states", "counts"),
    [
        ([("IN_PROGRESS", {}), ("COMPLETE", {"CRITICAL": 2, "LOW": 1})], {"CRITICAL": 2, "LOW": 1}),
        ([("UNSUPPORTED_IMAGE", {})], {}),
        ([None], {}),
    ],
)
def test_the_scan_is_waited_for(states: list[tuple[str, dict[str, int]] | None], counts: dict[str, int]) -> None:
    client, pauses = boto3.client("ecr", region_name="eu-central-1"), list[float]()
    with Stubber(client) as stub:
        for state in states:
            if state is None:
                stub.add_client_error("describe_image_scan_findings", "ScanNotFoundException")
                continue
            status, found = state
            answer = {"imageScanStatus": {"status": status}, "imageScanFindings": {"findingSeverityCounts": found}}
            stub.add_response("describe_image_scan_findings", answer)
        assert _findings(client, "recsys-dev/dagster", "abc", pauses.append) == counts
    assert len(pauses) == len(states) - 1


def test_critical_findings_stop_the_restart(repositories: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_deploy.deploy.images._findings", lambda *given: {"CRITICAL": 1})
    restarted: list[str] = []
    monkeypatch.setattr("recsys_deploy.deploy.images._restart", lambda aws, cluster: restarted.append(cluster))
    with pytest.raises(DeployError, match=r"1 critical vulnerabilities in recsys-dev/dagster.*--allow-critical"):
        push(tmp_path, Docker())
    assert restarted == []
