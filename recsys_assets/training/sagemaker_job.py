"""What a SageMaker training job is called and asked for: names, S3 places and the ``CreateTrainingJob`` request.

Put what must be right before a job is created here: plain data in, plain data out. Keep what a described job means
(``sagemaker_outcome.py``), calling AWS (``recsys_assets.resources.sagemaker``) and Dagster out.

Limits are those of the API reference of ``CreateTrainingJob``, as botocore's service model states them; AWS enforces
them with messages that name no remedy, and most fakes do not enforce them at all.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PROGRAM: Final = ("python", "-m", "recsys_assets.training.train")
"""What the container runs; named in the request, so that the image needs the package and no entry point of its own."""

NAME_LENGTH: Final = 63
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_S3 = re.compile(r"s3://([^/]+)/(.+)")

HYPERPARAMETERS: Final = 100
HYPERPARAMETER_KEY: Final = 256
HYPERPARAMETER_VALUE: Final = 2500
ENVIRONMENT_VALUE: Final = 512
IMAGE_LENGTH: Final = 255
LONGEST_RUN_S: Final = 28 * 24 * 3600
TAGS: Final = 50


class JobRefused(ValueError):
    """SageMaker would refuse this job or could not run it; the message names every setting at fault and the remedy."""


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """Which piece of work a job is. The same identity has the same name, so that it is found again after a restart.

    Attributes:
        run_id: of the orchestrator's run.
        asset: what the job is for, for example an asset's key.
        retry: which retry of the step this is, from 0.
        label: tells the jobs of one step apart, and is what people read in the console.
    """

    run_id: str
    asset: str
    label: str
    retry: int = 0

    def name(self, attempt: int) -> str:
        """At most 63 characters of letters, digits and hyphens; unique by run, asset, label, retry and attempt.

        Args:
            attempt: from 1; how often this step has started the job.
        """
        identity = "\0".join((self.run_id, self.asset, self.label, str(self.retry)))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
        readable = slug(self.label) or "job"
        tail = f"{slug(self.run_id)[:8].strip('-') or 'run'}-{digest}-{attempt}"
        return f"{readable[: NAME_LENGTH - len(tail) - 1].rstrip('-')}-{tail}"


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


@dataclass(frozen=True, slots=True)
class TrainingJobPlan:
    """A job without its name: what to train with what.

    Attributes:
        hyperparameters: all strings, as SageMaker carries them.
        channels: input channel -> ``s3://`` prefix.
        output_uri: ``s3://`` prefix for the artefact.
        checkpoint_uri: ``s3://`` prefix; needed with ``hardware.spot``.
    """

    placement: Placement
    hyperparameters: Mapping[str, str]
    channels: Mapping[str, str]
    output_uri: str
    checkpoint_uri: str = ""
    hardware: Hardware = field(default_factory=Hardware)
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def buckets(self) -> tuple[str, ...]:
        """Every bucket the job reads or writes."""
        uris = [*self.channels.values(), self.output_uri, *([self.checkpoint_uri] if self.checkpoint_uri else [])]
        return tuple(sorted({bucket_and_key(uri)[0] for uri in uris}))


def create_request(plan: TrainingJobPlan, name: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Arguments of ``create_training_job``.

    Args:
        environment: variables beside those of the plan: where the context lies and messages go.

    Raises:
        JobRefused: AWS would not take it, or the job could not run.
    """
    variables = {**plan.environment, **(environment or {})}
    if problems := [*_name_problems(name), *plan_problems(plan), *_environment_problems(variables)]:
        raise JobRefused(f"training job {name}: {'; '.join(problems)}")
    hardware, placement = plan.hardware, plan.placement
    stopping = {"MaxRuntimeInSeconds": hardware.max_runtime_s}
    if hardware.spot:
        stopping["MaxWaitTimeInSeconds"] = hardware.max_wait_s
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": placement.image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": list(PROGRAM),
        },
        "RoleArn": placement.role_arn,
        "HyperParameters": dict(plan.hyperparameters),
        "InputDataConfig": [_channel(channel, uri) for channel, uri in plan.channels.items()],
        "OutputDataConfig": {"S3OutputPath": plan.output_uri, **_key("KmsKeyId", placement)},
        "ResourceConfig": _resources(hardware, placement),
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": hardware.spot,
        "Environment": variables,
        "Tags": [{"Key": key, "Value": value} for key, value in plan.tags.items()],
    }
    if plan.checkpoint_uri:
        request["CheckpointConfig"] = {"S3Uri": plan.checkpoint_uri}
    if placement.subnets:
        request["VpcConfig"] = {"Subnets": [*placement.subnets], "SecurityGroupIds": [*placement.security_groups]}
    return request


