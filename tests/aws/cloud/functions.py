"""Lambda functions that run: the deployed zip in a process, with the deployed environment.

moto itself would start Docker. Direct calls, state machines and queues all use the one method that is replaced here;
``runtime`` is what runs inside the process.

A process is kept for each published version and answers one event at a time, as a sandbox does; it is killed when its
time limit has passed.
"""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.awslambda.responses import LambdaResponse
from moto.sqs.models import sqs_backends

from tests.aws.cloud.calls import ROLE

RUNTIME = Path(__file__).with_name("runtime.py")
START_WITHIN_S = 60.0
"""Lambda gives a start ten seconds; the cores here are shared."""


@dataclass
class Sandbox:
    """One process of one version."""

    folder: Path
    process: subprocess.Popen[str]
    answers: "queue.Queue[str]"
    log: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, seconds: float) -> dict[str, Any] | None:
        """Its next line, or ``None`` where it said nothing in time or ended."""
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        """End the process and remove its files."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Functions:
    """The sandboxes of a cloud.

    Args:
        endpoint: of this cloud, which functions call.
        folder: for sandboxes.
    """

    def __init__(self, endpoint: str, folder: Path) -> None:
        self._endpoint = endpoint
        self._folder = folder
        folder.mkdir(parents=True)
        self._sandboxes: dict[str, Sandbox] = {}
        self._lock = threading.Lock()
        self._own_tmp = may_mount()

    def install(self) -> None:
        """Make moto's functions run here."""

        def invoke(function: LambdaFunction, event: Any = None) -> tuple[str, bool, str]:
            return self.invoke(function, json.loads(event) if isinstance(event, str) else event or {})

        LambdaFunction._invoke_lambda = invoke
        # boto3 says Qualifier, moto looks for qualifier, and would run $LATEST whatever was asked for.
        get_param = LambdaResponse._get_param
        LambdaResponse._get_param = lambda response, name, *default: get_param(
            response, "Qualifier" if name == "qualifier" else name, *default
        )
        # moto would invoke within SendMessage; `deliveries` polls, as Lambda does.
        create = LambdaBackend.create_event_source_mapping

        def create_mapping(backend: LambdaBackend, spec: dict[str, Any]) -> Any:
            made = create(backend, spec)
            for source in sqs_backends[backend.account_id][backend.region_name].queues.values():
                source.lambda_event_source_mappings.clear()
            return made

        LambdaBackend.create_event_source_mapping = create_mapping

    def invoke(self, function: LambdaFunction, event: Any) -> tuple[str, bool, str]:
        """Payload, whether it is an error, and what was printed."""
        key = f"{function.function_arn}#{function.code_sha_256}"
        sandbox = self._sandbox(key, function)
        with sandbox.lock:
            seen = sandbox.log.stat().st_size
            request = {"event": event, "request_id": str(uuid.uuid4())}
            with contextlib.suppress(BrokenPipeError):
                assert sandbox.process.stdin is not None
                print(json.dumps(request), file=sandbox.process.stdin, flush=True)
            answer = sandbox.read(float(function.timeout) + 5)
            printed = sandbox.log.read_bytes()[seen:].decode(errors="replace")
        self._keep_log(function, printed)
        if answer is None:
            self.forget(key)
            message = {"errorMessage": f"Task timed out after {function.timeout} seconds, or its process ended"}
            return json.dumps(message), True, printed
        if "error" in answer:
            return json.dumps(answer["error"]), True, printed
        return answer["payload"], False, printed

    def forget(self, key: str) -> None:
        """Throw a sandbox away."""
        with self._lock:
            sandbox = self._sandboxes.pop(key, None)
        if sandbox is not None:
            sandbox.close()

    def close(self) -> None:
        """Throw every sandbox away."""
        for key in list(self._sandboxes):
            self.forget(key)

    def _sandbox(self, key: str, function: LambdaFunction) -> Sandbox:
        with self._lock:
            found = self._sandboxes.get(key)
            if found is not None and found.process.poll() is None:
                return found
            if found is not None:
                found.close()
            self._sandboxes[key] = made = self._start(function)
            return made

    def _start(self, function: LambdaFunction) -> Sandbox:
        folder = Path(tempfile.mkdtemp(prefix=f"{function.function_name}-", dir=self._folder))
        with zipfile.ZipFile(BytesIO(function.code_bytes)) as archive:
            archive.extractall(folder / "task")
        log = folder / "log"
        # Of the interpreter that the environment was made from: its own packages would stand in for the zip's.
        command = [getattr(sys, "_base_executable", sys.executable), "-I", "-S", str(RUNTIME), str(folder)]
        if self._own_tmp:
            command = ["unshare", "--user", "--map-root-user", "--mount", *command]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                env=self._environment(function),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                cwd="/",
            )
        (folder / "pid").write_text(str(process.pid))
        answers: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        threading.Thread(target=_pump, args=(process.stdout, answers), daemon=True).start()
        sandbox = Sandbox(folder, process, answers, log)
        ready = sandbox.read(START_WITHIN_S)
        if ready is None or "ready" not in ready:
            # It answers the first event with its error, as a function that cannot be imported does.
            sandbox.answers.put(json.dumps(ready or {"error": {"errorMessage": log.read_text(), "errorType": "Init"}}))
        return sandbox

    def _environment(self, function: LambdaFunction) -> dict[str, str]:
        """What Terraform gave it, what Lambda adds, and where this cloud is; nothing of this process's own."""
        return {
            **function.environment_vars,
            "_HANDLER": function.handler,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
            "AWS_LAMBDA_LOG_STREAM_NAME": "cloud",
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ACCESS_KEY_ID": f"{ROLE}{function.role.rpartition('/')[2]}",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self._endpoint,
            "AWS_XRAY_SDK_ENABLED": "false",
            "PATH": os.defpath,
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "OMP_NUM_THREADS": "1",
            "CLOUD_FUNCTION_ARN": function.function_arn,
            "CLOUD_TIMEOUT_S": str(function.timeout),
            "CLOUD_OWN_TMP": "yes" if self._own_tmp else "no",
        }

    def _keep_log(self, function: LambdaFunction, printed: str) -> None:
        if not printed.strip():
            return
        function.logs_backend.ensure_log_group(function.logs_group_name)
        group = function.logs_backend.groups[function.logs_group_name]
        if "cloud" not in group.streams:
            function.logs_backend.create_log_stream(function.logs_group_name, "cloud")
        now = int(1000 * time.time())
        events = [{"timestamp": now, "message": line} for line in printed.splitlines()]
        function.logs_backend.put_log_events(function.logs_group_name, "cloud", events)


def _pump(stream: IO[str], answers: "queue.Queue[str]") -> None:
    for line in stream:
        answers.put(line)
    answers.put("")


def may_mount() -> bool:
    """Whether a process here may have a ``/tmp`` of its own."""
    if shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0
