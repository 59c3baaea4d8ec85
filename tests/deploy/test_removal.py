"""``recsys destroy``: what goes, who must agree, and what is left after a run that was stopped."""

import io
import json

import boto3
import pytest
from rich.console import Console

from recsys_deploy.deploy.errors import DeployError, NotConfirmed
from recsys_deploy.deploy.options import EnvironmentOptions
from recsys_deploy.deploy.removal import destroy
from recsys_deploy.deploy.terraform import Terraform
from tests.deploy.world import World


def options(world: World, **changes: bool) -> EnvironmentOptions:
    return EnvironmentOptions(environment="dev", terraform=world.tree, yes=changes.get("yes", True))


def test_everything_goes_and_a_deployment_after_it_begins_anew(world: World) -> None:
    world.deploy()
    key = world.key()
    _make_endpoint("recsys-dev-v1-0-0")
    _make_endpoint("recsys-devil")
    console = Console(file=io.StringIO(), width=300)
    gone = destroy(options(world), console)
    assert (gone.resources, gone.endpoints, gone.key) == (7, ("recsys-dev-v1-0-0",), True)
    assert "removes the endpoint recsys-dev-v1-0-0" in console.file.getvalue()  # type: ignore[attr-defined]
    left = [one["EndpointName"] for one in boto3.client("sagemaker").list_endpoints()["Endpoints"]]
    assert left == ["recsys-devil"]
    again = destroy(options(world), Console(quiet=True))
    assert (again.resources, again.endpoints, again.key) == (0, (), False)
    world.deploy()
    assert world.key() != key


def test_nothing_goes_without_consent(world: World) -> None:
    world.deploy()
    with pytest.raises(NotConfirmed, match="agree with --yes"):
        destroy(options(world, yes=False), Console(quiet=True))
    with pytest.raises(NotConfirmed, match="nothing was changed"):
        destroy(options(world, yes=False), Console(quiet=True), confirm=lambda text: False)
    assert world.key() and not list((world.root / "build").rglob("plan.tfplan"))
    # Packages are not needed to destroy what was made of them.
    for file in (world.root / "packages").iterdir():
        file.unlink()
    assert destroy(options(world, yes=False), Console(quiet=True), confirm=lambda text: "dev" in text).resources == 7
    variables = json.loads((world.root / "build" / "terraform" / "dev" / "variables.tfvars.json").read_text())
    assert set(variables) == {"packages", "feature_package"}


def test_an_environment_that_holds_a_shop_is_refused(world: World) -> None:
    world.deploy()
    file = world.tree / "environments" / "dev" / "terraform.tfvars"
    file.write_text(file.read_text().replace("disposable = true", "disposable = false"))
    with pytest.raises(DeployError, match=r"dev is not disposable.*nothing was changed"):
        destroy(options(world), Console(quiet=True))
    assert world.key()


def test_what_a_stopped_run_left_goes_with_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deploy()
    apply = Terraform.apply

    def stop(self: Terraform, plan: object) -> None:
        raise DeployError("terraform apply failed: BucketNotEmpty")

    monkeypatch.setattr(Terraform, "apply", stop)
    with pytest.raises(DeployError):
        destroy(options(world), Console(quiet=True))
    assert world.key()
    monkeypatch.setattr(Terraform, "apply", apply)
    assert destroy(options(world), Console(quiet=True)).resources == 7


def _make_endpoint(name: str) -> None:
    client = boto3.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/x"
    client.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer={"Image": "image"})
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])  # type: ignore[list-item]
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
