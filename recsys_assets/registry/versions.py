"""Version numbers of models: what each part means and which number comes next.

* MAJOR: the bundle schema or the serving contract differs, so serving code must change with the model.
* MINOR: another model family, other parameters or another code revision than the champion's.
* PATCH: the champion's recipe fitted to other (newer) data.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

_PATTERN = re.compile(r"v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")


class Change(Enum):
    """How a new model differs from the one it is meant to replace; see the rules above."""

    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """``vMAJOR.MINOR.PATCH``, ordered number by number (``v1.10.0`` is above ``v1.9.9``)."""

    major: int
    minor: int
    patch: int

    def __post_init__(self) -> None:
        if min(self.major, self.minor, self.patch) < 0:
            raise ValueError(f"version parts must not be negative: {(self.major, self.minor, self.patch)}")

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Inverse of ``str``. Raises ``ValueError`` for anything but ``v1.2.3`` without leading zeros."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a version; expected the form v1.2.3")
        return cls(int(match[1]), int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}"


FIRST_VERSION = Version(1, 0, 0)


def next_version(existing: Iterable[Version], change: Change, base: Version | None = None) -> Version:
    """The number for a model that differs from ``base`` by ``change``; never one of ``existing``.

    ``v1.0.0`` when there is none yet. Otherwise the changed part is one above the highest that ``existing`` has
    in the line of ``base``: with ``v1.0.0``, ``v1.0.4`` and ``v1.1.0``, a PATCH of ``v1.0.0`` is ``v1.0.5``, a MINOR is
    ``v1.2.0`` and a MAJOR ``v2.0.0``.

    Args:
        existing: every version registered so far.
        change: how the new model differs from ``base``.
        base: the champion; by default the highest of ``existing``.

    Raises:
        ValueError: ``base`` is not among ``existing``.
    """
    versions = set(existing)
    if not versions:
        if base is not None:
            raise ValueError(f"base {base} is not among the existing versions (there are none)")
        return FIRST_VERSION
    base = max(versions) if base is None else base
    if base not in versions:
        raise ValueError(f"base {base} is not among the existing versions")
    if change is Change.MAJOR:
        return Version(max(version.major for version in versions) + 1, 0, 0)
    same_major = [version for version in versions if version.major == base.major]
    if change is Change.MINOR:
        return Version(base.major, max(version.minor for version in same_major) + 1, 0)
    same_minor = [version for version in same_major if version.minor == base.minor]
    return Version(base.major, base.minor, max(version.patch for version in same_minor) + 1)
