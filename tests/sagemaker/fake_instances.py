"""What happens on the instances of a job: folders laid out from S3, the program run, its output carried back."""

import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recsys_assets.sagemaker.job import bucket_and_key
from recsys_assets.sagemaker.kinds import PROCESSING, TRAINING, TRANSFORM
from tests.patience import PATIENCE_S
from tests.sagemaker.fake_sagemaker import REGION, FakeSageMaker, Job

CHECKOUT = Path(__file__).resolve().parents[2]
TRAINING_IMAGE = ["python", "-m", "recsys_assets.sagemaker.container", "train"]
INFERENCE_IMAGE = ["python", "-m", "lambda_api.handlers.inference_server", "serve"]
MEGABYTE = 1024 * 1024
_TICK = 0.05


def live(service: FakeSageMaker, job: Job) -> None:
    """Bring ``job`` to its end."""
    if job.script.fails:
        job.end("Failed", failure=job.script.fails)
    elif job.script.ends:
        job.end("Stopped", job.script.ends)
    elif job.script.done:
        job.started = time.time() - 3600
        job.end("Completed")
    elif job.script.never_starts:
        job.stop.wait()
        job.end("Stopped")
    else:
        run = {TRAINING: _train, PROCESSING: _process, TRANSFORM: _transform}.get(job.kind, _tune)
        run(service, job)


def _train(service: FakeSageMaker, job: Job) -> None:
    entry = job.request["AlgorithmSpecification"].get("ContainerEntrypoint") or TRAINING_IMAGE
    while True:
        job.starts += 1
        # A new instance has nothing of the old one; what survives has gone through S3.
        tree = service.root / job.name / str(job.starts)
        job.move("Downloading", "Downloading input data")
        _lay_out(service, tree, job.request)
        if job.starts > 1 and job.script.before_restart:
            job.script.before_restart(tree)
        job.move("Training", "Training image download completed. Training in progress.")
        job.started = job.started or time.time()
        code, interrupted = _execute(service, job, tree, entry)
        _upload_checkpoints(service, tree, job.request)
        job.metrics = _metrics(job, tree)
        if not interrupted or job.stop.is_set():
            break
        job.move("Interrupted", "Training job interrupted: spot capacity was reclaimed")
    job.move("Uploading", "Uploading generated training model")
    if job.stop.is_set():
        job.end("Stopped")
    elif code != 0:
        failure = tree / "output" / "failure"
        said = failure.read_text()[:1024] if failure.exists() else ""
        job.end("Failed", failure=f"AlgorithmError: {said}, exit code: {code}")
    else:
        for folder, archive in (("model", "model.tar.gz"), ("output/data", "output.tar.gz")):
            _upload_archive(service, tree / folder, f"{job.output}/{archive}")
        job.end("Completed")


def _metrics(job: Job, tree: Path) -> dict[str, float]:
    """The last value that the log holds of every metric."""
    log = (tree / "log").read_text()
    found = {
        one["Name"]: re.findall(one["Regex"], log)
        for one in job.request["AlgorithmSpecification"].get("MetricDefinitions", [])
    }
    return {name: float(values[-1]) for name, values in found.items() if values}


def _process(service: FakeSageMaker, job: Job) -> None:
    tree = service.root / job.name
    specification = job.request["AppSpecification"]

    def local(path: str) -> Path:
        assert path.startswith("/opt/ml/processing/")
        return tree / Path(path).relative_to("/opt/ml")

    for one in job.request["ProcessingInputs"]:
        local(one["S3Input"]["LocalPath"]).mkdir(parents=True)
        _download(service, one["S3Input"]["S3Uri"], local(one["S3Input"]["LocalPath"]))
    outputs = [one["S3Output"] for one in job.request["ProcessingOutputConfig"]["Outputs"]]
    for output in outputs:
        local(output["LocalPath"]).mkdir(parents=True)
    (tree / "output").mkdir(parents=True, exist_ok=True)
    job.started = time.time()
    entry = [*specification["ContainerEntrypoint"], *specification.get("ContainerArguments", [])]
    code, _ = _execute(service, job, tree, entry)
    message = tree / "output" / "message"
    job.message = message.read_text()[:1024] if message.exists() else ""
    if job.stop.is_set():
        job.end("Stopped")
    elif code != 0:
        job.end("Failed", failure=f"AlgorithmError: See job logs for more information, exit code: {code}")
    else:
        for output in outputs:
            _upload(service, local(output["LocalPath"]), output["S3Uri"])
        job.end("Completed")


