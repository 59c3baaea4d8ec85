"""The pinned libraries of a package, installed for another platform by uv.

uv resolves markers such as ``python_version < "3.12"`` for the target and not for this machine, takes wheels only, and
installs nothing that ``constraints.txt`` does not pin.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PathDistribution
from pathlib import Path

from packaging.utils import canonicalize_name

from recsys_deploy.packaging.functions import PackagingError
from recsys_deploy.packaging.targets import Target

INSTALL_WITHIN_S = 900


def read_pins(constraints: Path) -> dict[str, str]:
    """Normalised name -> version, from every ``name==version`` line.

    Raises:
        PackagingError: there is no such file, or a line has another form.
    """
    if not constraints.is_file():
        raise PackagingError(f"{constraints} with the pins is missing", remedy="run make constraints")
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


def install(requirements: Sequence[str], constraints: Path, target: Target, folder: Path) -> dict[str, str]:
    """Install ``requirements`` and everything they need into ``folder``, at the pinned versions.

    Returns:
        Normalised name -> version of every installed library.

    Raises:
        PackagingError: a library is not pinned, no wheel exists for ``target``, or the index cannot be reached.
    """
    pins = read_pins(constraints)
    import uv

    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-progress", "--target", str(folder)]
    command += ["--python-platform", target.uv_platform, "--python-version", target.python]
    command += ["--only-binary", ":all:", "--no-compile-bytecode"]
    command += ["--no-index"] if os.environ.get("PIP_NO_INDEX") else []
    command += ["--constraints", str(constraints), *requirements]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_WITHIN_S, env=_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise PackagingError(
            f"uv installed nothing within {INSTALL_WITHIN_S} s", remedy="check that the package index answers"
        ) from error
    if done.returncode != 0:
        raise _failure(done.stderr, target)
    return _check(folder, pins)


def _environment() -> dict[str, str]:
    """This process's variables, with pip's index settings under uv's names unless uv has its own."""
    names = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS"}
    translated = {new: os.environ[old] for old, new in names.items() if os.environ.get(old)}
    return {**translated, **os.environ}


def _check(folder: Path, pins: dict[str, str]) -> dict[str, str]:
    """Installed versions; refuses a library without a pin and two libraries that install the same file."""
    found: dict[str, str] = {}
    owner: dict[str, str] = {}
    for info in sorted(folder.glob("*.dist-info")):
        distribution = PathDistribution(info)
        name = canonicalize_name(distribution.metadata["Name"])
        if name not in pins:
            raise PackagingError(f"no version of {name} is pinned", remedy="run make constraints, which pins it")
        found[name] = distribution.version
        for file in map(str, distribution.files or ()):
            if (other := owner.setdefault(file, name)) != name:
                raise PackagingError(f"{other} and {name} both install {file}", remedy="require only one of them")
    return found


def _failure(stderr: str, target: Target) -> PackagingError:
    said = " ".join(re.sub(r"[│╰├─▶×╷]", " ", stderr).split())
    if re.search(r"error sending request|[Ff]ailed to fetch|Connection refused|dns error|timed out", said):
        return PackagingError(
            f"the package index cannot be reached: {said[:300]}",
            remedy="check the network and the index settings (UV_DEFAULT_INDEX or PIP_INDEX_URL)",
        )
    return PackagingError(
        f"uv found no wheels for {target}: {said[:500]}",
        remedy="name an index that has them (UV_DEFAULT_INDEX, UV_FIND_LINKS), or choose another --platform",
    )
