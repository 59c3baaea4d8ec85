"""Terraform for these tests: found once, or missing loudly."""

import shutil
import warnings
from collections.abc import Mapping

import pytest

from tests.terraform.mocked import KEY, environment_test
from tests.terraform.runs import ENVIRONMENTS, SOURCE, State, Terraform, copy_tree, failures, find_plugins, read_state


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
    return Terraform(binary, plugins, copy)


@pytest.fixture(scope="session")
def environments(terraform: Terraform) -> Mapping[str, State]:
    """State of each environment, applied with its own values; all but dev with a key for the page.

    In the folder of dev, because one process is much faster than three and the folders differ in values only
    (``test_text.py``).
    """
    folder = "environments/dev"
    for name in ENVIRONMENTS:
        values = (SOURCE / "environments" / name / "terraform.tfvars").read_text()
        test = terraform.copy / "terraform" / folder / f"{name}.tftest.hcl"
        test.write_text(environment_test(values, "" if name == "dev" else KEY))
    terraform.init(folder)
    messages = terraform.test(folder, "-verbose")
    assert not failures(messages), failures(messages)
    return {name: read_state(messages, f"{name}.tftest.hcl") for name in ENVIRONMENTS}


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest, environments: Mapping[str, State]) -> tuple[str, State]:
    """Name and state of each environment."""
    name: str = request.param
    return name, environments[name]
