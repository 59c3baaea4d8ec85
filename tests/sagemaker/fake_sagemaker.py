"""A SageMaker that really runs training jobs: the requested program in a process, over an ``/opt/ml`` tree and S3.

Put the behaviour of the training service here, and the troubles a test can order. Keep assertions out.

It sits behind a real boto3 client, at the point where the HTTP request would leave (``before-send``): parameters are
validated, requests serialised, answers parsed and calls repeated by botocore itself. What botocore leaves to the
service (lengths, patterns, enumerations) is checked here against botocore's own service model, because AWS would.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
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

from recsys_assets.training.sagemaker_job import bucket_and_key

REGION = "eu-west-1"
CHECKOUT = Path(__file__).resolve().parents[2]
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
_TICK = 0.05


@dataclass
class Script:
    """What befalls one job.

    Attributes:
        never_starts: it waits for its instance for ever.
        fails: it ends as Failed with this reason, and its program never runs.
        ends: it ends as Stopped with this secondary status, and its program never runs.
        spot_interruption: asked of the tree while the program runs; once true, the instance is taken away once.
        before_restart: called with the new instance's tree once it is laid out.
        environment: further variables of the container; an empty one is taken away.
    """

    never_starts: bool = False
    fails: str = ""
    ends: str = ""
    spot_interruption: Callable[[Path], bool] | None = None
    before_restart: Callable[[Path], None] | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """A job as the service knows it."""

    request: dict[str, Any]
    script: Script
    created: float = field(default_factory=time.time)
    status: str = "InProgress"
    secondary: str = "Starting"
    transitions: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""
    started: float | None = None
    ended: float | None = None
    starts: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    pids: list[int] = field(default_factory=list)


class FakeSageMaker:
    """The service. Make clients with `client`; order troubles with `scripts` (one per created job) and `errors`."""

    def __init__(self, root: Path, s3_endpoint: str) -> None:
        self.root = root
        self.s3_endpoint = s3_endpoint
        self.jobs: dict[str, Job] = {}
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
            raw = io.BytesIO(json.dumps(body).encode())
            raw.stream = lambda **_: iter([raw.getvalue()])  # type: ignore[attr-defined]
            return AWSResponse(request.url, status, {"x-amzn-RequestId": "fake"}, raw)

        client.meta.events.register("before-send.sagemaker", answer)
        return client

    def close(self) -> None:
        """End every job."""
        for job in self.jobs.values():
            job.stop.set()
        for job in self.jobs.values():
            if job.thread:
                job.thread.join(timeout=30)

    def _answer(self, operation: str, content: dict[str, Any], shape: Any) -> tuple[int, dict[str, Any]]:
        self.calls.append(operation)
        if self.errors[operation]:
            status, code, message = self.errors[operation].popleft()
            return status, {"__type": code, "message": message}
        if broken := list(violations(content, shape)):
            return 400, {"__type": "ValidationException", "message": "; ".join(broken)}
        try:
            return 200, getattr(self, f"_{operation}")(content)
        except ServiceError as error:
            return 400, {"__type": error.code, "message": str(error)}

    def _CreateTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["TrainingJobName"]
        if name in self.jobs:
            raise ServiceError("ResourceInUse", f"Training job names must be unique: {name}")
        stopping = request["StoppingCondition"]
        if request.get("EnableManagedSpotTraining"):
            if stopping.get("MaxWaitTimeInSeconds", 0) < stopping["MaxRuntimeInSeconds"]:
                raise ServiceError("ValidationException", "MaxWaitTimeInSeconds must be at least MaxRuntimeInSeconds")
        elif "MaxWaitTimeInSeconds" in stopping:
            raise ServiceError("ValidationException", "MaxWaitTimeInSeconds needs EnableManagedSpotTraining")
        job = Job(request, self.scripts.popleft() if self.scripts else Script())
        self.jobs[name] = job
        self._move(job, "Starting", "Launching requested ML instances")
        job.thread = threading.Thread(target=self._live, args=(name, job), name=name, daemon=True)
        job.thread.start()
        return {"TrainingJobArn": f"arn:aws:sagemaker:{REGION}:123456789012:training-job/{name}"}

    def _DescribeTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._find(request)
        answer = {key: value for key, value in job.request.items() if key != "Tags"}
        answer |= {
            "TrainingJobArn": f"arn:aws:sagemaker:{REGION}:123456789012:training-job/{request['TrainingJobName']}",
            "TrainingJobStatus": job.status,
            "SecondaryStatus": job.secondary,
            "SecondaryStatusTransitions": list(job.transitions),
            "CreationTime": job.created,
            "ModelArtifacts": {"S3ModelArtifacts": self._output(job) + "/model.tar.gz"},
        }
        if job.failure:
            answer["FailureReason"] = job.failure
        if job.started:
            answer["TrainingStartTime"] = job.started
        if job.ended and job.started:
            seconds = int(job.ended - job.started) + 10
            spot = job.request.get("EnableManagedSpotTraining")
            answer |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds // 2 if spot else seconds}
        return answer

    def _StopTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._find(request)
        if job.status != "InProgress":
            raise ServiceError("ValidationException", f"The request was rejected: the job is {job.status}")
        job.status = "Stopping"
        self._move(job, "Stopping", "Stopping the training job")
        job.stop.set()
        return {}

    def _find(self, request: dict[str, Any]) -> Job:
        if request["TrainingJobName"] not in self.jobs:
            raise ServiceError("ValidationException", "Requested resource not found.")
        return self.jobs[request["TrainingJobName"]]

    def _live(self, name: str, job: Job) -> None:
        try:
            self._run(name, job)
        except Exception as error:
            self._end(job, "Failed", "Failed", f"InternalServerError: the fake broke: {error!r}")
            raise

    def _run(self, name: str, job: Job) -> None:
        if job.script.fails:
            self._end(job, "Failed", "Failed", job.script.fails)
        elif job.script.ends:
            self._end(job, "Stopped", job.script.ends)
        elif job.script.never_starts:
            job.stop.wait()
            self._end(job, "Stopped", "Stopped")
        else:
            self._train(name, job)

    def _train(self, name: str, job: Job) -> None:
        while True:
            job.starts += 1
            # A new instance has nothing of the old one; what survives has gone through S3.
            tree = self.root / name / str(job.starts)
            self._move(job, "Downloading", "Downloading input data")
            self._lay_out(tree, job.request)
            if job.starts > 1 and job.script.before_restart:
                job.script.before_restart(tree)
            self._move(job, "Training", "Training image download completed. Training in progress.")
            job.started = job.started or time.time()
            code, interrupted = self._execute(tree, job)
            self._upload_checkpoints(tree, job.request)
            if not interrupted or job.stop.is_set():
                break
            self._move(job, "Interrupted", "Training job interrupted: spot capacity was reclaimed")
        self._move(job, "Uploading", "Uploading generated training model")
        if job.stop.is_set():
            self._end(job, "Stopped", "Stopped")
        elif code != 0:
            failure = tree / "output" / "failure"
            said = failure.read_text()[:1024] if failure.exists() else ""
            self._end(job, "Failed", "Failed", f"AlgorithmError: {said}, exit code: {code}")
        else:
            for folder, archive in (("model", "model.tar.gz"), ("output/data", "output.tar.gz")):
                self._upload_archive(tree / folder, f"{self._output(job)}/{archive}")
            self._end(job, "Completed", "Completed")

    def _execute(self, tree: Path, job: Job) -> tuple[int, bool]:
        specification = job.request["AlgorithmSpecification"]
        entry = [sys.executable if part == "python" else part for part in specification["ContainerEntrypoint"]]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.s3_endpoint,
            **job.request.get("Environment", {}),
            **job.script.environment,
        }
        environment = {name: value for name, value in environment.items() if value}
        log = (tree / "log").open("w")
        with log, subprocess.Popen([*entry, "--root", str(tree)], cwd="/", env=environment, stderr=log) as process:
            job.pids.append(process.pid)
            interrupted = False
            while process.poll() is None:
                wanted = job.script.spot_interruption
                interrupted = bool(wanted and job.starts == 1 and wanted(tree))
                if job.stop.is_set() or interrupted:
                    terminate(process)
                    break
                time.sleep(_TICK)
        return process.returncode, interrupted

    def _lay_out(self, tree: Path, request: dict[str, Any]) -> None:
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
            (tree / folder).mkdir(parents=True, exist_ok=True)
        config = tree / "input" / "config"
        (config / "hyperparameters.json").write_text(json.dumps(request["HyperParameters"]))
        channels = {}
        for channel in request["InputDataConfig"]:
            name = channel["ChannelName"]
            channels[name] = {"TrainingInputMode": channel.get("InputMode", "File"), "S3DistributionType": "..."}
            self._download(channel["DataSource"]["S3DataSource"]["S3Uri"], tree / "input" / "data" / name)
        (config / "inputdataconfig.json").write_text(json.dumps(channels))
        (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))
        if "CheckpointConfig" in request:
            self._download(request["CheckpointConfig"]["S3Uri"], tree / "checkpoints")

    def _download(self, uri: str, folder: Path) -> None:
        bucket, prefix = bucket_and_key(uri)
        for item in self.s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", []):
            target = folder / item["Key"].removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self.s3.download_file(bucket, item["Key"], str(target))

    def _upload_checkpoints(self, tree: Path, request: dict[str, Any]) -> None:
        if "CheckpointConfig" not in request:
            return
        bucket, prefix = bucket_and_key(request["CheckpointConfig"]["S3Uri"])
        for file in (tree / "checkpoints").iterdir():
            self.s3.upload_file(str(file), bucket, f"{prefix}/{file.name}")

    def _upload_archive(self, folder: Path, uri: str) -> None:
        bucket, key = bucket_and_key(uri)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(folder, arcname=".")
        self.s3.put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())

    def _output(self, job: Job) -> str:
        return f"{job.request['OutputDataConfig']['S3OutputPath']}/{job.request['TrainingJobName']}/output"

    def _move(self, job: Job, secondary: str, message: str = "") -> None:
        job.secondary = secondary
        job.transitions.append({"Status": secondary, "StartTime": time.time(), "StatusMessage": message})

    def _end(self, job: Job, status: str, secondary: str, failure: str = "") -> None:
        job.failure, job.ended = failure, time.time()
        self._move(job, secondary, failure)
        job.status = status


class ServiceError(Exception):
    """The service refuses a call."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def terminate(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, then SIGKILL; SageMaker gives 120 s in between."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
