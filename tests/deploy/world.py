"""A small environment to deploy into: a real Terraform stack without a provider, and a simulated AWS with functions."""

import base64
import hashlib
import io
import json
import os
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import botocore.loaders
import botocore.session
from moto.awslambda.models import LambdaFunction
from moto.awslambda.responses import LambdaResponse
from rich.console import Console

from lambda_api.settings import Settings, read_settings
from lambda_api.state.api_keys import ApiKeys
from lambda_api.state.open_table import open_table
from lambda_api.state.popular import PopularProducts
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Table, TableUnavailable
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.versions import Version
from recsys_deploy.deploy.api_check import HttpAnswer
from recsys_deploy.deploy.command import Deployment, deploy
from recsys_deploy.deploy.options import DeployOptions
from recsys_deploy.packaging.functions import FUNCTIONS
from tests.moto_server import moto_server
from tests.publishing.shops import Home, listed, random_log, write_log, write_products
from tests.state.created_table import create_dynamodb_table

ACCOUNT = "123456789012"
REGION = "eu-central-1"
URL = "https://api.example.com"
TABLES = ("registry", "serving", "history", "exposures", "api_keys")
BUCKETS = {name: f"recsys-dev-{name}-{ACCOUNT}" for name in ("lake", "models", "page")}

STACK = """
terraform {
  backend "local" {}
}
variable "environment" { type = string }
variable "region" { type = string }
variable "disposable" { type = bool }
variable "packages" { type = map(object({ path = string, hash = string })) }
variable "storefront_key" {
  type      = string
  default   = ""
  sensitive = true
}
variable "tables" {
  type    = set(string)
  default = ["history"]
}
resource "terraform_data" "package" {
  for_each = var.packages
  input    = each.value.hash
}
resource "terraform_data" "table" {
  for_each = var.tables
}
resource "terraform_data" "late" {
  depends_on = [terraform_data.table]
  provisioner "local-exec" {
    command = "test ! -e '${path.module}/no-more-streams' || { echo LimitExceededException; exit 1; }"
  }
}
resource "terraform_data" "page" {
  input = nonsensitive(var.storefront_key != "")
}
locals { given = jsondecode(file("${path.module}/outputs.json")) }
output "api_url" { value = local.given.api_url }
output "storefront_url" { value = local.given.storefront_url }
output "storefront_bucket" { value = local.given.storefront_bucket }
output "storefront_distribution_id" { value = local.given.storefront_distribution_id }
output "settings" { value = local.given.settings }
output "functions" { value = local.given.functions }
output "training_machine_arn" { value = try(local.given.training_machine_arn, null) }
output "endpoint" { value = try(local.given.endpoint, null) }
"""


def write_tree(root: Path, *, disposable: bool = True, name: str = "dev", values: str = "") -> Path:
    """A checkout's ``terraform/`` with `STACK` and one environment; returns it."""
    tree = root / "terraform"
    stack, place = tree / "stack", tree / "environments" / name
    stack.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    (stack / "main.tf").write_text(STACK)
    page = root / "storefront"
    (page / "js").mkdir(parents=True, exist_ok=True)
    (page / "index.html").write_text("<title>Shop</title>")
    (page / "js" / "main.js").write_text("//")
    (page / "README.md").write_text("Not part of the page.")
    (page / "data").mkdir(exist_ok=True)
    (page / "data" / "config.json").write_text('{"key": "a developer\'s key"}')
    lines = [f'environment = "{name}"', f'region = "{REGION}"', f"disposable = {str(disposable).lower()}", values]
    (place / "terraform.tfvars").write_text("\n".join(lines) + "\n")
    (place / "backend.hcl").write_text(f'path = "{root / name}.tfstate"\n')
    return tree


