"""The files of a package: from the code and from wheels, without what never runs.

Put here which files go in and where. Keep bytes of the zip in ``archive``.

Wheels are unpacked as PEP 427 says; nothing is installed, so there are no compiled files, no launchers, and no records
of an installation. Licences and metadata stay: the first are owed, the second is read at run time.
"""

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from recsys_deploy.packaging.functions import ONLY_ELSEWHERE, FunctionSpec, PackagingError

CODE = "lambda_api"
CODE_SUFFIXES = frozenset({".py", ".json"})
"""Kinds of files that code consists of; what an editor or an interpreter leaves beside it is none of them."""

SDK_DATA = "botocore/data/"
NEVER_RUN = frozenset({"tests", "__pycache__"})
TYPING_ONLY = frozenset({".pyi", ".pyc"})
RECORDS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json"})

Files = Mapping[str, bytes]
"""Path in the package (with ``/``) -> content."""


def code_files(root: Path) -> dict[str, bytes]:
    """What serves, from the checkout at ``root``. Raises `PackagingError` where it is not."""
    folder = root / CODE
    if not folder.is_dir():
        raise PackagingError(f"{folder} is missing: run `recsys package` from a checkout of this project")
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in CODE_SUFFIXES and path.is_file()
    }
    return {name: content for name, content in files.items() if not name.startswith(ONLY_ELSEWHERE)}


def wheel_files(wheel: Path, services: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Files of ``wheel`` that run, where they are imported from; of the AWS SDK's data only those of ``services``."""
    kept = tuple(f"{SDK_DATA}{service}/" for service in services)
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            place = None if info.is_dir() else _place(info.filename)
            if place is None or not _runs(place):
                continue
            if place.startswith(SDK_DATA) and place.count("/") > 2 and not place.startswith(kept):
                continue
            yield place, archive.read(info)


def package_files(spec: FunctionSpec, code: Files, wheels: Iterable[Path]) -> dict[str, bytes]:
    """Every file of the package.

    Raises:
        PackagingError: two sources give one file, or the AWS SDK does not describe a service.
    """
    files = dict(code)
    for wheel in wheels:
        for name, content in wheel_files(wheel, spec.services):
            if files.setdefault(name, content) != content:
                raise PackagingError(f"{wheel.name} and another wheel both bring {name}; one of them has to go")
    for service in spec.services:
        if not any(name.startswith(f"{SDK_DATA}{service}/") for name in files):
            raise PackagingError(f"{spec.name}: the pinned botocore describes no service {service!r}; see functions.py")
    return files


def _place(name: str) -> str | None:
    """Where PEP 427 puts a member of a wheel: ``purelib`` and ``platlib`` at the top, scripts and headers nowhere."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise PackagingError(f"a wheel holds the path {name!r}, which leads out of the package; do not use that wheel")
    first, _, rest = name.partition("/")
    if not first.endswith(".data"):
        return name
    scheme, _, inner = rest.partition("/")
    return inner if scheme in ("purelib", "platlib") else None


def _runs(name: str) -> bool:
    path = PurePosixPath(name)
    if NEVER_RUN & set(path.parts[:-1]) or path.suffix in TYPING_ONLY:
        return False
    return not (path.parts[0].endswith(".dist-info") and len(path.parts) == 2 and path.name in RECORDS)
