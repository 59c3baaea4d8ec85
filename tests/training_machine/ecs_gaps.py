"""What moto's interpreter lacks of ``ecs:runTask.sync`` and ``states:startExecution``: spelling, and AWS's failures."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any
from unittest import mock

from botocore.exceptions import ClientError
from moto.stepfunctions.parser.api import HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import CustomErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.error_name import ErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent, FailureEventException
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_ecs import (
    StateTaskServiceEcs,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_sfn import (
    StateTaskServiceSfn,
)
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails

_build = StateTaskServiceEcs._build_sync_resolver
_input_as_text = StateTaskServiceSfn._normalise_parameters


def _respell(value: Any, spell: Callable[[str], str]) -> None:
    """Change the first letter of every key, in place; moments become text, as a state has them."""
    if isinstance(value, list):
        for item in value:
            _respell(item, spell)
    elif isinstance(value, dict):
        for key in list(value):
            _respell(value[key], spell)
            kept = value.pop(key)
            value[spell(key[0]) + key[1:]] = kept.isoformat() if isinstance(kept, datetime) else kept


def _parameters(task: StateTaskServiceEcs, parameters: dict[str, Any], *_: Any, **__: Any) -> None:
    _respell(parameters, str.lower)


def _response(task: StateTaskServiceEcs, response: Any, *_: Any, **__: Any) -> None:
    _respell(response, str.upper)


def _resolver(task: StateTaskServiceEcs, **arguments: Any) -> Callable[[], Any]:
    """As AWS: a task that did not start, or whose essential container did not end with 0, has failed."""
    resolve = _build(task, **arguments)

    def resolver() -> Any:
        ended = resolve()
        if ended and any(container.get("ExitCode") != 0 for container in ended["Containers"]):
            raise FailureEventException(_failed(task, arguments["env"], json.dumps(ended, default=str)))
        return ended

    return resolver


def _failed(task: StateTaskServiceEcs, env: Any, cause: str) -> FailureEvent:
    name = StatesErrorName(typ=StatesErrorNameType.StatesTaskFailed)
    return _event(task, env, name, StatesErrorNameType.StatesTaskFailed.to_name(), cause)


def _error(task: StateTaskServiceEcs, env: Any, ex: Exception) -> FailureEvent:
    if not isinstance(ex, ClientError):
        return super(StateTaskServiceEcs, task)._from_error(env=env, ex=ex)
    error = f"ECS.{ex.response['Error']['Code']}"
    return _event(task, env, CustomErrorName(error), error, str(ex))


def _event(task: StateTaskServiceEcs, env: Any, name: ErrorName, error: str, cause: str) -> FailureEvent:
    details = TaskFailedEventDetails(error=error, cause=cause)
    details |= {"resource": task._get_sfn_resource(), "resourceType": task._get_sfn_resource_type()}
    return FailureEvent(
        env=env,
        error_name=name,
        event_type=HistoryEventType.TaskFailed,
        event_details=EventDetails(taskFailedEventDetails=details),
    )


def _execution_parameters(task: StateTaskServiceSfn, parameters: dict[str, Any], **_: Any) -> None:
    _input_as_text(task, parameters)
    _respell(parameters, str.lower)


GAPS: dict[type[StateTaskServiceCallback], dict[str, Any]] = {
    StateTaskServiceEcs: {
        "_normalise_parameters": _parameters,
        "_normalise_response": _response,
        "_build_sync_resolver": _resolver,
        "_from_error": _error,
    },
    StateTaskServiceSfn: {"_normalise_parameters": _execution_parameters, "_normalise_response": _response},
}
"""Methods by class."""


def close_ecs_gaps() -> None:
    """Add them in this process, for good."""
    for service, methods in GAPS.items():
        for name, method in methods.items():
            setattr(service, name, method)


@contextmanager
def closed_ecs_gaps() -> Iterator[None]:
    """The same for a while."""
    with ExitStack() as stack:
        for service, methods in GAPS.items():
            stack.enter_context(mock.patch.multiple(service, **methods))
        yield
