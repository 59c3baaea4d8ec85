"""Wheels for another machine: which are needed there, and fetching them.

Put here how pinned requirements become wheel files. Keep what is taken out of them in ``contents``.

pip fetches, one wheel per name and exactly the pinned version; it resolves nothing, because it would judge markers such
as ``python_version < "3.12"`` by the Python it runs on. So a package does not depend on the machine it was made on.
"""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from recsys_deploy.packaging.functions import PackagingError
from recsys_deploy.packaging.targets import Target

FETCH_WITHIN_S = 900


@dataclass(frozen=True, slots=True)
class Wheel:
    """A fetched wheel and what it says it needs."""

    file: Path
    requires: tuple[Requirement, ...]

    @classmethod
    def read(cls, file: Path) -> "Wheel":
        """Read the metadata in ``file``. Raises `PackagingError` for one that is no wheel."""
        try:
            with zipfile.ZipFile(file) as archive:
                (name,) = [n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)]
                metadata = HeaderParser().parsestr(archive.read(name).decode())
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise PackagingError(f"{file.name} is not a readable wheel ({error}); fetch it anew") from error
        return cls(file, tuple(Requirement(text) for text in metadata.get_all("Requires-Dist") or ()))


def read_pins(constraints: Path) -> dict[str, str]:
    """Normalised name -> version of every ``name==version`` line.

    Raises:
        PackagingError: there is no such file, or a line is something else.
    """
    if not constraints.is_file():
        raise PackagingError(f"{constraints} is missing: it pins what goes into packages; `make constraints` writes it")
    pins: dict[str, str] = {}
    for line in constraints.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, equals, version = text.partition("==")
        if not equals:
            raise PackagingError(f"{constraints}: {text!r} is not a pin of the form name==version")
        pins[canonicalize_name(name.strip())] = version.strip()
    return pins


def needed(roots: Iterable[str], wheels: Mapping[str, Wheel], target: Target) -> tuple[set[str], set[str]]:
    """What ``roots`` need on ``target``, themselves included: names among ``wheels``, and names that are not.

    The second set may be incomplete, for what a missing wheel needs is not known.
    """
    environment = target.markers()
    found: set[str] = set()
    missing: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [pair for root in roots for pair in _name_and_extras(Requirement(root))]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name not in wheels:
            missing.add(name)
            continue
        found.add(name)
        for requirement in wheels[name].requires:
            if requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra}):
                waiting += _name_and_extras(requirement)
    return found, missing


def fetch(roots: Sequence[str], pins: Mapping[str, str], target: Target, folder: Path) -> dict[str, Wheel]:
    """Fetch the wheels of ``roots`` and of all they need into ``folder``; by normalised name.

    Raises:
        PackagingError: a name is not pinned, the index has no such wheel for ``target``, or pip failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheels: dict[str, Wheel] = {}
    while missing := needed(roots, wheels, target)[1]:
        unpinned = sorted(missing - set(pins))
        if unpinned:
            raise PackagingError(
                f"no version of {', '.join(unpinned)} is pinned; `make constraints` pins what is needed"
            )
        _download(sorted(f"{name}=={pins[name]}" for name in missing), target, folder)
        for file in folder.glob("*.whl"):
            name = canonicalize_name(parse_wheel_filename(file.name)[0])
            if name not in wheels:
                wheels[name] = _read(file)
        if absent := sorted(missing - set(wheels)):
            raise PackagingError(f"pip fetched no wheel of {', '.join(absent)}; look at its configuration")
    return wheels


def _name_and_extras(requirement: Requirement) -> list[tuple[str, str]]:
    name = canonicalize_name(requirement.name)
    return [(name, ""), *((name, extra) for extra in requirement.extras)]


def _read(file: Path) -> Wheel:
    try:
        return Wheel.read(file)
    except InvalidRequirement as error:
        raise PackagingError(f"{file.name} states a requirement that cannot be read: {error}") from error


def _download(requirements: Sequence[str], target: Target, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", target.python]
    command += [part for tag in target.wheel_platforms for part in ("--platform", tag)]
    command += ["--dest", str(folder), *requirements]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise PackagingError(f"pip fetched nothing within {FETCH_WITHIN_S} s; is the package index up?") from error
    if finished.returncode != 0:
        raise PackagingError(_explain(finished.stderr, target))


def _explain(stderr: str, target: Target) -> str:
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip, which fetches the wheels: run `{sys.executable} -m ensurepip`"
    if "Retrying (" in stderr:
        return "the package index cannot be reached: look at the network and at pip's settings (PIP_INDEX_URL)"
    refused = re.search(r"No matching distribution found for (\S+)", stderr)
    if refused:
        return (
            f"the package index has no wheel of {refused[1]} for {target}: point pip (PIP_INDEX_URL, PIP_FIND_LINKS) "
            "at one that has, or choose another --platform"
        )
    lines = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return f"pip could not fetch wheels for {target}: {lines[-1] if lines else stderr.strip()[-500:]}"
