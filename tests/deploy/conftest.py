"""One simulated AWS for each module; a test gets a fresh world in it, unless its module shares one."""

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.world import World, simulated_aws, world_at


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    """A simulated AWS, for one module: its address is in the environment, which the tests of other folders share."""
    with simulated_aws():
        yield


@pytest.fixture(scope="session")
def terraform_binary() -> None:
    """Skips, loudly, where there is no terraform."""
    if shutil.which("terraform") is None:
        warnings.warn("DEPLOYING IS NOT TESTED WITH TERRAFORM: it is not on the path; install 1.11", stacklevel=1)
        pytest.skip("terraform is not on the path; see the warning")


@pytest.fixture(scope="module")
def shared_world(aws: None, terraform_binary: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A `world` for all tests of a module, which must not use `world` beside it: that one begins with an empty AWS."""
    with world_at(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def world(aws: None, terraform_binary: None, tmp_path: Path) -> Iterator[World]:
    """A checkout, a home with a shop and no champion, and an AWS nothing was deployed into."""
    with world_at(tmp_path) as made:
        yield made
