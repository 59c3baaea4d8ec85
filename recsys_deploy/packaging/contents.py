"""The files of a package: this project's code that a function runs, and libraries without what never runs.

Licences and metadata stay: the first must travel with the code, the second is read at run time.
"""

import re
from collections.abc import Iterator, Sequence
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
    "pyarrow/_flight",
    "pyarrow/_pyarrow_cpp_tests",
    "pyarrow/include/",
    "pyarrow/libarrow_flight",
    "pyarrow/src/",
)
"""Development tools and protocols that no function imports: 15 of the API's 150 MB, 35 of Arrow's 138."""

ARROW_COPIES = re.compile(r"pyarrow/lib\w+\.so(\.\d+\.\d+\.\d+)?")
"""Arrow's libraries under names for compilers: the same bytes as ``lib*.so.<version>``, which is what is loaded."""

UNUSED_SUFFIXES = frozenset({".pyi", ".pyc", ".pxd", ".pxi", ".pyx"})
RECORDS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json", "uv_cache.json"})


def code_files(root: Path, also: Sequence[str] = ()) -> dict[str, bytes]:
    """The serving code of the checkout at ``root``, and the modules and packages ``also``.

    Raises:
        PackagingError: one of them is missing.
    """
    files: dict[str, bytes] = {}
    for name in (CODE, *also):
        given = root / name
        if not given.exists():
            raise PackagingError(f"{given} is missing", remedy="run `recsys package` from a checkout of this project")
        for path in given.rglob("*") if given.is_dir() else (given,):
            if path.suffix in CODE_SUFFIXES and path.is_file():
                files[path.relative_to(root).as_posix()] = path.read_bytes()
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
    if (
        name.startswith(UNUSED)
        or ARROW_COPIES.fullmatch(name)
        or NEVER_RUN & set(path.parts[:-1])
        or path.suffix in UNUSED_SUFFIXES
    ):
        return False
    return not (path.parts[0].endswith(".dist-info") and len(path.parts) == 2 and path.name in RECORDS)
