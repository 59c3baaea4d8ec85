"""A simulated cloud in a process of its own, and a copy of the Terraform tree that points to it.

The copy differs from the checkout in two override files: a local state instead of S3, with provider flags that a
simulated account needs; and no waiting for a CDN that does not exist. Values of the environment are those of the
checkout unless a test replaces them. The provider repeats a call ten times (its default is 25): enough for a simulator
that closes a connection under load, and a call that the simulator cannot answer still fails within a minute or two.
"""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import botocore.config
from botocore.config import Config

from lambda_api.settings import Settings, read_settings
from recsys_deploy.deploy.api_check import HttpAnswer
from recsys_deploy.deploy.terraform import Terraform
from recsys_deploy.packaging.targets import Platform, Target
from tests.patience import PATIENCE_S
from tests.terraform.runs import ROOT, copy_tree

REGION = "eu-central-1"
ACCOUNT = "123456789012"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
OVERRIDE = """
terraform {
  backend "local" {}
}

provider "aws" {
  max_retries                 = 10
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
}
"""

CDN_OVERRIDE = """
resource "aws_cloudfront_distribution" "this" {
  wait_for_deployment = false
}
"""

HERE = Target(
    {"x86_64": Platform.LINUX_X86_64, "aarch64": Platform.LINUX_ARM64}[platform.machine()],
    f"{sys.version_info.major}.{sys.version_info.minor}",
)
"""What the zips run on: this machine and Python, where Lambda has arm64 and Python 3.13."""


@dataclass
class Journal:
    """Steps with their durations, printed as they end, and kept as a table."""

    file: Path
    rows: list[tuple[str, float, str]] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what is appended to the list yielded stands beside it."""
        began, notes = time.perf_counter(), list[str]()
        try:
            yield notes
        except BaseException as error:
            notes.append(f"FAILED: {type(error).__name__}: {str(error)[:200]}")
            raise
        finally:
            self.add(name, time.perf_counter() - began, "; ".join(notes))

    def add(self, name: str, seconds: float, note: str = "") -> None:
        """One more row; the file holds the table as it stands."""
        self.rows.append((name, seconds, note))
        print(f"{seconds:7.1f} s  {name}  {note}", flush=True)
        total = time.perf_counter() - self.began
        lines = [f"| {name} | {seconds:.1f} | {note} |" for name, seconds, note in self.rows]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(
            "\n".join(["| step | s | what |", "|---|--:|---|", *lines, f"| **total** | **{total:.1f}** | |", ""])
        )


@dataclass
class Stage:
    """A cloud and a tree to deploy from.

    Attributes:
        root: folder of everything that is written.
        endpoint: of the cloud.
        plugins: folder of Terraform's provider.
        journal: of steps.
    """

    root: Path
    endpoint: str
    plugins: Path
    journal: Journal

    @property
    def tree(self) -> Path:
        """The copy of ``terraform/``."""
        return self.root / "checkout" / "terraform"

    @property
    def data(self) -> Path:
        """What Terraform and the deployment keep between runs."""
        return self.root / "deployment"

    def client(self, service: str, **changes: Any) -> Any:
        """A client of the cloud."""
        config = Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE_S)
        given: dict[str, Any] = {"region_name": REGION, "endpoint_url": self.endpoint, "config": config} | changes
        session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test")
        return session.client(service, **given)

    @cached_property
    def functions(self) -> Any:
        return self.client("lambda")

    def lay_out(self, values: Mapping[str, Any]) -> None:
        """Copy the tree; ``values`` replace those of dev."""
        copy_tree(self.root / "checkout")
        shutil.copytree(ROOT / "storefront", self.root / "checkout" / "storefront")
        (self.tree / "stack" / "override.tf").write_text(OVERRIDE)
        (self.tree / "modules" / "storefront" / "override.tf").write_text(CDN_OVERRIDE)
        dev = self.tree / "environments" / "dev"
        (dev / "backend.hcl").write_text(f'path = "{self.root / "dev.tfstate"}"\n')
        text = (dev / "terraform.tfvars").read_text()
        for name, value in values.items():
            # HCL takes JSON for values.
            text = re.sub(rf"^{name}\s*=.*?(?=^\w|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
            text += f"\n{name} = {json.dumps(value)}\n"
        (dev / "terraform.tfvars").write_text(text)

    def terraform(self) -> Terraform:
        """Terraform as the deployment runs it."""
        return Terraform(self.tree, "dev", data_dir=self.data, plugin_dir=self.plugins)

    def state(self) -> "State":
        """What Terraform believes to stand."""
        file = self.root / "dev.tfstate"
        return State(json.loads(file.read_text()) if file.exists() else {})

    def settings(self) -> Settings:
        """Settings of whoever works on the environment from outside."""
        return read_settings({**self.state().outputs["settings"], "RECSYS_HOME": str(self.root / "outside")})


@dataclass(frozen=True)
class State:
    """A Terraform state file (format version 4)."""

    content: Mapping[str, Any]

    @property
    def instances(self) -> dict[str, Mapping[str, Any]]:
        """Attributes of managed resources by address."""
        found = {}
        for resource in self.content.get("resources", ()):
            if resource["mode"] != "managed":
                continue
            for instance in resource["instances"]:
                place = f"{resource['module']}." if "module" in resource else ""
                key = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
                found[f"{place}{resource['type']}.{resource['name']}{key}"] = instance["attributes"]
        return found

    @property
    def outputs(self) -> dict[str, Any]:
        """Values of outputs."""
        return {name: one["value"] for name, one in self.content.get("outputs", {}).items()}

    def by_type(self) -> dict[str, int]:
        """How many resources of each type."""
        kinds = Counter(
            resource["type"]
            for resource in self.content.get("resources", ())
            if resource["mode"] == "managed"
            for _ in resource["instances"]
        )
        return dict(sorted(kinds.items()))

    def one(self, suffix: str) -> Mapping[str, Any]:
        """Attributes of the one resource whose address ends so."""
        found = [attributes for address, attributes in self.instances.items() if address.endswith(suffix)]
        assert len(found) == 1, f"{len(found)} resources {suffix}"
        return found[0]


@contextmanager
def cloud(root: Path, plugins: Path, journal: Journal) -> Iterator[Stage]:
    """A cloud that runs until the end, and variables of this process that point to it."""
    port = _free_port()
    endpoint = f"http://127.0.0.1:{port}"
    variables = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
    gone = [name for name in os.environ if name.startswith(("AWS_", "TF_", "RECSYS_"))]
    before = dict(os.environ)
    with (root / "cloud.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.aws.cloud", str(port), REGION, str(root / "cloud")],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        _wait(f"{endpoint}/moto-api/", process, root / "cloud.log")
        for name in gone:
            del os.environ[name]
        os.environ.update(variables)
        with mock.patch.object(botocore.config, "Config", _patient):
            yield Stage(root, endpoint, plugins, journal)
    finally:
        os.environ.clear()
        os.environ.update(before)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _patient(**given: Any) -> Config:
    """A client's configuration without its short limit on replies: here a busy machine answers, and not AWS."""
    return Config(**{**given, "read_timeout": PATIENCE_S})


def ask(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: Any = None, timeout_s: float = 60
) -> HttpAnswer:
    """One request over HTTP; ``body`` is bytes, or JSON of anything else."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return HttpAnswer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return HttpAnswer(error.code, error.read())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the cloud did not answer: {log.read_text()}")
