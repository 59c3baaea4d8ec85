"""The files of a package: this project's serving code, and the installed libraries without what never runs.

Licences and metadata stay: the first must travel with the code, the second is read at run time.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from recsys_deploy.packaging.functions import ONLY_ELSEWHERE, FunctionSpec, PackagingError

CODE = "lambda_api"
CODE_SUFFIXES = frozenset({".py", ".json"})

SDK_DATA = "botocore/data/"
NEVER_RUN = frozenset({"tests", "__pycache__"})
UNUSED = (
    "numpy/distutils/",
    "numpy/f2py/",
    "onnxruntime/quantization/",
    "onnxruntime/tools/",
    "onnxruntime/transformers/",
)
"""Development tools of libraries, which serving never imports: 15 of the API's 150 MB."""

UNUSED_SUFFIXES = frozenset({".pyi", ".pyc"})
RECORDS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json", "uv_cache.json"})


def code_files(root: Path) -> dict[str, bytes]:
    """The serving code of the checkout at ``root``. Raises `PackagingError` where there is none."""
    folder = root / CODE
    if not folder.is_dir():
        raise PackagingError(f"{folder} is missing", remedy="run `recsys package` from a checkout of this project")
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in CODE_SUFFIXES and path.is_file()
    }
    return {name: content for name, content in files.items() if not name.startswith(ONLY_ELSEWHERE)}


def library_files(folder: Path, spec: FunctionSpec) -> Iterator[tuple[str, bytes]]:
    """Files of the libraries installed in ``folder``; of the AWS SDK's data only those of ``spec.services``.

    Raises:
        PackagingError: the AWS SDK does not describe one of the services.
    """
    kept = tuple(f"{SDK_DATA}{service}/" for service in spec.services)
    for service in spec.services:
        if not (folder / SDK_DATA / service).is_dir():
            raise PackagingError(
                f"{spec.name}: the pinned botocore describes no service {service!r}",
                remedy="correct the services in packaging/functions.py",
            )
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or not _runs(name):
            continue
        if name.startswith(SDK_DATA) and name.count("/") > 2 and not name.startswith(kept):
            continue
        yield name, path.read_bytes()


def _runs(name: str) -> bool:
    path = PurePosixPath(name)
    # ``bin`` holds launchers with the path of this machine's interpreter; a name with a dot is uv's lock file.
    if path.parts[0] == "bin" or path.parts[0].startswith("."):
        return False
    if name.startswith(UNUSED) or NEVER_RUN & set(path.parts[:-1]) or path.suffix in UNUSED_SUFFIXES:
        return False
    return not (path.parts[0].endswith(".dist-info") and len(path.parts) == 2 and path.name in RECORDS)
