"""Terraform's variables about packages: built now, or built earlier and verified."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.packaging.archive import as_lambda_says, file_checksum
from recsys_deploy.packaging.build import VARIABLES, package, path_from_stack
from recsys_deploy.packaging.functions import FUNCTIONS

_REBUILD: Final = "build the packages again with `recsys package --out {}`"
_NONE: Final[Mapping[str, str]] = {"path": "none.zip", "hash": f"{'A' * 43}="}

NONE_NEEDED: Final[Mapping[str, Any]] = {
    "packages": dict.fromkeys(FUNCTIONS, _NONE),
    "feature_package": {**_NONE, "entry": "none", "python_modules": []},
}
"""For a destroy: Terraform requires the variables, but reads no package."""


def package_variables(folder: Path, stack: Path, *, build: bool) -> dict[str, Any]:
    """The variables that ``recsys package`` writes, with every checksum verified and paths relative to ``stack``.

    Args:
        folder: of the zips.
        stack: where Terraform runs.
        build: build the packages first; else they must exist.

    Raises:
        PackagingError: they cannot be built.
        DeployError: they are missing or damaged.
    """
    if build:
        package(folder)
    file = folder / VARIABLES
    try:
        variables: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DeployError(f"{file} cannot be read ({error})", remedy=_REBUILD.format(folder)) from error
    return {name: _placed(value, folder, stack) for name, value in variables.items()}


def _placed(value: Any, folder: Path, stack: Path) -> Any:
    """``value`` with every zip in it verified and its path relative to where Terraform runs."""
    if not isinstance(value, dict):
        return value
    if not {"path", "hash"} <= value.keys():
        return {name: _placed(one, folder, stack) for name, one in value.items()}
    zipped = folder / Path(value["path"]).name
    try:
        found = as_lambda_says(file_checksum(zipped))
    except OSError as error:
        raise DeployError(f"{zipped} cannot be read ({error})", remedy=_REBUILD.format(folder)) from error
    if found != value["hash"]:
        raise DeployError(f"{zipped} is not what {VARIABLES} describes", remedy=_REBUILD.format(folder))
    files = {name: folder / Path(value[name]).name for name in ("path", "entry") if name in value}
    return {**value, **{name: path_from_stack(file, stack) for name, file in files.items()}}
