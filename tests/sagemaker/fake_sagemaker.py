"""A SageMaker that really runs jobs: the requested program in a process, over an ``/opt/ml`` tree and S3.

It sits behind a real boto3 client, at the point where the HTTP request would leave (``before-send``): parameters are
validated, requests serialised, answers parsed and calls repeated by botocore itself. What botocore leaves to the
service (lengths, patterns, enumerations) is checked here against botocore's own service model, because AWS would.
"""

import io
import json
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

from recsys_assets.sagemaker.kinds import PROCESSING, TRAINING, TRANSFORM, TUNING, JobKind
from tests.patience import PATIENCE_S

REGION = "eu-west-1"
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
KINDS = {kind.operation: kind for kind in (TRAINING, PROCESSING, TUNING, TRANSFORM)}
TIMEOUT = 0
"""As the status of an ordered error: no answer at all."""
ARN = f"arn:aws:sagemaker:{REGION}:123456789012"


@dataclass
class Script:
    """What befalls one job.

    Attributes:
        never_starts: it waits for its instance for ever.
        fails: it ends as Failed with this reason, and its program never runs.
        ends: it ends as Stopped with this secondary status, and its program never runs.
        done: it ends well, and its program never runs.
        spot_interruption: asked of the tree while the program runs; once true, the instance is taken away once.
        before_restart: called with the new instance's tree once it is laid out.
        environment: further variables of the container; an empty one is taken away.
        stops_early: of a trial: asked of its log while it runs; once true, the tuning job stops it.
    """

    never_starts: bool = False
    fails: str = ""
    ends: str = ""
    done: bool = False
    spot_interruption: Callable[[Path], bool] | None = None
    before_restart: Callable[[Path], None] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    stops_early: Callable[[str], bool] | None = None


@dataclass
class Job:
    """A job as the service knows it."""

    kind: JobKind
    name: str
    request: dict[str, Any]
    script: Script
    tuning: "Job | None" = None
    created: float = field(default_factory=time.time)
    status: str = "InProgress"
    secondary: str = "Starting"
    transitions: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    tuned: dict[str, str] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    starts: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    pids: list[int] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return f"{ARN}:{self.kind.noun.replace(' ', '-')}/{self.name}"

    @property
    def output(self) -> str:
        """Of a training job."""
        return f"{self.request['OutputDataConfig']['S3OutputPath']}/{self.name}/output"

    def move(self, secondary: str, message: str = "") -> None:
        self.secondary = secondary
        self.transitions.append({"Status": secondary, "StartTime": time.time(), "StatusMessage": message})

    def end(self, status: str, secondary: str = "", failure: str = "") -> None:
        self.failure, self.ended = failure, time.time()
        self.move(secondary or status, failure)
        self.status = status


