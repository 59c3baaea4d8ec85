"""The ``CreateProcessingJob`` request of one of our programs, and the checks of what AWS would refuse.

A processing job has no spot capacity, no checkpoints and no hyper-parameters; its container sees the folders below
``/opt/ml/processing``.
"""

from collections.abc import Mapping
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
from recsys_assets.sagemaker.kinds import PROCESSING, JobKind

ROOT: Final = "/opt/ml/processing"
LONGEST_PROCESSING_S: Final = 9 * 24 * 3600
ARGUMENTS: Final = 100
PLACES: Final = 10


@dataclass(frozen=True, slots=True)
class ProcessingJobPlan:
    """A processing job without its name.

    Attributes:
        module: the program, run as ``python -m module``.
        arguments: of the program; where they name a folder, below `ROOT`.
        inputs: folder below ``ROOT/input`` -> ``s3://`` prefix copied there before the program starts.
        outputs: folder below ``ROOT/output`` -> ``s3://`` prefix it is copied to after the program has ended well.
        reads: further ``s3://`` prefixes that the program reads itself.
    """

    kind: ClassVar[JobKind] = PROCESSING
    placement: Placement
    module: str
    arguments: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    hardware: Hardware = field(default_factory=Hardware)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def buckets(self) -> tuple[str, ...]:
        """See `JobPlan`."""
        return buckets_of([*self.inputs.values(), *self.outputs.values(), *self.reads])

    def problems(self) -> list[str]:
        """See `JobPlan`."""
        problems = [
            *placement_problems(self.placement),
            *hardware_problems(self.hardware, LONGEST_PROCESSING_S),
            *place_problems({**self.inputs, **self.outputs, **dict(zip(self.reads, self.reads, strict=True))}),
            *tag_problems(self.tags),
        ]
        if not self.outputs:
            problems.append("no outputs; what a processing job makes is copied from a folder to S3")
        for what, count in (("inputs", len(self.inputs)), ("outputs", len(self.outputs))):
            if count > PLACES:
                problems.append(f"{count} {what}; SageMaker takes at most {PLACES}")
        if len(self.arguments) > ARGUMENTS:
            problems.append(f"{len(self.arguments)} arguments; SageMaker takes at most {ARGUMENTS}")
        return problems

    def request(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """See `JobPlan`."""
        network = vpc_config(self.placement)
        return {
            "AppSpecification": {
                "ImageUri": self.placement.image,
                "ContainerEntrypoint": ["python", "-m", self.module],
                **({"ContainerArguments": list(self.arguments)} if self.arguments else {}),
            },
            "RoleArn": self.placement.role_arn,
            "ProcessingInputs": [
                {
                    "InputName": name,
                    "S3Input": {
                        "S3Uri": uri,
                        "LocalPath": f"{ROOT}/input/{name}",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                    },
                }
                for name, uri in self.inputs.items()
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": name,
                        "S3Output": {
                            "S3Uri": uri,
                            "LocalPath": f"{ROOT}/output/{name}",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                    for name, uri in self.outputs.items()
                ],
                **key_field("KmsKeyId", self.placement),
            },
            "ProcessingResources": {"ClusterConfig": cluster(self.hardware, self.placement)},
            "StoppingCondition": {"MaxRuntimeInSeconds": self.hardware.max_runtime_s},
            "Environment": dict(variables),
            **({"NetworkConfig": network} if network else {}),
        }

    def work(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """See `JobPlan`."""
        program = content.get("AppSpecification", {})
        outputs = content.get("ProcessingOutputConfig", {}).get("Outputs", [])
        return {
            "image": program.get("ImageUri"),
            "program": [*program.get("ContainerEntrypoint", []), *program.get("ContainerArguments", [])],
            "inputs": {one["InputName"]: one["S3Input"]["S3Uri"] for one in content.get("ProcessingInputs", [])},
            "outputs": {one["OutputName"]: one["S3Output"]["S3Uri"] for one in outputs},
        }