def plan_problems(plan: TrainingJobPlan) -> list[str]:
    """What is wrong with ``plan``, each with its remedy; empty when nothing is."""
    return [
        *_placement_problems(plan.placement),
        *_hardware_problems(plan),
        *_hyperparameter_problems(plan.hyperparameters),
        *_place_problems(plan),
        *([f"{len(plan.tags)} tags; SageMaker takes at most {TAGS}"] if len(plan.tags) > TAGS else []),
    ]


def differences(request: Mapping[str, Any], description: Mapping[str, Any]) -> list[str]:
    """In what a described job differs from ``request`` that matters for its result; empty for the same work."""
    wanted, found = _work(request), _work(description)
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


def _work(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "image": content.get("AlgorithmSpecification", {}).get("TrainingImage"),
        "hyper-parameters": dict(content.get("HyperParameters", {})),
        "channels": {
            channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
            for channel in content.get("InputDataConfig", [])
        },
        "output": content.get("OutputDataConfig", {}).get("S3OutputPath"),
    }


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def _resources(hardware: Hardware, placement: Placement) -> dict[str, Any]:
    return {
        "InstanceType": hardware.instance_type,
        "InstanceCount": 1,
        "VolumeSizeInGB": hardware.volume_gb,
        **_key("VolumeKmsKeyId", placement),
    }


def _key(name: str, placement: Placement) -> dict[str, str]:
    return {name: placement.kms_key} if placement.kms_key else {}


def _name_problems(name: str) -> list[str]:
    if len(name) <= NAME_LENGTH and _NAME.fullmatch(name):
        return []
    return [f"its name must be letters, digits and hyphens, at most {NAME_LENGTH} of them"]


def _placement_problems(placement: Placement) -> list[str]:
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


def _hardware_problems(plan: TrainingJobPlan) -> list[str]:
    hardware, problems = plan.hardware, []
    if not hardware.instance_type.startswith("ml."):
        problems.append(f"instance type {hardware.instance_type!r} must start with ml., such as ml.m5.xlarge")
    if hardware.volume_gb < 1:
        problems.append(f"a volume of {hardware.volume_gb} GB; give at least 1")
    if not 1 <= hardware.max_runtime_s <= LONGEST_RUN_S:
        problems.append(f"max_runtime_s is {hardware.max_runtime_s}; it must be 1 to {LONGEST_RUN_S} (28 days)")
    if hardware.spot and hardware.max_wait_s < hardware.max_runtime_s:
        problems.append(
            f"spot: max_wait_s ({hardware.max_wait_s}) counts running and waiting, so it must be at least "
            f"max_runtime_s ({hardware.max_runtime_s})"
        )
    if hardware.spot and not plan.checkpoint_uri:
        problems.append("spot without checkpoint_uri would start from nothing after every interruption; give one")
    return problems


def _hyperparameter_problems(hyperparameters: Mapping[str, str]) -> list[str]:
    problems = []
    if len(hyperparameters) > HYPERPARAMETERS:
        problems.append(f"{len(hyperparameters)} hyper-parameters; SageMaker takes at most {HYPERPARAMETERS}")
    for name, value in hyperparameters.items():
        if not isinstance(value, str):
            problems.append(f"hyper-parameter {name} is {value!r}; SageMaker carries strings only")
        elif len(name) > HYPERPARAMETER_KEY or len(value) > HYPERPARAMETER_VALUE:
            problems.append(
                f"hyper-parameter {name[:40]} is {len(value)} characters long; at most {HYPERPARAMETER_VALUE}: "
                "put long values into an input channel"
            )
    return problems


def _place_problems(plan: TrainingJobPlan) -> list[str]:
    problems = []
    if not plan.channels:
        problems.append("no input channels; a training reads at least one")
    for what, uri in (*plan.channels.items(), ("output", plan.output_uri), ("checkpoints", plan.checkpoint_uri)):
        if (uri and not _S3.fullmatch(uri)) or (what == "output" and not uri):
            problems.append(f"{what}: {uri!r} is no s3://bucket/prefix URI; set RECSYS_TRAINING_URI")
    return problems


def _environment_problems(variables: Mapping[str, str]) -> list[str]:
    return [
        f"variable {name} is {len(value)} characters long; SageMaker takes {ENVIRONMENT_VALUE}: shorten the S3 prefix"
        for name, value in variables.items()
        if len(value) > ENVIRONMENT_VALUE
    ]
