"""The code of the Glue job: its program, a zip of the modules that it imports, and the pins of its libraries.

Glue 5.0 has Python 3.11, Spark 3.5, pyarrow, pandas, numpy and boto3. The other libraries are pure Python; Glue
installs them when a run starts, at the versions named here. The job itself is in ``terraform/modules/glue``.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lambda_api.atomic_files import write_bytes
from recsys_deploy.packaging.archive import as_lambda_says, file_checksum, write_zip
from recsys_deploy.packaging.functions import PackagingError

PROGRAM = "recsys_assets/features/glue_features.py"
ZIP = "features.zip"
OURS = ("lambda_api", "recsys_assets")

LIBRARIES = ("atpublic", "dagster-pipes", "ibis-framework", "pyarrow-hotfix", "sqlglot", "toolz", "parsy")
"""Libraries of the program that Glue does not have, with their dependencies."""


@dataclass(frozen=True, slots=True)
class FeaturePackage:
    """Terraform's variable ``feature_package``.

    Attributes:
        zip, entry: files.
        hash: base64 SHA-256 of the zip.
        python_modules: ``name==version`` of `LIBRARIES`.
    """

    zip: Path
    entry: Path
    hash: str
    python_modules: tuple[str, ...]


def package_features(out: Path, root: Path, pins: Mapping[str, str]) -> FeaturePackage:
    """Write zip and program into ``out``; the same checkout gives the same bytes.

    Args:
        pins: name -> version, read by `recsys_deploy.packaging.libraries.read_pins`.

    Raises:
        PackagingError: the checkout lacks the program, or a library has no pin.
    """
    if missing := [name for name in LIBRARIES if name not in pins]:
        message = f"constraints.txt does not pin {', '.join(missing)}, which the Glue job needs"
        raise PackagingError(message, remedy="run make constraints")
    files = imported_files(root, PROGRAM)
    target = (out / ZIP).resolve()
    write_zip({name: content for name, content in files.items() if name != PROGRAM}, target)
    entry = target.with_name(Path(PROGRAM).name)
    write_bytes(entry, files[PROGRAM])
    modules = tuple(f"{name}=={pins[name]}" for name in LIBRARIES)
    return FeaturePackage(target, entry, as_lambda_says(file_checksum(target)), modules)


def imported_files(root: Path, program: str) -> dict[str, bytes]:
    """``program`` and all modules of this project that it imports, directly or not, with their packages."""
    found: dict[str, bytes] = {}
    waiting = [program]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = root / name
        if not path.is_file():
            raise PackagingError(f"{path} is missing", remedy="run `recsys package` from a checkout of this project")
        found[name] = path.read_bytes()
        waiting += [f"{folder}/__init__.py" for folder in map(str, Path(name).parents) if folder != "."]
        waiting += [file for module in _imports(found[name]) if (file := _file_of(root, module))]
    return found


def _imports(source: bytes) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {module for module in modules if module.split(".")[0] in OURS}


def _file_of(root: Path, module: str) -> str | None:
    stem = module.replace(".", "/")
    return next((name for name in (f"{stem}.py", f"{stem}/__init__.py") if (root / name).is_file()), None)