def _tune(service: FakeSageMaker, job: Job) -> None:
    config, definition = job.request["HyperParameterTuningJobConfig"], job.request["TrainingJobDefinition"]
    chance = random.Random(config.get("RandomSeed"))
    for number in range(1, config["ResourceLimits"]["MaxNumberOfTrainingJobs"] + 1):
        if job.stop.is_set():
            break
        tuned = dict(_sample(config["ParameterRanges"], chance))
        hyperparameters = {**definition["StaticHyperParameters"], **tuned}
        hyperparameters["_tuning_objective_metric"] = config["HyperParameterTuningJobObjective"]["MetricName"]
        request = {key: value for key, value in definition.items() if key != "StaticHyperParameters"}
        name = f"{job.name}-{number:03d}-{chance.randrange(16**8):08x}"
        trial = Job(TRAINING, name, {**request, "TrainingJobName": name, "HyperParameters": hyperparameters},
                    service.next_script(), tuning=job, tuned=tuned)  # fmt: skip
        service.add(trial)
        assert trial.thread is not None
        trial.thread.join()
    trials = service.trials(job)
    if job.stop.is_set():
        job.end("Stopped")
    elif not any(trial.status == "Completed" for trial in trials):
        job.end("Failed", failure="All training jobs failed. Please look at their failure reasons.")
    else:
        job.end("Completed")


def _sample(ranges: dict[str, Any], chance: random.Random) -> Iterator[tuple[str, str]]:
    for kind in ("IntegerParameterRanges", "ContinuousParameterRanges"):
        for one in ranges.get(kind, []):
            low, high = float(one["MinValue"]), float(one["MaxValue"])
            if one["ScalingType"] == "Logarithmic":
                value = low * (high / low) ** chance.random()
            else:
                value = low + (high - low) * chance.random()
            yield one["Name"], str(round(value) if kind[0] == "I" else value)
    for one in ranges.get("CategoricalParameterRanges", []):
        yield one["Name"], chance.choice(one["Values"])


