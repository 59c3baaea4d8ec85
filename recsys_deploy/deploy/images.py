"""``recsys images``: builds an environment's container images, pushes them, waits for the scan, restarts services.

Images have the git revision as their tag. ECR's tags are immutable, so an image that exists is not built again. Both
platforms that run the images have requirements: SageMaker refuses OCI media types and attestations, and an ECS service
that failed because its image did not exist does not start again by itself.
"""

import base64
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError
from rich.console import Console

from recsys_assets.aws_errors import error_code
from recsys_assets.code_revision import git_revision
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import DeployError, translated
from recsys_deploy.deploy.steps import Steps
from recsys_deploy.deploy.values import Environment, read_environment

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED: Final = [
    DOCKER_MANIFEST,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
]
SCAN_PAUSE_S, SCAN_ATTEMPTS = 5, 60

Run = Callable[[Sequence[str], bytes | None], None]
"""Runs a program with this standard input; raises `DeployError` where it fails."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options of the command line.

    Attributes:
        environment: name of a folder in ``terraform/environments``.
        terraform: the tree with ``environments``.
        base: Python image, pinned by digest.
        pip_args: options for pip within the build.
        platform: of the images.
        allow_critical: accept images with critical findings of ECR's scan.
    """

    environment: str
    terraform: Path
    base: str
    pip_args: str = ""
    platform: str = "linux/amd64"
    allow_critical: bool = False


@dataclass(frozen=True, slots=True)
class PushedImage:
    """An image in ECR: repository, digest, findings of the scan by severity, whether this run built it."""

    repository: str
    digest: str
    findings: Mapping[str, int]
    built: bool


def run_program(command: Sequence[str], given: bytes | None) -> None:
    """Run a program; its output goes to the terminal."""
    try:
        done = subprocess.run(list(command), input=given, check=False)
    except FileNotFoundError as error:
        raise DeployError(f"{command[0]} is not on the path", remedy="install Docker with buildx") from error
    if done.returncode != 0:
        raise DeployError(
            f"`{' '.join(command[:3])}` failed with status {done.returncode}",
            remedy="read its output above; an unsupported exporter needs `docker buildx create --use`",
        )


def needed_images(values: Mapping[str, Any]) -> list[str]:
    """Images that an environment with these values uses."""
    return (["dagster"] if values.get("runs") else []) + (["inference", "training"] if values.get("sagemaker") else [])


def build_command(name: str, uri: str, options: ImageOptions, revision: str) -> list[str]:
    """The command that builds ``docker/<name>.Dockerfile`` and pushes it as ``uri``, with media types of Docker."""
    command = ["docker", "buildx", "build", "--platform", options.platform, "--file", f"docker/{name}.Dockerfile"]
    command += ["--provenance=false", "--sbom=false"]
    command += ["--output", f"type=image,name={uri},push=true,oci-mediatypes=false"]
    arguments = {"PYTHON_IMAGE": options.base, "PIP_ARGS": options.pip_args, "GIT_REVISION": revision}
    return [*command, *(part for item in arguments.items() for part in ("--build-arg", "=".join(item))), "."]


