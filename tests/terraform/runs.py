"""Terraform on a copy of the tree with a mocked provider: its messages and the resulting state."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "terraform"
MODULES = sorted(path.name for path in (SOURCE / "modules").iterdir() if path.is_dir())
TESTED = [*MODULES, "stack"]
ENVIRONMENTS = ("dev", "staging", "prod")

APPLIED = ("dev", "prod")
"""The smallest and the largest environment. The other one is planned, which is cheaper and finds wrong values too."""

Messages = list[dict[str, Any]]
"""Lines of ``terraform test -json``."""

PROVIDER = Path("registry.terraform.io/hashicorp/aws")
"""Within a folder of plugins, as Terraform lays them out."""

NEEDED = ("lambda_api/handlers/routes.json", "recsys_deploy/training_machine", "recsys_deploy/rollout")
"""Files and folders of the repository that the configuration reads."""


def find_plugins() -> Path | None:
    """The folder of plugins that holds the AWS provider: ``TF_PLUGIN_DIR``, or a place where such folders are put."""
    given = os.environ.get("TF_PLUGIN_DIR")
    usual = [
        Path.home() / ".terraform.d" / "plugins",
        Path.home() / ".local" / "share" / "terraform" / "plugins",
        Path("/usr/local/share/terraform/plugins"),
        Path("/usr/share/terraform/plugins"),
        *sorted(Path("/opt").glob("*")),
    ]
    places = [Path(given)] if given else usual
    return next((place for place in places if (place / PROVIDER).is_dir()), None)


@dataclass(frozen=True, slots=True)
class Terraform:
    """A terraform binary, plugins, and a copy of the repository's part that it may write into."""

    binary: str
    plugins: Path
    copy: Path

    def run(self, folder: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run in ``folder`` of the copied tree. Raises ``AssertionError`` with what it said unless it succeeds."""
        command = [self.binary, *arguments]
        # Without this machine's configuration: a missing file is warned about in every output.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        # The provider's schema is half a gigabyte of short-lived objects: collecting them less often saves a third of
        # the time.
        environment |= {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "GOGC": "400"}
        done = subprocess.run(
            command, cwd=self.copy / "terraform" / folder, env=environment, capture_output=True, text=True, timeout=900
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def formatted(self) -> subprocess.CompletedProcess[str]:
        """``terraform fmt -check`` of the checkout itself, which writes nothing."""
        command = [self.binary, f"-chdir={SOURCE}", "fmt", "-check", "-recursive", "-diff", "-no-color"]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    def init(self, folder: str) -> None:
        """Install modules and the provider of ``folder``, from the plugins alone."""
        self.run(folder, "init", "-backend=false", "-input=false", "-no-color", f"-plugin-dir={self.plugins}")

    def test(self, folder: str, *arguments: str) -> Messages:
        """``terraform test`` there: every message it printed. Failing tests are messages, too."""
        done = self.run(folder, "test", "-json", *arguments, check=False)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def copy_tree(target: Path) -> None:
    """Copy what Terraform reads, so that it leaves nothing in the checkout."""
    shutil.copytree(SOURCE, target / "terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    for name in NEEDED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name)
        else:
            shutil.copyfile(ROOT / name, target / name)


@dataclass(frozen=True, slots=True)
class State:
    """What an apply left: managed resources by address, and outputs."""

    resources: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Any]

    def of_type(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """Attributes of resources of this type by address."""
        return {a: v for a, v in self.resources.items() if f".{kind}." in a or a.startswith(f"{kind}.")}

    def one(self, kind: str, **attributes: Any) -> Mapping[str, Any]:
        """The only resource of this type with these attributes."""
        found = [v for v in self.of_type(kind).values() if all(v[name] == value for name, value in attributes.items())]
        assert len(found) == 1, f"{len(found)} resources {kind} with {attributes}"
        return found[0]


def read_state(messages: Messages) -> State:
    """The state of the only run of a test file that applied, with ``-verbose``."""
    state = next(m["test_state"] for m in messages if m["type"] == "test_state")
    resources = {r["address"]: r["values"] for r in _resources(state["root_module"]) if r["mode"] == "managed"}
    return State(resources, {name: output.get("value") for name, output in state.get("outputs", {}).items()})


def failures(messages: Messages) -> list[str]:
    """What went wrong, in words."""
    return [
        f"{message['diagnostic']['summary']}: {message['diagnostic'].get('detail', '')}"
        for message in messages
        if message["type"] == "diagnostic" and message["diagnostic"]["severity"] == "error"
    ]


def _resources(module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from module.get("resources", ())
    for child in module.get("child_modules", ()):
        yield from _resources(child)
