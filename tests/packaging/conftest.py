"""Packages for this machine, made once."""

import platform
import sys
import zipfile
from pathlib import Path

import pytest

from recsys_deploy.packaging.build import Package, package
from recsys_deploy.packaging.targets import Platform, Target

HERE = Target(
    {"x86_64": Platform.LINUX_X86_64, "aarch64": Platform.LINUX_ARM64}[platform.machine()],
    f"{sys.version_info.major}.{sys.version_info.minor}",
)
"""This machine and Python."""


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Package, Path]]:
    """Every function's manifest and unzipped package, for this machine."""
    out = tmp_path_factory.mktemp("lambda")
    made = {}
    for found in package(out, HERE):
        folder = out / found.function
        with zipfile.ZipFile(out / found.zip) as archive:
            archive.extractall(folder)
        made[found.function] = (found, folder)
    return made
