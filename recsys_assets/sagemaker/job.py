"""What every SageMaker job has, whatever its kind: a name, S3 places, hardware, rights, and rules AWS holds it to.

Put what must be right before a job of any kind is created here: plain data in, plain data out. Keep what one kind is
asked for (its plan: ``training_job.py``, ``processing_job.py``, the tuning's and the batch's), what a described job
means (``outcome.py``), calling AWS (``recsys_assets.sagemaker.jobs``) and Dagster out.

Limits are those of the API reference, as botocore's service model states them; AWS enforces them with messages that
name no remedy, and most fakes do not enforce them at all.
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
    """Which piece of work a job is. The same identity has the same name, so that it is found again after a restart.

    Attributes:
        run_id: of the orchestrator's run.
        asset: what the job is for, for example an asset's key.
        retry: which retry of the step this is, from 0.
        label: tells the jobs of one step apart, and is what people read in the console.
        lasting: ``run_id`` is that of the work itself, so that whoever asks for it again finds it done; a job that
            ended badly is then passed over and another one started.
    """

    run_id: str
    asset: str
    label: str
    retry: int = 0
    lasting: bool = False

    def name(self, attempt: int, length: int = 63) -> str:
        """Letters, digits and hyphens; unique by run, asset, label, retry and attempt.

        Args:
            attempt: from 1; how often this step has started the job.
            length: of the name, at most.
        """
        identity = "\0".join((self.run_id, self.asset, self.label, str(self.retry)))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
        readable = slug(self.label) or "job"
        tail = f"{slug(self.run_id)[:8].strip('-') or 'run'}-{digest}-{attempt}"
        return f"{readable[: length - len(tail) - 1].rstrip('-')}-{tail}"


@dataclass(frozen=True, slots=True)
class JobPlaces:
    """Where the files of a job lie under ``root``, an ``s3://`` prefix.

    Everything of a run lies under one prefix, which a lifecycle rule may expire; checkpoints lie apart, because the
    next run goes on from them.
    """

    root: str

    def channel(self, identity: JobIdentity, name: str) -> str:
        """Prefix of one input channel; one for all attempts."""
        return f"{self._run(identity)}/input/{name}"

    def output(self, identity: JobIdentity) -> str:
        """``S3OutputPath``; SageMaker adds ``<job name>/output/model.tar.gz``."""
        return f"{self._run(identity)}/output"

    def pipes(self, identity: JobIdentity, job_name: str) -> str:
        """Prefix of the context and the messages of one job."""
        return f"{self._run(identity)}/pipes/{job_name}"

    def checkpoints(self, label: str) -> str:
        """Prefix of the checkpoints of one training, whichever run trains it."""
        return f"{self.root.rstrip('/')}/checkpoints/{slug(label)}"

    def shared(self, what: str) -> str:
        """Prefix of what does not belong to one run: input and trials of tunings, named by their content."""
        return f"{self.root.rstrip('/')}/tuning/{what}"

    def _run(self, identity: JobIdentity) -> str:
        return f"{self.root.rstrip('/')}/runs/{identity.run_id}/{slug(identity.label)}-{identity.retry}"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a job runs on, and for how long.

    Attributes:
        instance_type: such as ``ml.m5.xlarge``; one instance, because ``train`` runs on one host.
        volume_gb: disk for input, checkpoints and model.
        spot: managed spot training: cheaper, interrupted at times, going on from its checkpoint.
        max_runtime_s: of training itself; SageMaker stops the job then.
        max_wait_s: with ``spot``: of training and of waiting for capacity together.
    """

    instance_type: str = "ml.m5.xlarge"
    volume_gb: int = 30
    spot: bool = True
    max_runtime_s: int = 4 * 3600
    max_wait_s: int = 8 * 3600


@dataclass(frozen=True, slots=True)
class Placement:
    """Whose rights a job has and where it runs. ``kms_key`` encrypts volume and output; subnets need a way to S3."""

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
        """Whose rights it has."""

    @property
    def tags(self) -> Mapping[str, str]:
        """What it is found by."""

    @property
    def buckets(self) -> tuple[str, ...]:
        """Every bucket the job reads or writes."""

    def problems(self) -> list[str]:
        """What AWS would refuse, or could not run, each with its remedy; empty when nothing is wrong."""

    def request(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """Arguments of the ``create`` call but for name and tags; ``variables`` go to the program."""

    def work(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """What of a request or a description matters for the result, by name."""


def create_request(
    plan: JobPlan, name: str, variables: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Arguments of the ``create`` call of ``plan``'s kind.

    Args:
        variables: for the program: where the context lies and messages go.
        tags: beside those of the plan.

    Raises:
        JobRefused: AWS would not take it, or the job could not run.
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
    listed = [{"Key": key, "Value": value[:TAG_VALUE]} for key, value in tags.items()]
    return {plan.kind.name_field: name, **plan.request(variables), "Tags": listed}


def differences(plan: JobPlan, description: Mapping[str, Any]) -> list[str]:
    """In what a described job differs from ``plan`` that matters for its result; empty for the same work."""
    wanted, found = plan.work(plan.request({})), plan.work(description)
    return [f"{name}: {found[name]!r} instead of {wanted[name]!r}" for name in wanted if wanted[name] != found[name]]


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The two parts of an ``s3://bucket/key`` URI. Raises `JobRefused` when it is none."""
    match = _S3.fullmatch(uri)
    if match is None:
        raise JobRefused(f"{uri!r} is no s3://bucket/prefix URI")
    return match[1], match[2].rstrip("/")


def slug(text: str) -> str:
    """``text`` in letters, digits and single hyphens, as job names allow."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")


def key_field(name: str, placement: Placement) -> dict[str, str]:
    """The placement's key under ``name``, where it has one."""
    return {name: placement.kms_key} if placement.kms_key else {}


def vpc_config(placement: Placement) -> dict[str, Any]:
    """``VpcConfig`` of the placement, where it names subnets."""
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
    """The buckets of those URIs that are not empty."""
    return tuple(sorted({bucket_and_key(uri)[0] for uri in uris if uri}))


def placement_problems(placement: Placement) -> list[str]:
    """What is wrong with image, role and network."""
    problems = []
    if not 0 < len(placement.image) <= IMAGE_LENGTH:
        problems.append("no training image; set RECSYS_TRAINING_IMAGE to the image's ECR address")
    if not _ROLE.fullmatch(placement.role_arn):
        problems.append(
            f"{placement.role_arn!r} is no role ARN; set RECSYS_TRAINING_ROLE_ARN to the SageMaker execution role"
        )
    if bool(placement.subnets) != bool(placement.security_groups):
        problems.append("subnets and security groups go together; give both or neither")
    return problems


def hardware_problems(hardware: Hardware, longest_run_s: int = LONGEST_RUN_S) -> list[str]:
    """What is wrong with instance, volume and times, spot aside."""
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
    """Which of the places, by what they are for, are no ``s3://`` prefix; those that may be empty are not passed."""
    return [
        f"{what}: {uri!r} is no s3://bucket/prefix URI; set RECSYS_TRAINING_URI"
        for what, uri in places.items()
        if not _S3.fullmatch(uri)
    ]


def tag_problems(tags: Mapping[str, str]) -> list[str]:
    """What AWS refuses of tags; values that are too long are cut, as run ids and asset lists may be."""
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
