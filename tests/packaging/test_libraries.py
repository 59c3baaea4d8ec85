"""Libraries of a target: chosen for the target, exactly as pinned, and clear errors where that is impossible."""

import socket
from pathlib import Path

import pytest

from recsys_deploy.packaging.functions import PackagingError
from recsys_deploy.packaging.libraries import install, read_pins
from recsys_deploy.packaging.targets import Platform, Target
from tests.packaging.wheelhouse import make_wheel, use_only

ARM = Target()
OLD_X86 = Target(Platform.LINUX_X86_64, "3.11")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only index: a folder of wheels."""
    folder = tmp_path / "house"
    folder.mkdir()
    use_only(folder, monkeypatch)
    return folder


def installed(root: Path, requirements: list[str], pins: str, target: Target = ARM) -> dict[str, str]:
    (root / "constraints.txt").write_text("\n".join(pins.split()))
    folder = root / f"{target.platform}-{target.python}"
    found = install(requirements, root / "constraints.txt", target, folder)
    assert {path.name.split("-")[0].replace("_", "-") for path in folder.glob("*.dist-info")} == set(found)
    return found


def test_markers_and_extras_are_judged_for_the_target_not_for_this_machine(house: Path, tmp_path: Path) -> None:
    marks = ["always", "old; python_version < '3.12'", "arm; platform_machine == 'aarch64'", "win; os_name == 'nt'"]
    make_wheel(house, "app", requires=[*marks, "extra_one; extra == 'more'", "other; extra == 'other'"])
    for name in ("always", "old", "arm", "win", "extra_one", "other"):
        make_wheel(house, name)
    pins = "app==1.0 always==1.0 old==1.0 arm==1.0 win==1.0 extra-one==1.0 other==1.0"
    assert set(installed(tmp_path, ["app[more]"], pins)) == {"app", "always", "arm", "extra-one"}
    assert set(installed(tmp_path, ["app"], pins, OLD_X86)) == {"app", "always", "old"}


def test_exactly_the_pins_are_installed(house: Path, tmp_path: Path) -> None:
    make_wheel(house, "app", "1.0", requires=["inner>=1"])
    make_wheel(house, "app", "2.0")
    for version in ("1.5", "1.6"):
        for machine in ("aarch64", "x86_64"):
            tag = f"cp313-cp313-manylinux_2_28_{machine}"
            make_wheel(house, "inner", version, tag=tag, files={f"inner_{machine}.so": ""})
    assert installed(tmp_path, ["app"], "app==1.0 inner==1.5") == {"app": "1.0", "inner": "1.5"}
    assert [path.name for path in tmp_path.rglob("*.so")] == ["inner_aarch64.so"]


@pytest.mark.parametrize("tag", ["cp313-cp313-manylinux_2_28_x86_64", "cp313-cp313-manylinux_2_39_aarch64"])
def test_an_index_without_wheels_for_the_platform_is_named(house: Path, tmp_path: Path, tag: str) -> None:
    """Another processor, or a newer glibc than Lambda's."""
    make_wheel(house, "numpy", "2.0", tag=tag)
    with pytest.raises(PackagingError, match=r"no wheels for linux-arm64 with Python 3\.13: .*numpy==2\.0.*UV_FIND_"):
        installed(tmp_path, ["numpy"], "numpy==2.0")


def test_an_index_that_cannot_be_reached_is_told_from_one_without_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("UV_NO_CONFIG", "1")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
        monkeypatch.setenv("UV_NO_CACHE", "1")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        with pytest.raises(PackagingError, match=r"cannot be reached: .*PIP_INDEX_URL"):
            installed(tmp_path, ["numpy"], "numpy==2.0")


def test_a_library_without_a_pin_is_refused(house: Path, tmp_path: Path) -> None:
    make_wheel(house, "app", requires=["surprise"])
    make_wheel(house, "surprise")
    with pytest.raises(PackagingError, match="no version of surprise is pinned; run make constraints"):
        installed(tmp_path, ["app"], "app==1.0")


def test_two_libraries_may_not_install_one_file(house: Path, tmp_path: Path) -> None:
    make_wheel(house, "one", files={"both.py": "a"})
    make_wheel(house, "two", files={"both.py": "b"})
    with pytest.raises(PackagingError, match=r"one and two both install both\.py"):
        installed(tmp_path, ["one", "two"], "one==1.0 two==1.0")


def test_a_wheel_cannot_write_outside(house: Path, tmp_path: Path) -> None:
    make_wheel(house, "app", files={"../../outside.py": ""})
    installed(tmp_path, ["app"], "app==1.0")
    assert not list(tmp_path.rglob("outside.py"))


def test_a_broken_wheel_is_named(house: Path, tmp_path: Path) -> None:
    (house / "app-1.0-py3-none-any.whl").write_bytes(b"not a zip")
    with pytest.raises(PackagingError, match="app"):
        installed(tmp_path, ["app"], "app==1.0")


def test_pins_are_read_by_normalised_name_and_nothing_else_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("# made\nRuamel.Yaml==1.2\naws_lambda_powertools==3.0  # why\n\n")
    assert read_pins(file) == {"ruamel-yaml": "1.2", "aws-lambda-powertools": "3.0"}
    file.write_text("numpy>=2\n")
    with pytest.raises(PackagingError, match="'numpy>=2' is not a pin"):
        read_pins(file)
    with pytest.raises(PackagingError, match="make constraints"):
        read_pins(tmp_path / "absent.txt")


@pytest.mark.parametrize("python", ["3", "3.13.1", "python3.13", "3.13; rm"])
def test_a_python_is_a_minor_version(python: str) -> None:
    with pytest.raises(PackagingError, match=r"such as 3\.13"):
        Target(Platform.LINUX_ARM64, python)
