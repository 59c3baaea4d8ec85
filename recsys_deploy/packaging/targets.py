"""Platforms that packages are built for: an architecture and a Python version.

Lambda's python3.12 and later run on Amazon Linux 2023, which has glibc 2.34; wheels up to ``manylinux_2_34`` (PEP 600)
run there.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from recsys_deploy.packaging.functions import PackagingError

GLIBC = "2_34"


class Platform(StrEnum):
    """Architectures of Lambda functions."""

    LINUX_ARM64 = "linux-arm64"
    LINUX_X86_64 = "linux-x86_64"


@dataclass(frozen=True, slots=True)
class Target:
    """A platform and a minor version of CPython, such as ``3.13``."""

    platform: Platform = Platform.LINUX_ARM64
    python: str = "3.13"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.[0-9]{1,2}", self.python):
            raise PackagingError(
                f"--python {self.python} is not a minor version", remedy="write it with two numbers, such as 3.13"
            )

    def __str__(self) -> str:
        return f"{self.platform} with Python {self.python}"

    @property
    def uv_platform(self) -> str:
        """The platform as ``uv pip install --python-platform`` names it."""
        machine = "aarch64" if self.platform is Platform.LINUX_ARM64 else "x86_64"
        return f"{machine}-manylinux_{GLIBC}"
