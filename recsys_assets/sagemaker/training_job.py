"""The ``CreateTrainingJob`` request, and the checks of what AWS would refuse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from recsys_assets.sagemaker.job import (
    Hardware,
    Placement,
    buckets_of,
    cluster,
    hardware_problems,
    key_field,
    place_problems,
    placement_problems,
    tag_problems,
    vpc_config,
)
from recsys_assets.sagemaker.kinds import TRAINING, JobKind

TRAIN: Final = ("python", "-m", "recsys_assets.training.train")
"""Command of the container; part of the request, so that the image's entry point does not matter."""

HYPERPARAMETERS: Final = 100
HYPERPARAMETER_KEY: Final = 256
HYPERPARAMETER_VALUE: Final = 2500


@dataclass(frozen=True, slots=True)
class TrainingJobPlan:
    """A training job without its name.

    Attributes:
        hyperparameters: strings only, as SageMaker requires.
        channels: input channel -> ``s3://`` prefix.
        output_uri: ``s3://`` prefix for the artefact.
        checkpoint_uri: ``s3://`` prefix; needed with ``hardware.spot``.
        program: command of the container.
        metrics: name -> regular expression of metrics that the program prints.
    """

    kind: ClassVar[JobKind] = TRAINING
    placement: Placement
    hyperparameters: Mapping[str, str]
    channels: Mapping[str, str]
    output_uri: str
    checkpoint_uri: str = ""
    hardware: Hardware = field(default_factory=Hardware)
    tags: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = TRAIN
    metrics: Mapping[str, str] = field(default_factory=dict)

    @property
    def buckets(self) -> tuple[str, ...]:
        """See `JobPlan`."""
        return buckets_of([*self.channels.values(), self.output_uri, self.checkpoint_uri])

    def problems(self) -> list[str]:
        """See `JobPlan`."""
        return [
            *placement_problems(self.placement),
            *hardware_problems(self.hardware),
            *spot_problems(self.hardware, self.checkpoint_uri),
            *hyperparameter_problems(self.hyperparameters),
            *channel_problems(self.channels, self.output_uri, self.checkpoint_uri),
            *tag_problems(self.tags),
        ]

    def request(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """See `JobPlan`."""
        request: dict[str, Any] = {
            "AlgorithmSpecification": {
                "TrainingImage": self.placement.image,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": list(self.program),
                **metric_definitions(self.metrics),
            },
            "RoleArn": self.placement.role_arn,
            "HyperParameters": dict(self.hyperparameters),
            "InputDataConfig": input_data(self.channels),
            "OutputDataConfig": {"S3OutputPath": self.output_uri, **key_field("KmsKeyId", self.placement)},
            "ResourceConfig": cluster(self.hardware, self.placement),
            **limits(self.hardware),
            "Environment": dict(variables),
            **vpc_config(self.placement),
        }
        if self.checkpoint_uri:
            request["CheckpointConfig"] = {"S3Uri": self.checkpoint_uri}
        return request

    def work(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """See `JobPlan`."""
        specification = content.get("AlgorithmSpecification", {})
        return {
            "image": specification.get("TrainingImage"),
            "program": list(specification.get("ContainerEntrypoint", [])),
            "hyper-parameters": dict(content.get("HyperParameters", {})),
            "channels": channels_of(content),
            "output": content.get("OutputDataConfig", {}).get("S3OutputPath"),
        }


def input_data(channels: Mapping[str, str]) -> list[dict[str, Any]]:
    """``InputDataConfig`` of channels, by ``s3://`` prefix."""
    result = []
    for name, uri in channels.items():
        source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
        result.append({"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"})
    return result


def channels_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Inverse of `input_data`, from a request or description."""
    return {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
        for channel in content.get("InputDataConfig", [])
    }


def limits(hardware: Hardware) -> dict[str, Any]:
    """Time limits, and whether the job runs on spot capacity."""
    stopping = {"MaxRuntimeInSeconds": hardware.max_runtime_s}
    if hardware.spot:
        stopping["MaxWaitTimeInSeconds"] = hardware.max_wait_s
    return {"StoppingCondition": stopping, "EnableManagedSpotTraining": hardware.spot}


def metric_definitions(metrics: Mapping[str, str]) -> dict[str, Sequence[Mapping[str, str]]]:
    """``MetricDefinitions``; empty without metrics."""
    return {"MetricDefinitions": [{"Name": n, "Regex": regex} for n, regex in metrics.items()]} if metrics else {}


def spot_problems(hardware: Hardware, checkpoint_uri: str) -> list[str]:
    """What is wrong with the settings of spot capacity."""
    problems = []
    if hardware.spot and hardware.max_wait_s < hardware.max_runtime_s:
        problems.append(
            f"spot: max_wait_s ({hardware.max_wait_s}) counts running and waiting, so it must be at least "
            f"max_runtime_s ({hardware.max_runtime_s})"
        )
    if hardware.spot and not checkpoint_uri:
        problems.append("spot without checkpoint_uri would start from nothing after every interruption; give one")
    return problems


def hyperparameter_problems(hyperparameters: Mapping[str, str]) -> list[str]:
    """Hyper-parameters that SageMaker would refuse."""
    problems = []
    if len(hyperparameters) > HYPERPARAMETERS:
        problems.append(f"{len(hyperparameters)} hyper-parameters; SageMaker takes at most {HYPERPARAMETERS}")
    for name, value in hyperparameters.items():
        if not isinstance(value, str):
            problems.append(f"hyper-parameter {name} is {value!r}; SageMaker takes strings only")
        elif len(name) > HYPERPARAMETER_KEY or len(value) > HYPERPARAMETER_VALUE:
            problems.append(
                f"hyper-parameter {name[:40]} is {len(value)} characters long; at most {HYPERPARAMETER_VALUE}: "
                "put long values into an input channel"
            )
    return problems


def channel_problems(channels: Mapping[str, str], output_uri: str, checkpoint_uri: str = "") -> list[str]:
    """What is wrong with the URIs of input and output."""
    places = {**channels, "output": output_uri, **({"checkpoints": checkpoint_uri} if checkpoint_uri else {})}
    missing = [] if channels else ["no input channels; a training reads at least one"]
    return missing + place_problems(places)
