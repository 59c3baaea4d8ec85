"""The state machine on AWS, seen from outside: start an execution, answer its question, stop it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambda_api.settings import Settings
from recsys_assets.aws_errors import AwsCallFailed, translate_aws_errors
from recsys_deploy.rollout.machine import Machine
from recsys_deploy.rollout.record import RolloutRecord


@dataclass(frozen=True)
class DeployedMachine:
    """State machine ``arn``; ``client`` is of Step Functions. Methods raise `AwsCallFailed` where AWS refuses."""

    client: Any
    arn: str

    def start(self, rollout_id: str, version: str, plan: Mapping[str, Any]) -> None:
        """Start a rollout under this name; a running one of the same name and input is left as it is."""
        given = json.dumps({"run_name": rollout_id, "version": version, "plan": dict(plan)})
        with translate_aws_errors("states:StartExecution", AwsCallFailed):
            self.client.start_execution(stateMachineArn=self.arn, name=rollout_id, input=given)

    def answer(self, record: RolloutRecord, *, approved: bool, reason: str) -> None:
        """Give the machine a person's answer by the token it waits with; without an answer in time it takes back."""
        machine, token = Machine(self.client, self.arn), record.approval_token or ""
        with translate_aws_errors("the answer to a rollout", AwsCallFailed):
            if approved:
                machine.approve(token)
            else:
                machine.refuse(token, reason[:1_000])

    def stop(self, rollout_id: str, reason: str) -> None:
        """End the execution of a rollout that was taken back."""
        execution = f"{self.arn.replace(':stateMachine:', ':execution:')}:{rollout_id}"
        with translate_aws_errors("states:StopExecution", AwsCallFailed):
            self.client.stop_execution(executionArn=execution, error="Aborted", cause=reason[:1_000])


def deployed_machine(settings: Settings) -> DeployedMachine | None:
    """The environment's machine; ``None`` where a rollout runs in the process that starts it."""
    if not settings.rollout_machine_arn:
        return None
    import boto3

    return DeployedMachine(boto3.client("stepfunctions"), settings.rollout_machine_arn)