def push_images(
    options: ImageOptions,
    console: Console,
    *,
    run: Run = run_program,
    sleep: Callable[[float], None] = time.sleep,
) -> list[PushedImage]:
    """Build and push every image that the environment needs, check it, and restart the services. May be repeated.

    Raises:
        DeployError: the base is not pinned, a repository is missing, a build failed, or an image may not be used.
    """
    if not re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", options.base):
        raise DeployError(
            f"the base image {options.base!r} is not pinned by digest",
            remedy="write name@sha256:...; docker/README.md says where to find the digest",
        )
    environment = read_environment(options.terraform, options.environment)
    aws = Aws(environment.region)
    with aws.shared():
        steps = Steps(console, aws.refresh)
        revision = git_revision()
        names = needed_images(environment.values)
        registry = f"{aws.account()}.dkr.ecr.{environment.region}.amazonaws.com"
        found = []
        for name in names:
            with steps.step(f"image {name}") as step:
                image = _push(aws, environment, name, registry, options, revision, run, sleep)
                step.note = f"{image.repository}@{image.digest}, {'built' if image.built else 'exists'}"
            found.append(image)
        for image in found:
            if image.findings.get("CRITICAL") and not options.allow_critical:
                raise DeployError(
                    f"ECR's scan found {image.findings['CRITICAL']} critical vulnerabilities in {image.repository}",
                    remedy="build with a newer base image, or accept them with --allow-critical; nothing was restarted",
                )
        with steps.step("services restarted") as step, translated("restarting ECS services"):
            step.note = str(_restart(aws, environment.prefix)) if "dagster" in names else "none"
    return found


def _push(
    aws: Aws,
    environment: Environment,
    name: str,
    registry: str,
    options: ImageOptions,
    revision: str,
    run: Run,
    sleep: Callable[[float], None],
) -> PushedImage:
    repository = f"{environment.prefix}/{name}"
    ecr = aws.client("ecr")
    with translated(f"reading the repository {repository}"):
        built = not _exists(ecr, repository, revision)
    if built:
        with translated("ecr:GetAuthorizationToken"):
            token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        password = base64.b64decode(token).partition(b":")[2]
        run(["docker", "login", "--username", "AWS", "--password-stdin", registry], password)
        run(build_command(name, f"{registry}/{repository}:{revision}", options, revision), None)
    with translated(f"checking the image {repository}:{revision}"):
        image = ecr.batch_get_image(
            repositoryName=repository, imageIds=[{"imageTag": revision}], acceptedMediaTypes=ACCEPTED
        )["images"][0]
        media_type = image.get("imageManifestMediaType", DOCKER_MANIFEST)
        if name != "dagster" and media_type != DOCKER_MANIFEST:
            raise DeployError(
                f"{repository}:{revision} has the media type {media_type}, which SageMaker refuses",
                remedy="delete it in ECR and build it with docker buildx, --provenance=false and oci-mediatypes=false",
            )
        findings = _findings(ecr, repository, revision, sleep)
    return PushedImage(repository, image["imageId"]["imageDigest"], findings, built)


def _exists(ecr: Any, repository: str, tag: str) -> bool:
    try:
        ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        return True
    except ClientError as error:
        if error_code(error) == "ImageNotFoundException":
            return False
        if error_code(error) == "RepositoryNotFoundException":
            raise DeployError(
                f"there is no repository {repository}", remedy="run `recsys deploy` first, which creates it"
            ) from error
        raise


def _findings(ecr: Any, repository: str, tag: str, sleep: Callable[[float], None]) -> Mapping[str, int]:
    """Counts of the scan by severity; repositories scan on push. Empty where the account has no such scan."""
    for _ in range(SCAN_ATTEMPTS):
        try:
            found = ecr.describe_image_scan_findings(repositoryName=repository, imageId={"imageTag": tag})
        except ClientError as error:
            if error_code(error) == "ScanNotFoundException":
                return {}
            raise
        status = found["imageScanStatus"]["status"]
        if status in ("COMPLETE", "ACTIVE"):
            counts: Mapping[str, int] = found.get("imageScanFindings", {}).get("findingSeverityCounts", {})
            return counts
        if status not in ("IN_PROGRESS", "PENDING"):
            return {}
        sleep(SCAN_PAUSE_S)
    return {}


def _restart(aws: Aws, cluster: str) -> int:
    """Force a new deployment of the cluster's services, because those that failed without an image stay down."""
    ecs = aws.client("ecs")
    pages = ecs.get_paginator("list_services").paginate(cluster=cluster)
    services = [arn for page in pages for arn in page["serviceArns"]]
    for service in services:
        ecs.update_service(cluster=cluster, service=service, forceNewDeployment=True)
    return len(services)
