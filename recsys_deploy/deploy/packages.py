"""The zips of a deployment: made now, or made before and verified; and what Terraform is told of them.

Put here only what ties ``recsys_deploy.packaging`` to a deployment. Keep how zips are made there.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.packaging.archive import as_lambda_says, file_checksum
from recsys_deploy.packaging.build import VARIABLES, package
from recsys_deploy.packaging.functions import FUNCTIONS

_NONE: Final[Mapping[str, str]] = {"path": "none.zip", "hash": f"{'A' * 43}="}

NONE_NEEDED: Final[Mapping[str, Any]] = {
    "packages": dict.fromkeys(FUNCTIONS, _NONE),
    "feature_package": {**_NONE, "entry": "none", "python_modules": []},
}
"""For a destroy, which reads no package but is asked for the variables all the same."""


def package_variables(folder: Path, stack: Path, *, build: bool) -> dict[str, Any]:
    """Terraform's variables about packages, as ``recsys package`` writes them, with paths that hold from ``stack``.

    Args:
        folder: of the zips.
        stack: where Terraform runs. Zips in the same checkout are named relative to it, so that plans are the same on
            every machine.
        build: make them now; else they must be there, whole.

    Raises:
        PackagingError: they cannot be made.
        DeployError: they are missing or damaged.
    """
    if build:
        package(folder)
    file = folder / VARIABLES
    try:
        variables: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DeployError(
            f"{file} cannot be read ({error}); make all packages with `recsys package --out {folder}`"
        ) from error
    return {name: _placed(value, folder.resolve(), stack.resolve()) for name, value in variables.items()}


def _placed(value: Any, folder: Path, stack: Path) -> Any:
    """``value`` with every zip in it verified, and its path as Terraform finds it."""
    if not isinstance(value, dict):
        return value
    if not {"path", "hash"} <= value.keys():
        return {name: _placed(one, folder, stack) for name, one in value.items()}
    zipped = folder / Path(value["path"]).name
    try:
        found = as_lambda_says(file_checksum(zipped))
    except OSError as error:
        raise DeployError(f"{zipped} cannot be read ({error}); make it with `recsys package --out {folder}`") from error
    if found != value["hash"]:
        raise DeployError(
            f"{zipped} is not what {VARIABLES} describes; make it anew with `recsys package --out {folder}`"
        )
    placed = {"path": _from_stack(zipped, stack)}
    if "entry" in value:
        placed["entry"] = _from_stack(folder / Path(value["entry"]).name, stack)
    return {**value, **placed}


def _from_stack(file: Path, stack: Path) -> str:
    return (Path(os.path.relpath(file, stack)) if file.is_relative_to(stack.parents[1]) else file).as_posix()