class ServiceError(Exception):
    """The service refuses a call."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FakeSageMaker:
    """The service. Make clients with `client`; order troubles with `scripts` (one per created job) and `errors`."""

    def __init__(self, root: Path, s3_endpoint: str) -> None:
        self.root = root
        self.s3_endpoint = s3_endpoint
        self.jobs: dict[str, Job] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.answers_below: Callable[[str], str] = lambda input_prefix: ""
        """Subfolder of a transform's output by the key prefix of its input."""
        self.scripts: deque[Script] = deque()
        self.errors: dict[str, deque[tuple[int, str, str]]] = defaultdict(deque)
        self.calls: list[str] = []
        self.s3 = boto3.client("s3", endpoint_url=s3_endpoint, **CREDENTIALS)

    def client(self) -> Any:
        """A boto3 client whose requests come here."""
        config = Config(retries={"mode": "standard", "total_max_attempts": 1})
        client = boto3.client("sagemaker", config=config, **CREDENTIALS)
        model = client.meta.service_model

        def answer(request: Any, event_name: str, **_: Any) -> AWSResponse:
            operation = event_name.rsplit(".", 1)[-1]
            content = json.loads(request.body)
            status, body = self._answer(operation, content, model.operation_model(operation).input_shape)
            if status == TIMEOUT:
                raise ReadTimeoutError(endpoint_url=request.url)
            raw = io.BytesIO(json.dumps(body).encode())
            raw.stream = lambda **_: iter([raw.getvalue()])  # type: ignore[attr-defined]
            return AWSResponse(request.url, status, {"x-amzn-RequestId": "fake"}, raw)

        client.meta.events.register("before-send.sagemaker", answer)
        return client

    def close(self) -> None:
        """End every job."""
        for job in list(self.jobs.values()):
            job.stop.set()
        for job in list(self.jobs.values()):
            if job.thread:
                job.thread.join(timeout=PATIENCE_S)

    def of_kind(self, kind: JobKind) -> list[Job]:
        """Jobs of one kind, oldest first."""
        return [job for job in self.jobs.values() if job.kind == kind]

    def next_script(self) -> Script:
        """What befalls the job that is created now."""
        return self.scripts.popleft() if self.scripts else Script()

    def add(self, job: Job) -> None:
        """Know ``job`` and start living it."""
        self.jobs[job.name] = job
        job.move("Starting", "Launching requested ML instances")
        job.thread = threading.Thread(target=self._live, args=(job,), name=job.name, daemon=True)
        job.thread.start()

    def _live(self, job: Job) -> None:
        from tests.sagemaker.fake_instances import live

        try:
            live(self, job)
        except Exception as error:
            job.end("Failed", failure=f"InternalServerError: the fake broke: {error!r}")
            raise

    def _answer(self, operation: str, content: dict[str, Any], shape: Any) -> tuple[int, dict[str, Any]]:
        self.calls.append(operation)
        if self.errors[operation]:
            status, code, message = self.errors[operation].popleft()
            return status, {"__type": code, "message": message}
        if broken := list(violations(content, shape)):
            return 400, {"__type": "ValidationException", "message": "; ".join(broken)}
        try:
            for verb, serve in (("Create", self._create), ("Describe", self._describe), ("Stop", self._stop)):
                if operation.startswith(verb) and operation.removeprefix(verb) in KINDS:
                    return 200, serve(KINDS[operation.removeprefix(verb)], content)
            return 200, getattr(self, f"_{operation}")(content)
        except ServiceError as error:
            return 400, {"__type": error.code, "message": str(error)}

    def _create(self, kind: JobKind, request: dict[str, Any]) -> dict[str, Any]:
        name = request[kind.name_field]
        if name in self.jobs:
            raise ServiceError("ResourceInUse", f"{kind.noun} names must be unique: {name}")
        if kind == TRAINING:
            _require_stopping(request)
        if kind == TUNING:
            _require_stopping(request["TrainingJobDefinition"])
        if kind == TRANSFORM and request["ModelName"] not in self.models:
            raise ServiceError("ValidationException", f"Could not find model {request['ModelName']}")
        if kind == TRANSFORM and request["MaxConcurrentTransforms"] * request["MaxPayloadInMB"] > 100:
            raise ServiceError("ValidationException", "MaxConcurrentTransforms * MaxPayloadInMB cannot exceed 100 MB")
        job = Job(kind, name, request, self.next_script())
        self.add(job)
        return {f"{kind.operation}Arn": job.arn}

    def _describe(self, kind: JobKind, request: dict[str, Any]) -> dict[str, Any]:
        job = self._find(kind, request)
        answer = {key: value for key, value in job.request.items() if key != "Tags"}
        answer |= {f"{kind.operation}Arn": job.arn, kind.status_field: job.status, "CreationTime": job.created}
        answer |= {"FailureReason": job.failure} if job.failure else {}
        answer |= {kind.began: job.started} if kind.began and job.started else {}
        answer |= {kind.ended: job.ended} if job.ended and (job.started or kind == TUNING) else {}
        if kind == TRAINING:
            answer |= _of_training(job)
        if kind == PROCESSING and job.message:
            answer["ExitMessage"] = job.message
        if kind == TUNING:
            answer |= self._of_tuning(job)
        return answer

    def _of_tuning(self, job: Job) -> dict[str, Any]:
        trials = self.trials(job)
        count = {status: sum(trial.status == status for trial in trials) for status in _ENDS}
        seconds = sum(int(trial.ended - trial.started) + 10 for trial in trials if trial.ended and trial.started)
        return {
            "TrainingJobStatusCounters": {
                "Completed": count["Completed"],
                "InProgress": count["InProgress"],
                "NonRetryableError": count["Failed"],
                "RetryableError": 0,
                "Stopped": count["Stopped"],
            },
            "ObjectiveStatusCounters": {"Succeeded": count["Completed"], "Pending": 0, "Failed": count["Failed"]},
            "ConsumedResources": {"RuntimeInSeconds": seconds},
        }

    def trials(self, job: Job) -> list[Job]:
        """The training jobs of a tuning job."""
        return [one for one in self.jobs.values() if one.tuning is job]

    def _ListTrainingJobsForHyperParameterTuningJob(self, request: dict[str, Any]) -> dict[str, Any]:
        tuning = self._find(TUNING, request)
        summaries = [
            {
                "TrainingJobName": trial.name,
                "TrainingJobArn": trial.arn,
                "CreationTime": trial.created,
                "TrainingJobStatus": trial.status,
                "TunedHyperParameters": trial.tuned,
                **({"TrainingStartTime": trial.started} if trial.started else {}),
                **({"TrainingEndTime": trial.ended} if trial.ended else {}),
                **({"FailureReason": trial.failure} if trial.failure else {}),
            }
            for trial in self.trials(tuning)
        ]
        # Two on a page, so that whoever forgets the other pages is found out.
        start = int(request.get("NextToken", 0))
        more = {"NextToken": str(start + 2)} if len(summaries) > start + 2 else {}
        return {"TrainingJobSummaries": summaries[start : start + 2], **more}

    def _stop(self, kind: JobKind, request: dict[str, Any]) -> dict[str, Any]:
        job = self._find(kind, request)
        if job.status != "InProgress":
            raise ServiceError("ValidationException", f"The request was rejected: the job is {job.status}")
        job.status = "Stopping"
        job.move("Stopping", f"Stopping the {kind.noun}")
        job.stop.set()
        for trial in self.trials(job):
            trial.stop.set()
        return {}

    def _find(self, kind: JobKind, request: dict[str, Any]) -> Job:
        job = self.jobs.get(request[kind.name_field])
        if job is None or job.kind != kind:
            raise ServiceError("ValidationException", "Requested resource not found.")
        return job

    def _CreateModel(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["ModelName"] in self.models:
            raise ServiceError("ValidationException", "Cannot create already existing model")
        self.models[request["ModelName"]] = request
        return {"ModelArn": f"{ARN}:model/{request['ModelName']}"}

    def _DeleteModel(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.models.pop(request["ModelName"], None) is None:
            raise ServiceError("ValidationException", "Could not find model")
        return {}


_ENDS = ("Completed", "Failed", "Stopped", "InProgress", "Stopping")


def _of_training(job: Job) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "SecondaryStatus": job.secondary,
        "SecondaryStatusTransitions": list(job.transitions),
        "ModelArtifacts": {"S3ModelArtifacts": job.output + "/model.tar.gz"},
        "FinalMetricDataList": [
            {"MetricName": name, "Value": value, "Timestamp": job.created} for name, value in job.metrics.items()
        ],
    }
    if job.ended and job.started:
        seconds = int(job.ended - job.started) + 10
        spot = job.request.get("EnableManagedSpotTraining")
        answer |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds // 2 if spot else seconds}
    return answer


def _require_stopping(request: dict[str, Any]) -> None:
    stopping = request["StoppingCondition"]
    if request.get("EnableManagedSpotTraining"):
        if stopping.get("MaxWaitTimeInSeconds", 0) < stopping["MaxRuntimeInSeconds"]:
            raise ServiceError("ValidationException", "MaxWaitTimeInSeconds must be at least MaxRuntimeInSeconds")
    elif "MaxWaitTimeInSeconds" in stopping:
        raise ServiceError("ValidationException", "MaxWaitTimeInSeconds needs EnableManagedSpotTraining")


def violations(value: Any, shape: Any, where: str = "") -> Iterator[str]:
    """Constraints of the service model that ``value`` breaks and botocore does not check itself."""
    limits = shape.metadata
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if name in value:
                yield from violations(value[name], member, f"{where}.{name}")
    elif shape.type_name in ("list", "map", "string"):
        if "max" in limits and len(value) > limits["max"]:
            yield f"Member {where} must have length less than or equal to {limits['max']}"
    elif "max" in limits and value > limits["max"]:
        yield f"Member {where} must have value less than or equal to {limits['max']}"
    if shape.type_name == "list":
        for item in value:
            yield from violations(item, shape.member, f"{where}[]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from violations(key, shape.key, f"{where}.key")
            yield from violations(item, shape.value, f"{where}.{key}")
    elif shape.type_name == "string":
        if "enum" in limits and value not in limits["enum"]:
            yield f"Member {where} must satisfy enum value set"
        # Java's character classes are not Python's; those patterns are left out.
        if "pattern" in limits and "\\p{" not in limits["pattern"] and not re.fullmatch(limits["pattern"], value):
            yield f"Member {where} must satisfy regular expression pattern: {limits['pattern']}"


@contextmanager
def running(root: Path, s3_endpoint: str) -> Iterator[FakeSageMaker]:
    """The service, its jobs ended afterwards."""
    fake = FakeSageMaker(root, s3_endpoint)
    try:
        yield fake
    finally:
        fake.close()
