"""What goes in: what runs, where it is imported from; and what does not."""

from pathlib import Path

import pytest

from recsys_deploy.packaging.contents import code_files, package_files, wheel_files
from recsys_deploy.packaging.functions import FunctionSpec, PackagingError
from tests.packaging.wheelhouse import make_wheel

SPEC = FunctionSpec("f", "lambda_api.f.handler", (), ())


def test_only_what_runs_is_taken_from_a_wheel(tmp_path: Path) -> None:
    files = {
        "app/tests/test_it.py": "",
        "app/__pycache__/x.cpython-313.pyc": "",
        "app/core.pyi": "",
        "app/core.so": "binary",
        "app/testing.py": "kept",
        "app-1.0.dist-info/licenses/LICENSE": "kept",
        "app-1.0.dist-info/INSTALLER": "pip",
        "app-1.0.data/purelib/pure.py": "pure",
        "app-1.0.data/scripts/launch": "#!python",
        "app-1.0.data/headers/app.h": "",
    }
    assert {name for name, _ in wheel_files(make_wheel(tmp_path, "app", files=files), ())} == {
        "app.py",
        "app/core.so",
        "app/testing.py",
        "pure.py",
        "app-1.0.dist-info/METADATA",
        "app-1.0.dist-info/licenses/LICENSE",
    }


def test_the_sdk_describes_only_the_services_that_are_called(tmp_path: Path) -> None:
    data = {
        f"botocore/data/{name}": "{}" for name in ("endpoints.json", "s3/1/service.json", "s3control/1/service.json")
    }
    wheel = make_wheel(tmp_path, "botocore", files=data)
    spec = FunctionSpec("f", "h", (), ("s3",))
    taken = {name for name in package_files(spec, {}, [wheel]) if name.startswith("botocore/")}
    assert taken == {"botocore/data/endpoints.json", "botocore/data/s3/1/service.json"}
    with pytest.raises(PackagingError, match="describes no service 'dynamo'"):
        package_files(FunctionSpec("f", "h", (), ("dynamo",)), {}, [wheel])


def test_two_wheels_may_not_bring_different_files_of_one_name(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, "one", files={"same.py": "a", "both.py": "a"})
    two = make_wheel(tmp_path, "two", files={"same.py": "a", "both.py": "b"})
    with pytest.raises(PackagingError, match=r"two-1\.0.*both bring both\.py"):
        package_files(SPEC, {}, [one, two])


@pytest.mark.parametrize("name", ["../outside.py", "/etc/outside.py", "app/../../outside.py"])
def test_a_wheel_cannot_write_outside(name: str, tmp_path: Path) -> None:
    with pytest.raises(PackagingError, match="leads out of the package"):
        list(wheel_files(make_wheel(tmp_path, "app", files={name: ""}), ()))


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
