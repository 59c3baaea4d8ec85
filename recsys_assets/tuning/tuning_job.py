"""The ``CreateHyperParameterTuningJob`` request of a search space, and the checks of what AWS would refuse."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from recsys_assets.sagemaker.container import VARIABLE
from recsys_assets.sagemaker.job import (
    Hardware,
    Placement,
    buckets_of,
    cluster,
    hardware_problems,
    key_field,
    placement_problems,
    tag_problems,
    vpc_config,
)
from recsys_assets.sagemaker.kinds import TUNING, JobKind
from recsys_assets.sagemaker.training_job import (
    channel_problems,
    channels_of,
    hyperparameter_problems,
    input_data,
    limits,
    metric_definitions,
)
from recsys_assets.training.search_spaces import OneOf, Real, SearchSpace, Whole
from recsys_assets.tuning.trial import OBJECTIVE

RANGES: Final = 30
CHOICES: Final = 30
CHOICE_LENGTH: Final = 256
SHORTEST_S: Final = 120
LONGEST_S: Final = 15_768_000
_KINDS_OF_RANGE: Final = ("IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges")
RETRIES: Final = 3
"""Of a trial that failed on AWS's side."""


@dataclass(frozen=True, slots=True)
class TuningJobPlan:
    """A tuning job without its name.

    Attributes:
        fixed: hyper-parameters that are the same in all trials, as text.
        space: hyper-parameters that trials vary.
        channels: input channel -> ``s3://`` prefix.
        output_uri: ``s3://`` prefix for what trials leave.
        metrics: name -> regular expression, `OBJECTIVE` among them, which is maximised.
        trials: how many, at most.
        parallel: how many at a time. A choice uses the trials that have ended, so fewer at a time choose better.
        seconds: for all trials together.
        seed: of the choices.
    """

    kind: ClassVar[JobKind] = TUNING
    placement: Placement
    fixed: Mapping[str, str]
    space: SearchSpace
    channels: Mapping[str, str]
    output_uri: str
    metrics: Mapping[str, str]
    trials: int
    parallel: int = 1
    seconds: int = 24 * 3600
    seed: int = 0
    hardware: Hardware = field(default_factory=Hardware)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def buckets(self) -> tuple[str, ...]:
        """See `JobPlan`."""
        return buckets_of([*self.channels.values(), self.output_uri])

    def problems(self) -> list[str]:
        """See `JobPlan`."""
        problems = [
            *placement_problems(self.placement),
            *hardware_problems(self.hardware),
            *hyperparameter_problems(self.fixed),
            *channel_problems(self.channels, self.output_uri),
            *tag_problems(self.tags),
            *_space_problems(self.space),
        ]
        if self.trials < 1 or not 1 <= self.parallel <= self.trials:
            problems.append(f"{self.parallel} of {self.trials} trials at a time; give 1 to as many as there are")
        if not SHORTEST_S <= self.seconds <= LONGEST_S:
            problems.append(f"{self.seconds} s for all trials; a tuning job takes {SHORTEST_S} to {LONGEST_S}")
        if OBJECTIVE not in self.metrics:
            problems.append(f"no metric {OBJECTIVE}; a tuning job maximises it")
        return problems

    def request(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """See `JobPlan`."""
        return {
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": OBJECTIVE},
                "ResourceLimits": {
                    "MaxNumberOfTrainingJobs": self.trials,
                    "MaxParallelTrainingJobs": self.parallel,
                    "MaxRuntimeInSeconds": self.seconds,
                },
                "ParameterRanges": parameter_ranges(self.space),
                # The median stopping rule, as in the local search.
                "TrainingJobEarlyStoppingType": "Auto",
                "RandomSeed": self.seed,
            },
            "TrainingJobDefinition": {
                "StaticHyperParameters": dict(self.fixed),
                "AlgorithmSpecification": {
                    "TrainingImage": self.placement.image,
                    "TrainingInputMode": "File",
                    **metric_definitions(self.metrics),
                },
                "RoleArn": self.placement.role_arn,
                "InputDataConfig": input_data(self.channels),
                "OutputDataConfig": {"S3OutputPath": self.output_uri, **key_field("KmsKeyId", self.placement)},
                "ResourceConfig": cluster(self.hardware, self.placement),
                # A trial interrupted on spot capacity starts again; it is too short to need checkpoints.
                **limits(self.hardware),
                "RetryStrategy": {"MaximumRetryAttempts": RETRIES},
                "Environment": {VARIABLE: "trial", **variables},
                **vpc_config(self.placement),
            },
        }

    def work(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """See `JobPlan`."""
        config, definition = content.get("HyperParameterTuningJobConfig", {}), content.get("TrainingJobDefinition", {})
        return {
            "image": definition.get("AlgorithmSpecification", {}).get("TrainingImage"),
            # AWS adds its own to what was fixed.
            "fixed": {name: definition.get("StaticHyperParameters", {}).get(name) for name in self.fixed},
            "space": {kind: config.get("ParameterRanges", {}).get(kind) or [] for kind in _KINDS_OF_RANGE},
            "trials": config.get("ResourceLimits", {}).get("MaxNumberOfTrainingJobs"),
            "seed": config.get("RandomSeed"),
            "channels": channels_of(definition),
        }


def parameter_ranges(space: SearchSpace) -> dict[str, list[dict[str, Any]]]:
    """``ParameterRanges`` of a space: everything as text, choices as JSON text."""
    ranges: dict[str, list[dict[str, Any]]] = {}
    for name, dimension in space.items():
        if isinstance(dimension, OneOf):
            ranges.setdefault("CategoricalParameterRanges", []).append({"Name": name, "Values": [*dimension.texts]})
            continue
        kind = "IntegerParameterRanges" if isinstance(dimension, Whole) else "ContinuousParameterRanges"
        ends = {"MinValue": repr(dimension.low), "MaxValue": repr(dimension.high)}
        scaling = "Logarithmic" if dimension.log else "Linear"
        ranges.setdefault(kind, []).append({"Name": name, **ends, "ScalingType": scaling})
    return ranges


def chosen_values(space: SearchSpace, tuned: Mapping[str, str]) -> dict[str, Any]:
    """Values of ``space`` in a trial, from its ``TunedHyperParameters``: the inverse of `parameter_ranges`.

    Raises:
        ValueError: a value is missing or outside the space.
    """
    chosen: dict[str, Any] = {}
    for name, dimension in space.items():
        text = tuned.get(name, "")
        try:
            value: Any = float(text) if isinstance(dimension, Real) else json.loads(text)
        except ValueError:
            value = None
        if value not in dimension:
            raise ValueError(f"{name} is {text!r} in a trial, outside of {dimension}")
        chosen[name] = value
    return chosen


def _space_problems(space: SearchSpace) -> list[str]:
    problems = (
        [] if 0 < len(space) <= RANGES else [f"{len(space)} parameters to vary; a tuning job takes 1 to {RANGES}"]
    )
    for name, dimension in space.items():
        if isinstance(dimension, OneOf):
            longest = max(map(len, dimension.texts))
            if len(dimension.texts) > CHOICES or longest > CHOICE_LENGTH:
                problems.append(
                    f"{name} has {len(dimension.texts)} choices of up to {longest} characters; a tuning job takes "
                    f"{CHOICES} of {CHOICE_LENGTH}"
                )
    return problems
