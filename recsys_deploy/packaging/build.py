"""Builds ``<function>.zip`` with its manifest ``<function>.json``, and the Terraform variables that name them."""

import json
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lambda_api.atomic_files import write_text
from recsys_assets.code_revision import git_revision
from recsys_deploy.packaging.archive import as_lambda_says, content_checksum, file_checksum, write_zip
from recsys_deploy.packaging.bytecode import bytecode, find_interpreter
from recsys_deploy.packaging.contents import code_files, library_files
from recsys_deploy.packaging.features import package_features
from recsys_deploy.packaging.functions import FUNCTIONS, FunctionSpec, PackagingError, spec_of
from recsys_deploy.packaging.libraries import install, read_pins
from recsys_deploy.packaging.targets import Target

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

TERRAFORM_FOLDER = "terraform/stack"
"""Terraform runs here. Paths of packages are relative to this folder, so that a plan is the same on every machine."""

VARIABLES = "packages.tfvars.json"

UNZIPPED_LIMIT = 250 * 1024 * 1024
"""Lambda's limit for code and layers together ("Lambda quotas", AWS Lambda Developer Guide)."""


@dataclass(frozen=True, slots=True)
class Package:
    """The manifest beside a zip.

    Attributes:
        function: name of the function.
        handler: Lambda's ``Handler``.
        zip: file name, beside the manifest.
        sha256: of the zip, hexadecimal.
        source_code_hash: the same in base64.
        content_sha256: of names and contents alone; equal wherever the package is made from the same input.
        zipped_bytes, unzipped_bytes: sizes.
        files: number of files.
        platform: ``linux-arm64`` or ``linux-x86_64``.
        python: such as ``3.13``.
        git_revision: of the checkout, ``-dirty`` with uncommitted changes. It is not in the zip, whose bytes it would
            change.
        code_sha256: content checksum of this project's code alone.
        libraries: name -> version of every library in the zip.
        bytecode: whether the zip has compiled files; without an interpreter of ``python`` here it has none, and cold
            starts take twice as long.
        zlib: version that compressed it.
    """

    function: str
    handler: str
    zip: str
    sha256: str
    source_code_hash: str
    content_sha256: str
    zipped_bytes: int
    unzipped_bytes: int
    files: int
    platform: str
    python: str
    git_revision: str
    code_sha256: str
    libraries: Mapping[str, str]
    bytecode: bool
    zlib: str


def package(
    out: Path,
    target: Target | None = None,
    functions: Sequence[str] = tuple(FUNCTIONS),
    root: Path = ROOT,
) -> list[Package]:
    """Make ``out/<function>.zip`` and its manifest for each of ``functions``.

    When these are all functions, the Glue job's code (``features``) is packaged too, and ``out/packages.tfvars.json``
    holds Terraform's variables ``packages`` and ``feature_package``.

    Args:
        out: folder, made if need be.
        target: platform to run on; by default that of the deployed functions.
        functions: names of `FUNCTIONS`.
        root: checkout the code and ``constraints.txt`` are taken from.

    Raises:
        PackagingError: a package cannot be made; earlier packages stay.
    """
    target = target or Target()
    specs = [spec_of(name) for name in dict.fromkeys(functions)]
    constraints = root / "constraints.txt"
    made = [_package(spec, code_files(root, spec.code), constraints, target, out) for spec in specs]
    if {spec.name for spec in specs} == set(FUNCTIONS):
        features, stack = package_features(out, root, read_pins(constraints)), root / TERRAFORM_FOLDER
        variables = {
            "packages": {
                found.function: {"path": path_from_stack(out / found.zip, stack), "hash": found.source_code_hash}
                for found in made
            },
            "feature_package": {
                "path": path_from_stack(features.zip, stack),
                "entry": path_from_stack(features.entry, stack),
                "hash": features.hash,
                "python_modules": list(features.python_modules),
            },
        }
        _write_json(variables, out / VARIABLES)
    return made


def path_from_stack(file: Path, stack: Path) -> str:
    """Path of ``file`` for Terraform, which runs in ``stack``: relative to it if both are in the same checkout."""
    file, stack = file.resolve(), stack.resolve()
    return (Path(os.path.relpath(file, stack)) if file.is_relative_to(stack.parents[1]) else file).as_posix()


def _package(spec: FunctionSpec, code: Mapping[str, bytes], constraints: Path, target: Target, out: Path) -> Package:
    interpreter = find_interpreter(target.python)
    with tempfile.TemporaryDirectory(prefix="recsys-package-") as folder:
        installed, staged = Path(folder) / "installed", Path(folder) / "staged"
        libraries = install(spec.requirements, constraints, target, installed)
        files = {**dict(library_files(installed, spec)), **code}
        if interpreter is not None:
            staged.mkdir()
            files |= bytecode(files, interpreter, staged)
    unzipped = sum(map(len, files.values()))
    if unzipped > UNZIPPED_LIMIT:
        raise PackagingError(
            f"{spec.name}: {unzipped / 1e6:.0f} MB unzipped, but Lambda allows {UNZIPPED_LIMIT / 1e6:.0f} MB",
            remedy="require less in packaging/functions.py, or deploy the function as an image",
        )
    file = out / f"{spec.name}.zip"
    write_zip(files, file)
    checksum = file_checksum(file)
    made = Package(
        function=spec.name,
        handler=spec.handler,
        zip=file.name,
        sha256=checksum.hex(),
        source_code_hash=as_lambda_says(checksum),
        content_sha256=content_checksum(files),
        zipped_bytes=file.stat().st_size,
        unzipped_bytes=unzipped,
        files=len(files),
        platform=str(target.platform),
        python=target.python,
        git_revision=git_revision(),
        code_sha256=content_checksum(code),
        libraries=libraries,
        bytecode=interpreter is not None,
        zlib=zlib.ZLIB_RUNTIME_VERSION,
    )
    _write_json(asdict(made), out / f"{spec.name}.json")
    return made


def _write_json(content: Mapping[str, Any], target: Path) -> None:
    write_text(target, json.dumps(content, indent=2, sort_keys=True) + "\n")
