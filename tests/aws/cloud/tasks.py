"""ECS tasks that run: the command of a task definition, as a process of this checkout.

No image is built: the ENTRYPOINT is read from the Dockerfile of the image's name, and the program is this checkout's.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moto.ecs.models import EC2ContainerServiceBackend, Task
from moto.moto_api import state_manager

from tests.aws.cloud.calls import ROLE
from tests.packaging.dockerfiles import ROOT, read

NEVER = 10**9


@dataclass
class Tasks:
    """The tasks of a cloud.

    Attributes:
        endpoint: of this cloud, which tasks call.
        region: of the account.
        folder: for what stands in for the disks and logs of containers.
    """

    endpoint: str
    region: str
    folder: Path
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def install(self) -> None:
        """Make moto's tasks run, and end when their process does."""
        state_manager.set_transition("ecs::task", {"progression": "manual", "times": NEVER})
        run_task, stop_task = EC2ContainerServiceBackend.run_task, EC2ContainerServiceBackend.stop_task

        def run(backend: EC2ContainerServiceBackend, *arguments: Any, **named: Any) -> list[Task]:
            started: list[Task] = run_task(backend, *arguments, **named)
            for task in started:
                definition = backend.describe_task_definition(task.task_definition_arn)
                threading.Thread(target=self._run, args=(task, definition), daemon=True).start()
            return started

        def stop(backend: EC2ContainerServiceBackend, cluster: str, task: str, reason: str) -> Task:
            stopped: Task = stop_task(backend, cluster, task, reason)
            process = getattr(stopped, "process", None)
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            return stopped

        # On Fargate it is the task that has a size, not its containers; moto adds theirs up.
        EC2ContainerServiceBackend._calculate_task_resource_requirements = lambda backend, definition: {
            "CPU": 0,
            "MEMORY": 0,
            "PORTS": [],
            "PORTS_UDP": [],
        }
        EC2ContainerServiceBackend.run_task = run
        EC2ContainerServiceBackend.stop_task = stop

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _run(self, task: Task, definition: Any) -> None:
        container = definition.container_definitions[0]
        changed: dict[str, Any] = next(
            (
                given
                for given in task.overrides.get("containerOverrides", ())
                if given.get("name", container["name"]) == container["name"]
            ),
            {},
        )
        disk = self.folder / task.id
        disk.mkdir(parents=True)
        command = [*_entry_point(container), *(changed.get("command") or container.get("command") or ())]
        environment = self._environment(container, changed, disk, definition.task_role_arn)
        log = (disk / "log").open("wb")
        try:
            process = subprocess.Popen(
                _here(command), env=environment, cwd=disk, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            self._end(task, None, f"CannotStartContainerError: {command}: {error}")
            return
        task.process = process
        self.processes.append(process)
        code = process.wait()
        self._end(task, code, "Essential container in task exited")

    def _environment(self, container: dict[str, Any], changed: dict[str, Any], disk: Path, role: str) -> dict[str, str]:
        deployed = {one["name"]: one["value"] for one in container.get("environment") or ()}
        deployed |= {one["name"]: one["value"] for one in changed.get("environment") or ()}
        # A container has a disk of its own; here folders of the task's stand for it.
        disks = {name: str(disk / name.lower()) for name in ("RECSYS_HOME", "DAGSTER_HOME")}
        for folder in disks.values():
            Path(folder).mkdir()
        return {
            **deployed,
            **disks,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": f"{ROLE}{role.rpartition('/')[2]}",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self.endpoint,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(disk),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    @staticmethod
    def _end(task: Task, code: int | None, reason: str) -> None:
        for container in task.containers:
            container.exitCode = code
            container.last_status = "STOPPED"
        task.stopped_reason = task.stopped_reason or reason
        task.desired_status = "STOPPED"
        task.last_status = "STOPPED"


def _entry_point(container: dict[str, Any]) -> list[str]:
    if container.get("entryPoint"):
        return list(container["entryPoint"])
    image = container["image"].rsplit("/", 1)[1].split(":")[0]
    return read(ROOT / "docker" / f"{image}.Dockerfile").exec_form("ENTRYPOINT")


def _here(command: list[str]) -> list[str]:
    """The interpreter of an image is this one."""
    program, *arguments = command
    return [sys.executable if program == "python" else program, *arguments]