def _transform(service: FakeSageMaker, job: Job) -> None:
    tree = service.root / job.name
    model = service.models[job.request["ModelName"]]["PrimaryContainer"]
    bucket, key = bucket_and_key(model["ModelDataUrl"])
    try:
        archive = io.BytesIO(service.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except service.s3.exceptions.NoSuchKey:
        job.end("Failed", failure=f"ClientError: Could not find model data at {model['ModelDataUrl']}.")
        return
    with tarfile.open(fileobj=archive, mode="r:gz") as content:
        content.extractall(tree / "model", filter="data")
    source, output = job.request["TransformInput"], job.request["TransformOutput"]["S3OutputPath"]
    prefix = source["DataSource"]["S3DataSource"]["S3Uri"]
    _download(service, prefix, tree / "input")
    # "A corresponding subfolder": the reference does not say which, so that tests order one.
    under = tree / "output" / service.answers_below(bucket_and_key(prefix)[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    variables = {
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SM_MODEL_DIR": str(tree / "model"),
        "SAGEMAKER_BATCH": "true",
        "MODEL_SERVER_WORKERS": "1",
        **model.get("Environment", {}),
    }
    entry = [sys.executable if part == "python" else part for part in INFERENCE_IMAGE]
    environment = _environment(service, job, variables)
    with (tree / "log").open("w") as log, subprocess.Popen(entry, env=environment, stdout=log, stderr=log) as server:
        job.pids.append(server.pid)
        try:
            _until_up(f"{address}/ping", server)
            job.started = time.time()
            for file in sorted((tree / "input").rglob("*.jsonl")):
                if job.stop.is_set():
                    break
                answers = [_post(address, payload, source["ContentType"]) for payload in _payloads(file, job.request)]
                target = under / f"{file.relative_to(tree / 'input')}.out"
                target.parent.mkdir(parents=True, exist_ok=True)
                # AssembleWith=Line: "add a newline character at the end of every transformed record".
                target.write_bytes(b"".join(answer + b"\n" for answer in answers))
        except urllib.error.HTTPError as error:
            # "Uploads only the output for successfully processed objects ... marks the job as failed".
            _upload(service, tree / "output", output)
            job.end("Failed", failure=f"ClientError: {error.code}: See job logs for more information")
            return
        except RuntimeError as error:
            job.end("Failed", failure=f"AlgorithmError: {error}")
            return
        finally:
            terminate(server)
    if job.stop.is_set():
        job.end("Stopped")
        return
    _upload(service, tree / "output", output)
    job.end("Completed")


def _payloads(file: Path, request: dict[str, Any]) -> Iterator[bytes]:
    """SplitType=Line, BatchStrategy=MultiRecord: as many whole lines as fit, without a newline after the last."""
    most, batch, size = request["MaxPayloadInMB"] * MEGABYTE, list[bytes](), 0
    for line in file.read_bytes().splitlines():
        if batch and size + len(line) > most:
            yield b"\n".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield b"\n".join(batch)


def _post(address: str, payload: bytes, content_type: str) -> bytes:
    request = urllib.request.Request(f"{address}/invocations", payload, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


def _until_up(address: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"the container did not pass the ping health check: {error.read()[:300]!r}") from error
        except OSError:
            if server.poll() is not None:
                raise RuntimeError(f"the container ended with code {server.returncode}") from None
            time.sleep(_TICK)
    raise RuntimeError("the container did not pass the ping health check")


def _execute(service: FakeSageMaker, job: Job, tree: Path, entry: list[str]) -> tuple[int, bool]:
    command = [sys.executable if part == "python" else part for part in entry]
    environment = _environment(service, job, job.request.get("Environment", {}))
    log = (tree / "log").open("w")
    with (
        log,
        subprocess.Popen(
            [*command, "--root", str(tree)], cwd="/", env=environment, stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        job.pids.append(process.pid)
        interrupted = False
        early: Callable[[str], bool] | None = job.script.stops_early
        while process.poll() is None:
            wanted = job.script.spot_interruption
            interrupted = bool(wanted and job.starts == 1 and wanted(tree))
            if early and early((tree / "log").read_text()):
                job.stop.set()
            if job.stop.is_set() or interrupted:
                terminate(process)
                break
            time.sleep(_TICK)
    return process.returncode, interrupted


def _environment(service: FakeSageMaker, job: Job, given: dict[str, str]) -> dict[str, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(CHECKOUT),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": service.s3_endpoint,
        **given,
        **job.script.environment,
    }
    return {name: value for name, value in environment.items() if value}


def _lay_out(service: FakeSageMaker, tree: Path, request: dict[str, Any]) -> None:
    for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    config = tree / "input" / "config"
    (config / "hyperparameters.json").write_text(json.dumps(request["HyperParameters"]))
    channels = {}
    for channel in request["InputDataConfig"]:
        name = channel["ChannelName"]
        channels[name] = {"TrainingInputMode": channel.get("InputMode", "File"), "S3DistributionType": "..."}
        _download(service, channel["DataSource"]["S3DataSource"]["S3Uri"], tree / "input" / "data" / name)
    (config / "inputdataconfig.json").write_text(json.dumps(channels))
    (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))
    if "CheckpointConfig" in request:
        _download(service, request["CheckpointConfig"]["S3Uri"], tree / "checkpoints")


def _download(service: FakeSageMaker, uri: str, folder: Path) -> None:
    bucket, prefix = bucket_and_key(uri)
    for item in service.s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", []):
        target = folder / item["Key"].removeprefix(f"{prefix}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        service.s3.download_file(bucket, item["Key"], str(target))


def _upload(service: FakeSageMaker, folder: Path, uri: str) -> None:
    bucket, prefix = bucket_and_key(uri)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        service.s3.upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder).as_posix()}")


def _upload_checkpoints(service: FakeSageMaker, tree: Path, request: dict[str, Any]) -> None:
    if "CheckpointConfig" in request:
        _upload(service, tree / "checkpoints", request["CheckpointConfig"]["S3Uri"])


def _upload_archive(service: FakeSageMaker, folder: Path, uri: str) -> None:
    bucket, key = bucket_and_key(uri)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, arcname=".")
    service.s3.put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())


def terminate(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, then SIGKILL; SageMaker gives 120 s in between."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
