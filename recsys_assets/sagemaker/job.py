"""What jobs of all kinds have in common: name, S3 prefixes, hardware, role, network, and the limits of the API.

Limits are those of the API reference, as botocore's service model states them. They are checked here because AWS's own
messages name no remedy and fakes do not enforce them.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from recsys_assets.sagemaker.errors import JobRefused
from recsys_assets.sagemaker.kinds import JobKind

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_S3 = re.compile(r"s3://([^/]+)/(.+)")

IMAGE_LENGTH: Final = 255
LONGEST_RUN_S: Final = 28 * 24 * 3600
TAGS: Final = 50
TAG_KEY: Final = 128
TAG_VALUE: Final = 256


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """Identifies a piece of work. Equal identities give equal names, so that a job is found again after a restart.

    Attributes:
        run_id: of the orchestrator's run.
        asset: purpose of the job, for example the key of an asset.
        retry: number of the step's retry, from 0.
        label: distinguishes the jobs of one step; the readable part of the name.
        lasting: ``run_id`` identifies the work instead of a run, so that a repeated request finds it done; a job that
            failed earlier is then skipped and another one started.
    """

    run_id: str
    asset: str
    label: str
    retry: int = 0
    lasting: bool = False

    def name(self, attempt: int, length: int = 63) -> str:
        """Letters, digits and hyphens; unique by run, asset, label, retry and attempt.

        Args:
            attempt: from 1; number of the start of this job.
            length: of the name, at most.
        """
        identity = "\0".join((self.run_id, self.asset, self.label, str(self.retry)))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
        readable = slug(self.label) or "job"
        tail = f"{slug(self.run_id)[:8].strip('-') or 'run'}-{digest}-{attempt}"
        return f"{readable[: length - len(tail) - 1].rstrip('-')}-{tail}"


@dataclass(frozen=True, slots=True)
class JobPlaces:
    """Where the files of a job are stored under ``root``, an ``s3://`` prefix.

    The files of a run share one prefix, which a lifecycle rule may expire. Checkpoints are elsewhere, because the next
    run resumes from them.
    """

    root: str

    def channel(self, identity: JobIdentity, name: str) -> str:
        """Prefix of one input channel, the same for all attempts."""
        return f"{self._run(identity)}/input/{name}"

    def output(self, identity: JobIdentity) -> str:
        """``S3OutputPath``; SageMaker adds ``<job name>/output/model.tar.gz``."""
        return f"{self._run(identity)}/output"

    def pipes(self, identity: JobIdentity, job_name: str) -> str:
        """Prefix of the context and the messages of one job."""
        return f"{self._run(identity)}/pipes/{job_name}"

    def checkpoints(self, label: str) -> str:
        """Prefix of the checkpoints of one training, independent of the run."""
        return f"{self.root.rstrip('/')}/checkpoints/{slug(label)}"

    def shared(self, what: str) -> str:
        """Prefix of files that belong to no single run: input and trials of tunings, named by their content."""
        return f"{self.root.rstrip('/')}/tuning/{what}"

    def _run(self, identity: JobIdentity) -> str:
        return f"{self.root.rstrip('/')}/runs/{identity.run_id}/{slug(identity.label)}-{identity.retry}"


@dataclass(frozen=True, slots=True)
class Hardware:
    """Instance, disk and time limits of a job.

    Attributes:
        instance_type: such as ``ml.m5.xlarge``; one instance, because ``train`` runs on one host.
        volume_gb: disk for input, checkpoints and model.
        spot: managed spot training: cheaper, sometimes interrupted, and then resumed from its checkpoint.
        max_runtime_s: limit of training alone; SageMaker then stops the job.
        max_wait_s: with ``spot``: limit of training and waiting for capacity together.
    """

    instance_type: str = "ml.m5.xlarge"
    volume_gb: int = 30
    spot: bool = True
    max_runtime_s: int = 4 * 3600
    max_wait_s: int = 8 * 3600


@dataclass(frozen=True, slots=True)
class Placement:
    """Image, role and network of a job. ``kms_key`` encrypts volume and output; subnets need a route to S3."""

    image: str
    role_arn: str
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    kms_key: str = ""


class JobPlan(Protocol):
    """A job of some kind without its name."""

    @property
    def kind(self) -> JobKind:
        """Of the job."""

    @property
    def placement(self) -> Placement:
        """Image, role and network."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the job."""

    @property
    def buckets(self) -> tuple[str, ...]:
        """Every bucket the job reads or writes."""

    def problems(self) -> list[str]:
        """What AWS would refuse or could not run, each with its remedy; empty when nothing is wrong."""

    def request(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """Arguments of the ``create`` call without name and tags; ``variables`` are passed to the program."""

    def work(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The parts of a request or a description that determine the result, by name."""


def create_request(
    plan: JobPlan, name: str, variables: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Arguments of the ``create`` call of ``plan``'s kind.

    Args:
        variables: environment variables of the program.
        tags: in addition to those of the plan.

    Raises:
        JobRefused: AWS would refuse it, or the job could not run.
    """
    variables, tags = variables or {}, {**(tags or {}), **plan.tags}
    problems = [
        *_name_problems(name, plan.kind),
        *plan.problems(),
        *_environment_problems(variables, plan.kind),
        *tag_problems(tags),
    ]
    if problems:
        raise JobRefused(f"{plan.kind.noun} {name}: {'; '.join(problems)}")
    return {plan.kind.name_field: name, **plan.request(variables), "Tags": tag_list(tags)}


def differences(plan: JobPlan, description: Mapping[str, Any]) -> list[str]:
    """Differences of a described job from ``plan`` that change its result; empty for the same work."""
    wanted, found = plan.work(plan.request({})), plan.work(description)
    return [f"{name}: {found[name]!r} instead of {wanted[name]!r}" for name in wanted if wanted[name] != found[name]]


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The two parts of an ``s3://bucket/key`` URI. Raises `JobRefused` for anything else."""
    match = _S3.fullmatch(uri)
    if match is None:
        raise JobRefused(f"{uri!r} is not an s3://bucket/prefix URI")
    return match[1], match[2].rstrip("/")


def is_s3_uri(uri: str) -> bool:
    """Whether ``uri`` is ``s3://bucket/key``."""
    return _S3.fullmatch(uri) is not None


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """``Tags`` of a request; values longer than AWS allows are cut, for they may list many assets."""
    return [{"Key": key, "Value": value[:TAG_VALUE]} for key, value in tags.items()]


def slug(text: str) -> str:
    """``text`` reduced to letters, digits and single hyphens, which job names allow."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")


def key_field(name: str, placement: Placement) -> dict[str, str]:
    """The placement's KMS key as field ``name``; empty without a key."""
    return {name: placement.kms_key} if placement.kms_key else {}


def vpc_config(placement: Placement) -> dict[str, Any]:
    """``VpcConfig`` of the placement; empty without subnets."""
    if not placement.subnets:
        return {}
    return {"VpcConfig": {"Subnets": [*placement.subnets], "SecurityGroupIds": [*placement.security_groups]}}


def cluster(hardware: Hardware, placement: Placement) -> dict[str, Any]:
    """One instance with its volume."""
    return {
        "InstanceType": hardware.instance_type,
        "InstanceCount": 1,
        "VolumeSizeInGB": hardware.volume_gb,
        **key_field("VolumeKmsKeyId", placement),
    }


def buckets_of(uris: Iterable[str]) -> tuple[str, ...]:
    """Buckets of the URIs that are not empty."""
    return tuple(sorted({bucket_and_key(uri)[0] for uri in uris if uri}))


def placement_problems(placement: Placement, image_setting: str = "RECSYS_TRAINING_IMAGE") -> list[str]:
    """What is wrong with image, role and network."""
    problems = []
    if not 0 < len(placement.image) <= IMAGE_LENGTH:
        problems.append(f"no image; set {image_setting} to its ECR address")
    if not _ROLE.fullmatch(placement.role_arn):
        problems.append(
            f"{placement.role_arn!r} is not a role ARN; set RECSYS_TRAINING_ROLE_ARN to the SageMaker execution role"
        )
    if bool(placement.subnets) != bool(placement.security_groups):
        problems.append("subnets and security groups go together; give both or neither")
    return problems


def hardware_problems(hardware: Hardware, longest_run_s: int = LONGEST_RUN_S) -> list[str]:
    """What is wrong with instance, volume and time limit."""
    problems = []
    if not hardware.instance_type.startswith("ml."):
        problems.append(f"instance type {hardware.instance_type!r} must start with ml., such as ml.m5.xlarge")
    if hardware.volume_gb < 1:
        problems.append(f"a volume of {hardware.volume_gb} GB; give at least 1")
    if not 1 <= hardware.max_runtime_s <= longest_run_s:
        days = longest_run_s // 86_400
        problems.append(f"max_runtime_s is {hardware.max_runtime_s}; it must be 1 to {longest_run_s} ({days} days)")
    return problems


def place_problems(places: Mapping[str, str]) -> list[str]:
    """Which of the URIs, by their purpose, are not ``s3://`` prefixes."""
    return [
        f"{what}: {uri!r} is not an s3://bucket/prefix URI; set RECSYS_TRAINING_URI"
        for what, uri in places.items()
        if not is_s3_uri(uri)
    ]


def tag_problems(tags: Mapping[str, str]) -> list[str]:
    """What AWS would refuse about tags. Values that are too long are cut instead (`tag_list`)."""
    problems = [f"{len(tags)} tags; SageMaker takes at most {TAGS}"] if len(tags) > TAGS else []
    reserved = sorted(key for key in tags if key.lower().startswith("aws:") or not 0 < len(key) <= TAG_KEY)
    return problems + [f"tag {key[:40]!r}: names are 1 to {TAG_KEY} characters and not AWS's own" for key in reserved]


def _name_problems(name: str, kind: JobKind) -> list[str]:
    if len(name) <= kind.name_length and _NAME.fullmatch(name):
        return []
    return [f"its name must be letters, digits and hyphens, at most {kind.name_length} of them"]


def _environment_problems(variables: Mapping[str, str], kind: JobKind) -> list[str]:
    return [
        f"variable {name} is {len(value)} characters long; a {kind.noun} takes {kind.variable_length}: shorten the S3 "
        "prefix"
        for name, value in variables.items()
        if len(value) > kind.variable_length
    ]
