"""``recsys destroy``: removes a disposable environment, with what a deployment made besides Terraform."""

import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from recsys_deploy.deploy import page
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.checks import check, check_standing, open_terraform
from recsys_deploy.deploy.errors import Confirm, DeployError, NotConfirmed, require_consent, translated
from recsys_deploy.deploy.options import EnvironmentOptions
from recsys_deploy.deploy.packages import NONE_NEEDED
from recsys_deploy.deploy.steps import Steps
from recsys_deploy.deploy.values import VALUES, Environment, read_environment


@dataclass(frozen=True, slots=True)
class Destroyed:
    """Removed: resources of Terraform, endpoints of model versions, and whether there was a key of the shop page."""

    resources: int
    endpoints: tuple[str, ...]
    key: bool
    seconds: float


def destroy(options: EnvironmentOptions, console: Console, *, confirm: Confirm | None = None) -> Destroyed:
    """Remove the environment. May be repeated: a second run removes what a stopped one left.

    Args:
        options: of the command line.
        console: shows the steps and the data that is lost.
        confirm: asks a person; ``None``: nobody is there, and only ``yes`` agrees.

    Raises:
        NotConfirmed: nobody agreed; nothing was changed.
        DeployError: it is not disposable, or Terraform failed; another run continues.
    """
    environment = read_environment(options.terraform, options.environment)
    if not environment.is_disposable:
        remedy = "prod is never disposable"
        if environment.name != "prod":
            file = environment.folder / VALUES
            remedy = f"if nothing in it is needed, set disposable = true in {file} and run `recsys deploy` once more"
        raise DeployError(f"{environment.name} is not disposable; nothing was changed", remedy=remedy)
    aws = Aws(environment.region)
    with aws.shared():
        return _destroy(options, environment, aws, console, confirm)


def _destroy(
    options: EnvironmentOptions, environment: Environment, aws: Aws, console: Console, confirm: Confirm | None
) -> Destroyed:
    began = time.perf_counter()
    steps = Steps(console, aws.refresh)
    terraform = open_terraform(options, aws, steps)
    with steps.step("checks") as step:
        checked = check(environment, terraform, aws, create_state_bucket=False)
        step.note = f"account {checked.account}, {environment.region}"
    with steps.step("terraform init"):
        terraform.init()
        check_standing(environment, terraform.output(), checked.account, environment.region)
    with steps.step("terraform plan"):
        plan = terraform.plan(NONE_NEEDED, destroy=True)
        endpoints = _endpoints(aws, environment.prefix)
    steps.print_plan(plan)
    for name in endpoints:
        console.print(f"        [red]removes[/] the endpoint {name}")
    if not options.yes and (endpoints or not plan.is_empty):
        try:
            question = f"destroy {environment.name} and everything in it?"
            require_consent(confirm, question, "not destroyed; nothing was changed")
        except NotConfirmed:
            plan.file.unlink(missing_ok=True)
            raise
    if endpoints:
        with steps.step("endpoints") as step, translated("removing endpoints"):
            for name in endpoints:
                aws.client("sagemaker").delete_endpoint(EndpointName=name)
            step.note = f"{len(endpoints)} removed"
    if plan.is_empty:
        plan.file.unlink(missing_ok=True)
    else:
        with steps.step("terraform destroy") as step:
            terraform.apply(plan)
            step.note = f"{len(plan.changes)} removed"
    # Last, so that a deployment can still be repaired with its key while the rest is removed.
    key = page.forget_key(aws, environment.prefix)
    return Destroyed(len(plan.changes), endpoints, key, time.perf_counter() - began)


def _endpoints(aws: Aws, prefix: str) -> tuple[str, ...]:
    """Endpoints of model versions: rollouts create them, Terraform does not know them, and they cost money."""
    with translated("listing endpoints"):
        pages: Any = aws.client("sagemaker").get_paginator("list_endpoints").paginate(NameContains=f"{prefix}-")
        names = [one["EndpointName"] for found in pages for one in found["Endpoints"]]
    return tuple(sorted(name for name in names if name.startswith(f"{prefix}-")))
