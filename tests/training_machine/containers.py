"""ECS as the training machine sees it: tasks that run something here and end with an exit code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from botocore.exceptions import ClientError
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_ecs as service

from tests.training_machine.ecs_gaps import closed_ecs_gaps

Program = Callable[[list[str]], int | None]
"""Command of a container -> exit code; ``None``: it never ends."""


def refused(code: str, message: str) -> ClientError:
    """What RunTask answers when it starts nothing."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "RunTask")


@dataclass
class Containers:
    """What happens when tasks are started, one after another: a program runs, or the service refuses.

    Attributes:
        programs: of the first, the second ... task; the last one again after that.
        started: parameters of every RunTask, refused ones among them.
    """

    programs: list[Program | ClientError]
    started: list[dict[str, Any]] = field(default_factory=list)
    _ended: dict[str, int | None] = field(default_factory=dict)

    def run_task(self, **parameters: Any) -> dict[str, Any]:
        """See RunTask."""
        program = self.programs[min(len(self.started), len(self.programs) - 1)]
        self.started.append(parameters)
        if isinstance(program, ClientError):
            raise program
        arn = f"arn:aws:ecs:eu-central-1:123456789012:task/recsys/{len(self.started)}"
        (container,) = parameters["overrides"]["containerOverrides"]
        self._ended[arn] = program(container["command"])
        return {"tasks": [self._described(arn, parameters["cluster"])], "failures": []}

    def describe_tasks(self, cluster: str, tasks: list[str]) -> dict[str, Any]:
        """See DescribeTasks."""
        return {"tasks": [self._described(arn, cluster) for arn in tasks], "failures": []}

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """While it holds, the interpreter's tasks are these."""
        with closed_ecs_gaps(), mock.patch.object(service, "boto_client_for", lambda **_: self):
            yield

    def _described(self, arn: str, cluster: str) -> dict[str, Any]:
        code = self._ended[arn]
        state = "RUNNING" if code is None else "STOPPED"
        container = {"name": "run", "lastStatus": state, **({} if code is None else {"exitCode": code})}
        return {"taskArn": arn, "clusterArn": cluster, "lastStatus": state, "containers": [container]}
