"""``recsys endpoints``: create, list and delete SageMaker endpoints by model version."""

from typing import Annotated

import typer

from lambda_api.state.open_table import open_table
from recsys_deploy.console.terminal import terminal
from recsys_deploy.endpoints.autoscaling import Scaling
from recsys_deploy.endpoints.requests import RealTime, Serverless
from recsys_deploy.homes import open_stores, settings_of_last_home

endpoints = typer.Typer(no_args_is_help=True, help="SageMaker endpoints, one per model version.")
console = terminal()


@endpoints.command()
def create(
    version: Annotated[str, typer.Argument(help="A registered version, as `recsys models` shows it.")],
    memory_mb: Annotated[int, typer.Option(help="Serverless: 1024 to 6144, in steps of 1024.")] = 2048,
    concurrency: Annotated[int, typer.Option(help="Serverless: requests at a time.")] = 3,
    provisioned: Annotated[int | None, typer.Option(help="Serverless: how many of them are kept warm.")] = None,
    instances: Annotated[int, typer.Option(min=0, help="Number of instances, not serverless.")] = 0,
    instance_type: Annotated[str, typer.Option(help="Type of the instances.")] = "ml.m5.large",
    max_instances: Annotated[int, typer.Option(min=0, help="Autoscaling: most instances; 0 for none.")] = 0,
    invocations: Annotated[float, typer.Option(help="Autoscaling: requests per minute and instance.")] = 3_000.0,
    many_models: Annotated[
        bool,
        typer.Option("--many-models", help="Use the endpoint that versions share; needs --instances."),
    ] = False,
) -> None:
    """Create the endpoint of a model version; no traffic is routed to it."""
    from recsys_deploy.endpoints.shop_endpoints import open_endpoints

    settings = settings_of_last_home()
    scaling = Scaling(instances, max_instances, invocations) if max_instances else None
    capacity = (
        RealTime(instance_type, instances, scaling) if instances else Serverless(memory_mb, concurrency, provisioned)
    )
    stores, serving = open_stores(settings), open_table(settings, "serving")
    state, address = open_endpoints(settings).create(
        version, capacity, stores.registry, stores.bundles, serving, many_models=many_models
    )
    console.print(
        f"{state.name} is {state.status}; route traffic to it with "
        f"`recsys release start {version} --endpoint {address}`",
        soft_wrap=True,
    )


@endpoints.command("list")
def list_all() -> None:
    """List every endpoint of the shop with its state."""
    from recsys_deploy.endpoints.shop_endpoints import open_endpoints

    for state in open_endpoints(settings_of_last_home()).list():
        console.print(f"{state.name}  {state.status}  {state.reason}".rstrip(), soft_wrap=True)


@endpoints.command()
def delete(
    version: Annotated[str, typer.Argument(help="A version, or `models` for the shared endpoint.")],
) -> None:
    """Delete the endpoint of a version, unless shoppers are routed to it."""
    from recsys_deploy.endpoints.shop_endpoints import open_endpoints

    settings = settings_of_last_home()
    name = open_endpoints(settings).delete(version, open_table(settings, "serving"))
    console.print(f"{name} is deleted")
