"""What a package is built for: an architecture and a Python.

Put here which wheels run there. Keep finding them in ``wheels``.

Sources: PEP 600 (``manylinux_x_y``: runs where glibc is at least x.y), PEP 508 (environment markers). Lambda's
python3.12 and later run on Amazon Linux 2023, which has glibc 2.34.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from recsys_deploy.packaging.functions import PackagingError

OLDEST_GLIBC, NEWEST_GLIBC = 5, 34
"""Minor versions of glibc 2: of the first manylinux, and of Lambda."""


class Platform(StrEnum):
    """Named by what Lambda calls the architecture."""

    LINUX_ARM64 = "linux-arm64"
    LINUX_X86_64 = "linux-x86_64"

    @property
    def machine(self) -> str:
        """As Python and wheels call it."""
        return "aarch64" if self is Platform.LINUX_ARM64 else "x86_64"


@dataclass(frozen=True, slots=True)
class Target:
    """A platform and a minor version of CPython, such as ``3.13``."""

    platform: Platform = Platform.LINUX_ARM64
    python: str = "3.13"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.[0-9]{1,2}", self.python):
            raise PackagingError(f"--python {self.python}: write major and minor version, such as 3.13")

    def __str__(self) -> str:
        return f"{self.platform} with Python {self.python}"

    @property
    def wheel_platforms(self) -> list[str]:
        """Platform tags that run there, the newest first."""
        machine = self.platform.machine
        return [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)] + [
            f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")
        ]

    def markers(self) -> dict[str, str]:
        """The environment of PEP 508 markers there."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.platform.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }
