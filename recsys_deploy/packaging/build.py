"""Making packages: wheels in, ``<function>.zip`` and ``<function>.json`` out, and what Terraform is told of them.

Put the order of events here. Keep each step in its module.
"""

import json
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys_assets.code_revision import git_revision
from recsys_deploy.packaging.archive import as_lambda_says, content_checksum, file_checksum, write_zip
from recsys_deploy.packaging.contents import Files, code_files, package_files
from recsys_deploy.packaging.features import package_features
from recsys_deploy.packaging.functions import FUNCTIONS, FunctionSpec, PackagingError, spec_of
from recsys_deploy.packaging.targets import Target
from recsys_deploy.packaging.wheels import Wheel, fetch, needed, read_pins

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

TERRAFORM_FOLDER = "terraform/stack"
"""Terraform runs here; paths it is told are relative to it, so that a plan is the same on every machine."""

VARIABLES = "packages.tfvars.json"

UNZIPPED_LIMIT = 250 * 1024 * 1024
"""What Lambda takes of code and layers together ("Lambda quotas", AWS Lambda Developer Guide)."""


@dataclass(frozen=True, slots=True)
class Package:
    """The manifest beside a zip.

    Attributes:
        function: its name.
        handler: as Lambda is told.
        zip: file name, beside the manifest.
        sha256: of the zip, hexadecimal.
        source_code_hash: the same as Lambda and Terraform write it.
        content_sha256: of names and contents alone; equal wherever the package is made from the same input.
        zipped_bytes: of the zip.
        unzipped_bytes: of its files.
        files: how many.
        platform: it runs on, ``linux-arm64`` or ``linux-x86_64``.
        python: it runs on, such as ``3.13``.
        git_revision: of the checkout, ``-dirty`` with uncommitted changes. Not in the zip, which would differ by it.
        code_sha256: content checksum of the code alone.
        wheels: file name -> SHA-256 of every wheel in it.
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
    wheels: Mapping[str, str]
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
        target: to run on; Lambda's by default.
        functions: names of `FUNCTIONS`.
        root: checkout the code and ``constraints.txt`` are taken from.

    Raises:
        PackagingError: see the message; what was there before stays.
    """
    target = target or Target()
    specs = [spec_of(name) for name in dict.fromkeys(functions)]
    pins = read_pins(root / "constraints.txt")
    code = code_files(root)
    with tempfile.TemporaryDirectory(prefix="recsys-wheels-") as folder:
        roots = sorted({requirement for spec in specs for requirement in spec.requirements})
        wheels = fetch(roots, pins, target, Path(folder))
        made = [_package(spec, code, wheels, target, out) for spec in specs]
    if {spec.name for spec in specs} == set(FUNCTIONS):
        features = package_features(out, root, pins)
        variables = {
            "packages": {
                found.function: {"path": _from_stack(out / found.zip, root), "hash": found.source_code_hash}
                for found in made
            },
            "feature_package": {
                "path": _from_stack(features.zip, root),
                "entry": _from_stack(features.entry, root),
                "hash": features.hash,
                "python_modules": list(features.python_modules),
            },
        }
        _write_json(variables, out / VARIABLES)
    return made


def _from_stack(file: Path, root: Path) -> str:
    """``file`` as Terraform is told of it: relative to where it runs, if it lies in the checkout."""
    file = file.resolve()
    if file.is_relative_to(root.resolve()):
        file = Path(os.path.relpath(file, root.resolve() / TERRAFORM_FOLDER))
    return file.as_posix()


def _package(spec: FunctionSpec, code: Files, wheels: Mapping[str, Wheel], target: Target, out: Path) -> Package:
    names = sorted(needed(spec.requirements, wheels, target)[0])
    used = [wheels[name].file for name in names]
    files = package_files(spec, code, used)
    unzipped = sum(map(len, files.values()))
    if unzipped > UNZIPPED_LIMIT:
        raise PackagingError(
            f"{spec.name}: {unzipped / 1e6:.0f} MB unzipped, Lambda takes {UNZIPPED_LIMIT / 1e6:.0f} MB: require less "
            "in functions.py, or deploy the function as an image"
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
        wheels={wheel.name: file_checksum(wheel).hex() for wheel in used},
        zlib=zlib.ZLIB_RUNTIME_VERSION,
    )
    _write_json(asdict(made), out / f"{spec.name}.json")
    return made


def _write_json(content: Mapping[str, Any], target: Path) -> None:
    writing = target.with_name(target.name + ".writing")
    writing.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    writing.replace(target)
