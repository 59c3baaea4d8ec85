"""Command-line options and output of ``recsys deploy``, ``destroy``, ``images`` and ``cost``."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lambda_api.settings import read_settings
from recsys_deploy import homes
from recsys_deploy.console.terminal import terminal
from recsys_deploy.deploy.options import DeployOptions, EnvironmentOptions, Promotion

if TYPE_CHECKING:
    from recsys_deploy.deploy.command import Deployment

TREE = Path(__file__).resolve().parents[2] / "terraform"

EnvironmentOption = Annotated[str, typer.Option("--environment", "-e", help="dev, staging, prod, or another of yours.")]
TreeOption = Annotated[Path, typer.Option("--terraform", help="Folder with stack/ and environments/.")]
PluginOption = Annotated[
    Path | None, typer.Option(help="Folder of Terraform providers, if the registry cannot be reached.")
]


def deploy(
    environment: EnvironmentOption,
    yes: Annotated[bool, typer.Option("--yes", help="Agree beforehand to removals, and to changing prod.")] = False,
    promote: Annotated[
        Promotion,
        typer.Option(help="Whether this home's champion becomes champion there."),
    ] = Promotion.AUTO,
    model: Annotated[bool, typer.Option(help="Upload this home's champion.")] = True,
    packages: Annotated[
        Path | None, typer.Option(help="Folder of zips built by `recsys package`; default: build them now.")
    ] = None,
    image_tag: Annotated[
        str | None, typer.Option(help="Tag of the container images; default: this checkout's git revision.")
    ] = None,
    create_state_bucket: Annotated[
        bool, typer.Option("--create-state-bucket", help="Create the bucket of Terraform's state if it is missing.")
    ] = False,
    terraform: TreeOption = TREE,
    plugin_dir: PluginOption = None,
) -> None:
    """Deploy this checkout and the shop of the last demo to an environment on AWS. May be repeated."""
    from recsys_deploy.deploy.command import deploy as run

    homes.use_last_home(homes.default_root(), os.environ)
    options = DeployOptions(
        environment=environment,
        home=read_settings(),
        terraform=terraform,
        plugin_dir=plugin_dir,
        packages=packages,
        yes=yes,
        create_state_bucket=create_state_bucket,
        image_tag=image_tag,
        bring_model=model,
        promotion=promote,
    )
    console = terminal()
    _print_deployment(console, run(options, console, confirm=_asker()))


def destroy(
    environment: EnvironmentOption,
    yes: Annotated[bool, typer.Option("--yes", help="Agree beforehand.")] = False,
    terraform: TreeOption = TREE,
    plugin_dir: PluginOption = None,
) -> None:
    """Remove a disposable environment with everything in it. May be repeated."""
    from recsys_deploy.deploy.removal import destroy as run

    console = terminal()
    options = EnvironmentOptions(environment=environment, terraform=terraform, plugin_dir=plugin_dir, yes=yes)
    gone = run(options, console, confirm=_asker())
    console.print(
        f"[green]removed[/] {gone.resources} resources, {len(gone.endpoints)} endpoints in {gone.seconds:.0f} s; the "
        f"bucket of Terraform's state remains",
    )


def account_test(
    environment: EnvironmentOption = "dev",
    yes: Annotated[bool, typer.Option("--yes", help="Agree beforehand to the price.")] = False,
    create_state_bucket: Annotated[
        bool, typer.Option("--create-state-bucket", help="Create the bucket of Terraform's state if it is missing.")
    ] = False,
    terraform: TreeOption = TREE,
    plugin_dir: PluginOption = None,
) -> None:
    """Deploy a disposable environment, use every part once, remove it, and write a report. Costs some cents."""
    from recsys_deploy.deploy.account_test import AccountTest, write_report

    homes.use_last_home(homes.default_root(), os.environ)
    options = DeployOptions(
        environment=environment,
        home=read_settings(),
        terraform=terraform,
        plugin_dir=plugin_dir,
        yes=yes,
        create_state_bucket=create_state_bucket,
    )
    console = terminal()
    report = AccountTest(options, console).run(_asker())
    file = write_report(report, options.data)
    console.print(f"{report.markdown()}\nwritten to {file}", soft_wrap=True, markup=False)
    if not report.passed:
        raise typer.Exit(1)


def images(
    environment: EnvironmentOption,
    base: Annotated[str, typer.Option(envvar="PYTHON_IMAGE", help="Python base image, name@sha256:...")],
    pip_args: Annotated[str, typer.Option(envvar="PIP_ARGS", help="Options of pip in the build.")] = "",
    platform: Annotated[str, typer.Option(help="Platform of the images.")] = "linux/amd64",
    allow_critical: Annotated[
        bool, typer.Option("--allow-critical", help="Accept critical findings of ECR's scan.")
    ] = False,
    terraform: TreeOption = TREE,
) -> None:
    """Build, push and scan the container images of an environment, and restart its services. May be repeated."""
    from recsys_deploy.deploy.images import ImageOptions, push_images

    options = ImageOptions(
        environment=environment,
        terraform=terraform,
        base=base,
        pip_args=pip_args,
        platform=platform,
        allow_critical=allow_critical,
    )
    console = terminal()
    for image in push_images(options, console):
        found = ", ".join(f"{count} {severity.lower()}" for severity, count in image.findings.items())
        console.print(f"{image.repository}@{image.digest}  {found or 'no findings'}", soft_wrap=True)


def cost(
    requests: Annotated[str, typer.Option(help="Recommendations a month, such as 250k or 10M.")],
    environment: EnvironmentOption = "dev",
    events: Annotated[str | None, typer.Option(help="Feedback events a month; default: as many as requests.")] = None,
    shoppers: Annotated[str, typer.Option(help="Shoppers with a history.")] = "100k",
    recommend_ms: Annotated[float, typer.Option(min=1, help="Billed milliseconds of one recommendation.")] = 40,
    lake_gb: Annotated[float, typer.Option(min=0, help="Kept in S3.")] = 20,
    training_hours: Annotated[float, typer.Option(min=0, help="Of one weekly run of the asset graph.")] = 1,
    region: Annotated[str | None, typer.Option(help="Another region than that of the environment.")] = None,
    terraform: TreeOption = TREE,
) -> None:
    """Estimate the cost of a month, from an environment's values and a dated table of public prices."""
    from recsys_deploy.deploy.cost.estimate import estimate
    from recsys_deploy.deploy.cost.table import print_estimate
    from recsys_deploy.deploy.cost.usage import Usage, parse_count
    from recsys_deploy.deploy.values import read_environment

    values = dict(read_environment(terraform, environment).values)
    values |= {"region": region} if region else {}
    usage = Usage(
        requests=parse_count(requests),
        events=None if events is None else parse_count(events),
        shoppers=parse_count(shoppers),
        recommend_ms=recommend_ms,
        lake_gb=lake_gb,
        training_hours=training_hours,
    )
    budget = values["operations"].get("monthly_budget_usd")
    print_estimate(terminal(), estimate(values, usage), environment, budget)


def _print_deployment(console: Console, done: "Deployment") -> None:
    took = sum(done.seconds.values())
    console.print(f"\n[bold]API[/]        {done.api_url}", soft_wrap=True)
    if done.storefront_url:
        console.print(f"[bold]shop page[/]  {done.storefront_url}", soft_wrap=True)
    code = ", ".join(f"{name} {version}" for name, version in done.functions.items())
    console.print(f"[bold]code[/]       {code}")
    console.print(f"[bold]model[/]      {done.model or 'baseline'}: {done.model_result}", soft_wrap=True)
    console.print(f"[bold]took[/]       {took:.0f} s, {done.changes} resources changed\n")
    key = f"aws ssm get-parameter --with-decryption --region {done.region} --query Parameter.Value --output text"
    lines = [f"{key} --name {done.key_parameter}   # the key", f"recsys cost --environment {done.environment}"]
    lines += [] if done.model else ["recsys run && recsys deploy ...   # train a model, then upload it"]
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)


def _asker() -> Callable[[str], bool] | None:
    """Asks the person at the terminal; ``None`` without one, as in CI."""
    return typer.confirm if sys.stdin.isatty() else None
