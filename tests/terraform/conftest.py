"""Terraform for these tests, set up once per session; without it they are skipped with a warning."""

import json
import os
import shutil
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pytest
from filelock import FileLock

from tests.terraform.mocked import KEY, environment_test, with_everything
from tests.terraform.runs import (
    APPLIED,
    ENVIRONMENTS,
    SOURCE,
    TESTED,
    Messages,
    State,
    Terraform,
    copy_tree,
    failures,
    find_plugins,
    read_state,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs Terraform is slow: loading the provider's schema takes most of a minute."""
    for item in items:
        if not {"terraform", "messages", "environments"}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform on a copy of the tree; tests that need it are skipped, loudly, where it or its provider is missing."""
    binary, plugins = shutil.which("terraform"), find_plugins()
    if binary is None or plugins is None:
        missing = "terraform is not on the path" if binary is None else "the AWS provider was not found"
        warnings.warn(
            f"TERRAFORM IS NOT TESTED: {missing}. Install Terraform 1.11, and set TF_PLUGIN_DIR to a folder that holds "
            "registry.terraform.io/hashicorp/aws (terraform providers mirror <folder> makes one).",
            stacklevel=1,
        )
        pytest.skip(f"{missing}; see the warning")
    copy = tmp_path_factory.mktemp("terraform")
    copy_tree(copy)
    for name in ENVIRONMENTS:
        values = (SOURCE / "environments" / name / "terraform.tfvars").read_text()
        values = with_everything(values) if name == "prod" else values
        test = environment_test(values, KEY if name == "dev" else "", apply=name in APPLIED)
        (copy / "terraform" / "tests" / f"environment-{name}.tftest.hcl").write_text(test)
    made = Terraform(binary, plugins, copy)
    made.init("")
    return made


@pytest.fixture(scope="session")
def messages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Messages]:
    """Messages of the tests of every module, of the stack, and of planned environments, by file.

    One process runs them all: loading the provider's schema takes longer than the tests.
    """

    def make() -> dict[str, Messages]:
        terraform: Terraform = request.getfixturevalue("terraform")
        planned = [f"environment-{name}" for name in ENVIRONMENTS if name not in APPLIED]
        return _by_file(terraform.test("", *(f"-filter=tests/{name}.tftest.hcl" for name in (*TESTED, *planned))))

    found: Mapping[str, Messages] = made_once("messages", tmp_path_factory, make)
    return defaultdict(list, found)


@pytest.fixture(scope="session")
def environments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, State]:
    """State of each environment of `APPLIED`, with its own values; dev, which has the page, with a key for it.

    A second process, because one that prints states prints the provider's schema for every run.
    """

    def make() -> dict[str, Any]:
        terraform: Terraform = request.getfixturevalue("terraform")
        files = {name: f"environment-{name}.tftest.hcl" for name in APPLIED}
        said = _by_file(terraform.test("", "-verbose", *(f"-filter=tests/{file}" for file in files.values())))
        for one in said.values():
            assert not failures(one), failures(one)
        return {name: asdict(read_state(said[file])) for name, file in files.items()}

    return {name: State(**one) for name, one in made_once("environments", tmp_path_factory, make).items()}


def made_once(name: str, tmp_path_factory: pytest.TempPathFactory, make: Callable[[], Any]) -> Any:
    """What ``make`` returns, as JSON: it runs in one of pytest-xdist's workers, and the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    # The folder of a worker lies in that of the whole run.
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    file = folder / f"terraform-{name}.json"
    with FileLock(f"{file}.lock"):
        if not file.is_file():
            file.write_text(json.dumps(make()))
    return json.loads(file.read_text())


def _by_file(messages: Messages) -> dict[str, Messages]:
    found: dict[str, Messages] = defaultdict(list)
    for message in messages:
        found[message.get("@testfile", "").removeprefix("tests/")].append(message)
    assert not failures(found[""]), failures(found[""])
    return found


@pytest.fixture(params=APPLIED)
def environment(request: pytest.FixtureRequest, environments: Mapping[str, State]) -> tuple[str, State]:
    """Name and state of each environment of `APPLIED`."""
    name: str = request.param
    return name, environments[name]
