"""The kinds of SageMaker jobs in one table: names of their calls, fields, console pages and logs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job.

    Attributes:
        noun: for messages.
        operation: in names of the API, such as ``CreateTrainingJob`` and ``TrainingJobName``.
        call: in names of boto3, such as ``create_training_job``; with hyphens, in those of AWS's command line.
        name_length: of a job's name, at most.
        variable_length: of the value of an environment variable, at most.
        page: of the console, between ``#/`` and the job's name.
        log_group: of its containers.
        resources: path of the instances in a description.
        began: field that is set when the program has its instance; empty where AWS reports none.
        ended: field that is set when the job has ended.
    """

    noun: str
    operation: str
    call: str
    name_length: int
    variable_length: int
    page: str
    log_group: str
    resources: tuple[str, ...]
    began: str
    ended: str

    @property
    def name_field(self) -> str:
        """Of requests and descriptions."""
        return f"{self.operation}Name"

    @property
    def status_field(self) -> str:
        """Of descriptions."""
        return f"{self.operation}Status"

    def action(self, verb: str) -> str:
        """The IAM action of ``Create``, ``Describe`` or ``Stop``."""
        return f"sagemaker:{verb}{self.operation}"

    def by_hand(self, verb: str, name: str) -> str:
        """The command of AWS's command line for it."""
        dashed = self.call.replace("_", "-")
        return f"aws sagemaker {verb}-{dashed} --{dashed}-name {name}"

    def instances(self, description: Mapping[str, Any]) -> Mapping[str, Any]:
        """``InstanceType`` and ``InstanceCount`` of a described job; empty where they are missing."""
        found: Any = description
        for part in self.resources:
            found = found.get(part, {})
        return dict(found)


TRAINING: Final = JobKind(
    noun="training job",
    operation="TrainingJob",
    call="training_job",
    name_length=63,
    variable_length=512,
    page="jobs",
    log_group="/aws/sagemaker/TrainingJobs",
    resources=("ResourceConfig",),
    began="TrainingStartTime",
    ended="TrainingEndTime",
)
PROCESSING: Final = JobKind(
    noun="processing job",
    operation="ProcessingJob",
    call="processing_job",
    name_length=63,
    variable_length=256,
    page="processing-jobs",
    log_group="/aws/sagemaker/ProcessingJobs",
    resources=("ProcessingResources", "ClusterConfig"),
    began="ProcessingStartTime",
    ended="ProcessingEndTime",
)
TUNING: Final = JobKind(
    noun="tuning job",
    operation="HyperParameterTuningJob",
    call="hyper_parameter_tuning_job",
    name_length=32,
    variable_length=512,
    page="hyper-tuning-jobs",
    log_group="/aws/sagemaker/TrainingJobs",
    resources=("TrainingJobDefinition", "ResourceConfig"),
    began="",
    ended="HyperParameterTuningEndTime",
)
TRANSFORM: Final = JobKind(
    noun="transform job",
    operation="TransformJob",
    call="transform_job",
    name_length=63,
    variable_length=10_240,
    page="transform-jobs",
    log_group="/aws/sagemaker/TransformJobs",
    resources=("TransformResources",),
    began="TransformStartTime",
    ended="TransformEndTime",
)
