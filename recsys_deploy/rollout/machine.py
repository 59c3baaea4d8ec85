"""The state machine on a laptop: moto's interpreter runs the deployed definition, tasks are calls of the real steps.

What the interpreter cannot do (JSONata, variables, heartbeats) the definition does not use. It lives in this process:
when that ends, the rollout stands still in its stage, until an execution of the same name is started and goes on.
"""

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

from lambda_api.errors import RecsysError

DEFINITION: Final = Path(__file__).parent / "rollout.asl.json"
REGION: Final = "eu-central-1"
FUNCTION: Final = f"arn:aws:lambda:{REGION}:123456789012:function:rollout"
ROLE: Final = "arn:aws:iam::123456789012:role/rollout"
POLL_S: Final = 0.05
STOP_TRIES: Final = 100
LOCAL_RETRY_S: Final = 2.0
"""Longest pause before a task is repeated here: the minutes in the definition are for a network."""


class MachineMissing(RecsysError):
    """The interpreter is not installed."""


def definition(function_arn: str = FUNCTION) -> str:
    """The definition with its one placeholder filled in, as Terraform's templatefile does."""
    return DEFINITION.read_text(encoding="utf-8").replace("${function_arn}", function_arn)


class _Functions:
    """Stands for the Lambda client of the interpreter: invokes a step in this process."""

    def __init__(self, call: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        self._call = call

    def invoke(self, FunctionName: str, Payload: bytes, **_: Any) -> dict[str, Any]:
        """See Lambda's Invoke: an exception becomes a function error of its class's name."""
        try:
            answer: Any = self._call(json.loads(Payload))
            failed = {}
        except Exception as error:  # noqa: BLE001  Lambda turns every exception into an answer
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
            failed = {"FunctionError": "Unhandled"}
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answer).encode()), **failed}


class Machine:
    """One interpreter with the deployed definition. Use it inside `machine`."""

    def __init__(self, client: Any, arn: str) -> None:
        self.client = client
        self.arn = arn

    def start(self, rollout_id: str, version: str, plan: Mapping[str, Any]) -> str:
        """Start an execution; gives its ARN. A running one of the same name is left as it is."""
        given = json.dumps({"version": version, "plan": dict(plan)})
        started = self.client.start_execution(stateMachineArn=self.arn, name=rollout_id, input=given)
        return str(started["executionArn"])

    def is_running(self, execution: str) -> bool:
        """Whether it has not ended yet."""
        return bool(self.client.describe_execution(executionArn=execution)["status"] == "RUNNING")

    def failure(self, execution: str) -> str:
        """Why an execution failed, in Step Functions' words; empty where it did not."""
        found = self.client.describe_execution(executionArn=execution)
        return str(found.get("cause") or found.get("error") or "")

    def approve(self, token: str) -> None:
        """Answer a waiting approval with yes."""
        self.client.send_task_success(taskToken=token, output="{}")

    def refuse(self, token: str, reason: str) -> None:
        """Answer a waiting approval with no."""
        self.client.send_task_failure(taskToken=token, error="NotApproved", cause=reason)

    def stop(self, execution: str) -> None:
        """Abort an execution; it runs no state any more."""
        for _ in range(STOP_TRIES):
            if not self.is_running(execution):
                return
            try:
                self.client.stop_execution(executionArn=execution)
            except AttributeError:  # the interpreter has not made its worker yet
                time.sleep(POLL_S)


@contextmanager
def machine(
    call: Callable[[Mapping[str, Any]], dict[str, Any]],
    *,
    longest_retry_s: float = LOCAL_RETRY_S,
    longest_wait_s: float = float("inf"),
) -> Iterator[Machine]:
    """The interpreter, with ``call`` in place of the Lambda function.

    Args:
        longest_retry_s, longest_wait_s: pauses before repetitions and between looks are cut to these.

    Raises:
        MachineMissing: moto with its interpreter is not installed.
    """
    try:
        import boto3
        from moto import mock_aws
        from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
        from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
        from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
    except ImportError as error:
        raise MachineMissing(
            "rollouts on a laptop need moto's interpreter of state machines", remedy="pip install 'recsys[pipeline]'"
        ) from error

    class _Time:
        @staticmethod
        def sleep(seconds: float) -> None:
            time.sleep(min(seconds, longest_retry_s))

    def wait(_: Any, env: Any, wait_seconds: float) -> None:
        until = time.monotonic() + min(wait_seconds, longest_wait_s)
        while env.is_running() and (left := until - time.monotonic()) > 0:
            env.program_state_event.wait(left)

    with (
        mock_aws(config={"stepfunctions": {"execute_state_machine": True}}),
        mock.patch.object(lambda_eval_utils, "boto_client_for", lambda **_: _Functions(call)),
        mock.patch.object(retrier_decl, "time", _Time),
        mock.patch.object(WaitFunction, "_wait_interval", wait),
    ):
        # By its own address, or an AWS_ENDPOINT_URL in the environment would lead to another service.
        client = boto3.client("stepfunctions", REGION, endpoint_url=f"https://states.{REGION}.amazonaws.com")
        created = client.create_state_machine(name="rollout", definition=definition(), roleArn=ROLE)
        yield Machine(client, created["stateMachineArn"])
