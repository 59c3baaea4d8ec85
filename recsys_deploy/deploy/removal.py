"""``recsys destroy``: an environment taken down, and what a deployment made beside Terraform.

Put here what has to go, and who must agree. Keep environments that hold a shop's data out: only a disposable one goes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from recsys_deploy.deploy import page
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.checks import check, check_standing
from recsys_deploy.deploy.errors import EnvironmentRefused, NotConfirmed
from recsys_deploy.deploy.explain import explained
from recsys_deploy.deploy.packages import NONE_NEEDED
from recsys_deploy.deploy.steps import Steps, print_plan
from recsys_deploy.deploy.terraform_runner import Plan, Terraform
from recsys_deploy.deploy.values import VALUES, Environment, read_environment


@dataclass(frozen=True, kw_only=True)
class DestroyOptions:
    """What a person chose; fields as in ``DeployOptions``."""

    environment: str
    terraform: Path
    plugin_dir: Path | None = None
    data_dir: Path | None = None
    yes: bool = False

    @property
    def data(self) -> Path:
        """`data_dir`, or its default."""
        return self.data_dir or self.terraform.resolve().parent / "build" / "terraform" / self.environment


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What went: resources of Terraform, endpoints of model versions, whether there was a key of the shop page."""

    resources: int
    endpoints: tuple[str, ...]
    key: bool
    seconds: float


def destroy(options: DestroyOptions, console: Console, *, confirm: Callable[[str], bool] | None = None) -> Destroyed:
    """Take the environment down. May be repeated: what is left after a run that was stopped goes with the next.

    Args:
        options: what a person chose.
        console: where steps and what is lost are shown.
        confirm: asks a person; ``None``: nobody is there, and only ``yes`` agrees.

    Raises:
        EnvironmentRefused: it is not disposable.
        NotConfirmed: nobody agreed; nothing was changed.
        DeployError: see the message; what is gone is gone, and another run goes on.
    """
    environment = read_environment(options.terraform, options.environment)
    if not environment.is_disposable:
        remedy = "prod never is"
        if environment.name != "prod":
            file = environment.folder / VALUES
            remedy = f"if nothing in it is worth keeping, say disposable = true in {file} and `recsys deploy` once more"
        raise EnvironmentRefused(f"{environment.name} is not disposable, so nothing was changed; {remedy}")
    aws = Aws(environment.region)
    with aws.shared():
        return _destroy(options, environment, aws, console, confirm)


def _destroy(
    options: DestroyOptions,
    environment: Environment,
    aws: Aws,
    console: Console,
    confirm: Callable[[str], bool] | None,
) -> Destroyed:
    began = time.perf_counter()
    steps = Steps(console)
    terraform = Terraform(
        options.terraform,
        options.environment,
        data_dir=options.data,
        plugin_dir=options.plugin_dir,
        on_progress=steps.progress,
    )
    with steps.step("checks") as step:
        checked = check(environment, terraform, aws, create_state_bucket=False)
        step.note = f"account {checked.account}, {environment.region}"
    with steps.step("terraform init"):
        terraform.init()
        check_standing(environment, terraform.output(), checked.account, environment.region)
    with steps.step("terraform plan"):
        plan = terraform.plan(NONE_NEEDED, destroy=True)
        endpoints = _endpoints(aws, environment.prefix)
    print_plan(console, plan)
    for name in endpoints:
        console.print(f"        [red]removes[/] the endpoint {name}", highlight=False)
    _agree(options, environment, plan, endpoints, confirm)
    if endpoints:
        with steps.step("endpoints") as step, explained("removing endpoints"):
            for name in endpoints:
                aws.client("sagemaker").delete_endpoint(EndpointName=name)
            step.note = f"{len(endpoints)} removed"
    if plan.is_empty:
        plan.file.unlink(missing_ok=True)
    else:
        with steps.step("terraform destroy") as step:
            terraform.apply(plan)
            step.note = f"{len(plan.changes)} removed"
    # Last: until everything else is gone, a deployment may still be repaired with the key it has.
    key = page.forget_key(aws, environment.prefix)
    return Destroyed(len(plan.changes), endpoints, key, time.perf_counter() - began)


def _agree(
    options: DestroyOptions,
    environment: Environment,
    plan: Plan,
    endpoints: tuple[str, ...],
    confirm: Callable[[str], bool] | None,
) -> None:
    if options.yes or (plan.is_empty and not endpoints):
        return
    agreed = confirm is not None and confirm(f"destroy {environment.name} and everything in it?")
    if not agreed:
        plan.file.unlink(missing_ok=True)
        raise NotConfirmed("not destroyed; nothing was changed" + ("" if confirm else "; agree by --yes"))


def _endpoints(aws: Aws, prefix: str) -> tuple[str, ...]:
    """Endpoints of model versions: rollouts make them, Terraform does not know them, and standing they cost money."""
    with explained("listing endpoints"):
        pages: Any = aws.client("sagemaker").get_paginator("list_endpoints").paginate(NameContains=f"{prefix}-")
        names = [one["EndpointName"] for found in pages for one in found["Endpoints"]]
    return tuple(sorted(name for name in names if name.startswith(f"{prefix}-")))
