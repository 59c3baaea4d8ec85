"""Files of a package: only what runs, in the place where it is imported from."""

from pathlib import Path

import pytest

from recsys_deploy.packaging.contents import code_files, library_files
from recsys_deploy.packaging.functions import FunctionSpec, PackagingError


def spec(*services: str) -> FunctionSpec:
    return FunctionSpec("f", "lambda_api.f.handler", (), services)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_only_what_runs_is_taken_of_a_library(tmp_path: Path) -> None:
    kept = ("app/__init__.py", "app/core.so", "app/testing.py")
    kept += ("app-1.0.dist-info/METADATA", "app-1.0.dist-info/licenses/LICENSE")
    left = ("app/tests/test_it.py", "app/__pycache__/x.cpython-313.pyc", "app/core.pyi", "bin/app", ".lock")
    left += tuple(f"app-1.0.dist-info/{name}" for name in ("INSTALLER", "RECORD", "REQUESTED", "WHEEL"))
    write(tmp_path, *kept, *left)
    assert {name for name, _ in library_files(tmp_path, spec())} == set(kept)


def test_the_sdk_describes_only_the_services_that_are_called(tmp_path: Path) -> None:
    write(tmp_path, *(f"botocore/data/{name}" for name in ("endpoints.json", "s3/1/a.json", "s3control/1/a.json")))
    taken = {name for name, _ in library_files(tmp_path, spec("s3"))}
    assert taken == {"botocore/data/endpoints.json", "botocore/data/s3/1/a.json"}
    with pytest.raises(PackagingError, match="describes no service 'dynamo'"):
        list(library_files(tmp_path, spec("dynamo")))


def test_what_an_editor_or_an_interpreter_leaves_behind_is_not_code(tmp_path: Path) -> None:
    kept = ("__init__.py", "handlers/api.py", "handlers/routes.json")
    left = ("handlers/api.py~", "handlers/.api.py.swp", "__pycache__/a.cpython-313.pyc", "handlers/notes.txt")
    elsewhere = ("local_server/server.py", "handlers/inference_server.py")
    for name in kept + left + elsewhere:
        path = tmp_path / "lambda_api" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert set(code_files(tmp_path)) == {f"lambda_api/{name}" for name in kept}
    with pytest.raises(PackagingError, match="from a checkout"):
        code_files(tmp_path / "elsewhere")
