"""The ``CreateTransformJob`` request, and the checks of what AWS would refuse.

One line of input gives one line of output, in order, in ``<input file>.out`` below the output. Role, image, network and
the container's variables are those of the model (``recsys_deploy.endpoints.requests``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from recsys_assets.sagemaker.job import Placement, buckets_of, key_field, place_problems, tag_problems
from recsys_assets.sagemaker.kinds import TRANSFORM, JobKind

LINES: Final = "application/jsonlines"
PAYLOAD_MB: Final = 6
"""Largest request to the container; whole lines are sent together up to it."""

CONCURRENT: Final = 2
"""Simultaneous requests: the smallest instance has two cores with a worker on each."""


@dataclass(frozen=True, slots=True)
class TransformJobPlan:
    """A transform job without its name.

    Attributes:
        placement: of the model; its role (for messages) and its key are used.
        model_name: of a model that exists.
        input_uri: ``s3://`` prefix; every object below it is JSON lines.
        output_uri: ``s3://`` prefix.
    """

    kind: ClassVar[JobKind] = TRANSFORM
    placement: Placement
    model_name: str
    input_uri: str
    output_uri: str
    instance_type: str = "ml.m5.large"
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def buckets(self) -> tuple[str, ...]:
        """See `JobPlan`."""
        return buckets_of([self.input_uri, self.output_uri])

    def problems(self) -> list[str]:
        """See `JobPlan`."""
        problems = [*place_problems({"input": self.input_uri, "output": self.output_uri}), *tag_problems(self.tags)]
        if not self.instance_type.startswith("ml."):
            problems.append(
                f"instance type {self.instance_type!r} must start with ml.; set RECSYS_INFERENCE_INSTANCE_TYPE"
            )
        if f"{self.output_uri.rstrip('/')}/".startswith(f"{self.input_uri.rstrip('/')}/"):
            problems.append("output lies below input, so that the next transform would read it; give it another prefix")
        return problems

    def request(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """See `JobPlan`."""
        return {
            "ModelName": self.model_name,
            "BatchStrategy": "MultiRecord",
            "MaxConcurrentTransforms": CONCURRENT,
            "MaxPayloadInMB": PAYLOAD_MB,
            "ModelClientConfig": {"InvocationsTimeoutInSeconds": 600, "InvocationsMaxRetries": 3},
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": self.input_uri}},
                "ContentType": LINES,
                "SplitType": "Line",
            },
            "TransformOutput": {
                "S3OutputPath": self.output_uri,
                "Accept": LINES,
                "AssembleWith": "Line",
                **key_field("KmsKeyId", self.placement),
            },
            "TransformResources": {
                "InstanceType": self.instance_type,
                "InstanceCount": 1,
                **key_field("VolumeKmsKeyId", self.placement),
            },
            **({"Environment": dict(variables)} if variables else {}),
        }

    def work(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """See `JobPlan`."""
        source = content.get("TransformInput", {}).get("DataSource", {}).get("S3DataSource", {})
        return {
            "model": content.get("ModelName"),
            "input": source.get("S3Uri"),
            "output": content.get("TransformOutput", {}).get("S3OutputPath"),
        }