def write_packages(folder: Path, code: str = "one") -> Path:
    """A zip for every function, and what Terraform is told of them; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = {}
    for name in FUNCTIONS:
        content = f"{name} {code}".encode()
        (folder / f"{name}.zip").write_bytes(content)
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        variables[name] = {"path": f"../../build/lambda/{name}.zip", "hash": checksum}
    (folder / "packages.tfvars.json").write_text(json.dumps({"packages": variables}))
    return folder


@dataclass
class Faults:
    """What is wrong with a version of a function: by (function, version), what it answers instead."""

    by_version: dict[tuple[str, str], Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    not_found_models: set[str] = field(default_factory=set)


@dataclass
class World:
    """A checkout, a home with a shop, and an AWS without anything applied by us."""

    root: Path
    tree: Path
    home: Home
    plugin_dir: Path | None = None
    faults: Faults = field(default_factory=Faults)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(function, version) in the order they were asked since the last deployment began."""
    slept: list[float] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        return {
            "RECSYS_TARGET": "aws",
            "RECSYS_HOME": "/nowhere",
            "RECSYS_TABLE_PREFIX": "recsys-dev-",
            "RECSYS_LAKE_URI": f"s3://{BUCKETS['lake']}/lake",
            "RECSYS_MODELS_URI": f"s3://{BUCKETS['models']}/bundles",
            "RECSYS_CATALOGUE_URI": f"s3://{BUCKETS['models']}/catalogue",
        }

    def there(self) -> Settings:
        return read_settings({**self.settings(), "RECSYS_HOME": str(self.root / "there")})

    def table(self, name: str) -> Table:
        """A table of the environment, opened once."""
        if name not in self.tables:
            self.tables[name] = open_table(self.there(), name)
        return self.tables[name]

    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.table("registry"))

    def champion(self) -> Version | None:
        champion = self.registry().champion()
        return None if champion is None else champion.version

    def options(self, **changes: Any) -> DeployOptions:
        given: dict[str, Any] = {
            "environment": "dev",
            "home": self.home.settings,
            "terraform": self.tree,
            "packages": self.root / "packages",
            "yes": True,
        }
        return DeployOptions(**(given | changes))

    def deploy(self, console: Console | None = None, **changes: Any) -> Deployment:
        self.asked.clear()
        self.slept.clear()
        return deploy(self.options(**changes), console or Console(quiet=True), http=self.http, sleep=self.slept.append)

    def publish_code(self, code: str) -> str:
        """What an apply with new packages does: each function has one more version, whose number is returned."""
        client = boto3.client("lambda")
        functions: dict[str, dict[str, str]] = {}
        for name in FUNCTIONS:
            function = f"recsys-dev-{name}"
            zipped = _zip(code)
            arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}:live"
            try:
                client.get_function(FunctionName=function)
                version = client.update_function_code(FunctionName=function, ZipFile=zipped, Publish=True)["Version"]
            except client.exceptions.ResourceNotFoundException:
                role = boto3.client("iam").get_role(RoleName="functions")["Role"]["Arn"]
                version = client.create_function(
                    FunctionName=function,
                    Runtime="python3.13",
                    Role=role,
                    Handler="x.handler",
                    Code={"ZipFile": zipped},
                    Publish=True,
                )["Version"]
                client.create_alias(FunctionName=function, Name="live", FunctionVersion=version)
            functions[name] = {"function_name": function, "alias": "live", "arn": arn, "published_version": version}
        self._write_outputs(functions)
        write_packages(self.root / "packages", code)
        (version,) = {function["published_version"] for function in functions.values()}
        return version

    def have(self, settings: Mapping[str, str], **outputs: Any) -> None:
        """Add settings and outputs of optional parts of the stack."""
        file = self.tree / "stack" / "outputs.json"
        given = json.loads(file.read_text())
        file.write_text(json.dumps(given | {"settings": given["settings"] | dict(settings)} | outputs))

    def _write_outputs(self, functions: Mapping[str, Any], **changes: Any) -> None:
        given = {
            "api_url": URL,
            "storefront_url": "https://page.example.com",
            "storefront_bucket": BUCKETS["page"],
            "storefront_distribution_id": None,
            "settings": self.settings(),
            "functions": functions,
        }
        (self.tree / "stack" / "outputs.json").write_text(json.dumps(given | changes))

    def live(self, name: str = "api") -> str:
        alias = boto3.client("lambda").get_alias(FunctionName=f"recsys-dev-{name}", Name="live")
        return str(alias["FunctionVersion"])

    def key(self) -> str:
        found = boto3.client("ssm").get_parameter(Name="/recsys-dev/storefront-key", WithDecryption=True)
        return str(found["Parameter"]["Value"])

    def http(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> HttpAnswer:
        """The gateway: the version that the alias points to is asked, behind the authorizer."""
        assert url.startswith(URL)
        path = url.removeprefix(URL)
        event = {"rawPath": path, "headers": dict(headers), "body": body.decode() if body else None}
        if path != "/health":
            allowed = self.answer("authorizer", self.live("authorizer"), event)
            if not allowed.get("isAuthorized"):
                return HttpAnswer(403, b'{"message":"Forbidden"}')
        answer = self.answer("api", self.live(), event)
        return HttpAnswer(answer["statusCode"], answer["body"].encode())

    def answer(self, name: str, version: str, event: Mapping[str, Any]) -> Any:
        """What this version of this function answers."""
        self.asked.append((name, version))
        if fault := self.faults.by_version.get((name, version)):
            return fault(event)
        if name == "authorizer":
            key = event["headers"].get("x-api-key")
            identity = ApiKeys(self.table("api_keys")).verify(key, 0)
            return {"isAuthorized": identity is not None, "context": {}}
        if name == "shadow":
            return {"batchItemFailures": []}
        direct = event.get("requestContext")
        if direct and event["rawPath"] == "/recommend" and "authorizer" not in direct:
            # Behind the gateway the function trusts what the authorizer said, and nothing else.
            return {"statusCode": 401, "body": "{}"}
        serving = self.table("serving")
        record = read_routing(serving)
        model = "baseline"
        if record is not None and record.champion.target.version not in self.faults.not_found_models:
            model = record.champion.target.version
        content: dict[str, Any] = {"status": "ok"}
        if event["rawPath"] == "/recommend":
            listed = [entry.product_id for entry in PopularProducts(serving).overall()[:5]]
            content = {"recommendations": listed, "model_version": model}
        return {"statusCode": 200, "body": json.dumps(content)}


@contextmanager
def simulated_aws() -> Iterator[None]:
    """A simulated AWS behind real HTTP, named by the environment, with what a stack would have made."""
    # Descriptions of services are read once: doing so for every session takes half of these tests' time.
    loader = botocore.loaders.create_loader()
    shared = mock.patch("botocore.session.create_loader", lambda *args, **kwargs: loader)
    with moto_server(REGION), shared:
        os.environ.pop("TF_CLI_CONFIG_FILE", None)
        _post_reset()  # servers of one process share what was made in them
        yield


@contextmanager
def world_at(root: Path, *, disposable: bool = True) -> Iterator[World]:
    """A world that nothing was deployed into; its home has a shop and no champion."""
    tree = write_tree(root, disposable=disposable)
    write_packages(root / "packages")
    home = Home.at(root / "home")
    write_log(home.lake, random_log(seed=1, users=20, products=12, events=400, days=5))
    write_products(home.lake, listed(*(f"p{number}" for number in range(12))))
    world = World(root, tree, home)
    _make_places()
    patched = mock.patch.object(LambdaFunction, "_invoke_lambda", _invoker(world))
    with patched, mock.patch.object(LambdaResponse, "_get_param", _qualifier_too(LambdaResponse._get_param)):
        world.publish_code("one")
        yield world


def _make_places() -> None:
    _post_reset()
    s3 = boto3.client("s3")
    for bucket in BUCKETS.values():
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for table in TABLES:
        create_dynamodb_table(boto3.client("dynamodb"), f"recsys-dev-{table}")
    boto3.client("iam").create_role(RoleName="functions", AssumeRolePolicyDocument="{}")


def _post_reset() -> None:
    urllib.request.urlopen(urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST"))


def _invoker(world: World) -> Callable[..., tuple[str, bool, str]]:
    def invoke(function: LambdaFunction, event: Any = None) -> tuple[str, bool, str]:
        name = function.function_name.removeprefix("recsys-dev-")
        try:
            given = event if isinstance(event, dict) else json.loads(event or "{}")
            return json.dumps(world.answer(name, str(function.version), given)), False, ""
        except (RuntimeError, TableUnavailable) as error:
            return json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}), True, ""

    return invoke


def _qualifier_too(original: Callable[..., Any]) -> Callable[..., Any]:
    """The simulated Invoke looks for ``qualifier``; the real one is sent ``Qualifier``."""

    def get(self: LambdaResponse, name: str, *args: Any, **kwargs: Any) -> Any:
        return original(self, "Qualifier" if name == "qualifier" else name, *args, **kwargs)

    return get


def _zip(code: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.py", f"# {code}")
    return buffer.getvalue()
