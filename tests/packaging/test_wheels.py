"""Which wheels a target needs, fetching exactly those, and what is said when it cannot be done."""

import socket
from pathlib import Path

import pytest

from recsys_deploy.packaging.functions import PackagingError
from recsys_deploy.packaging.targets import Platform, Target
from recsys_deploy.packaging.wheels import Wheel, fetch, needed, read_pins
from tests.packaging.wheelhouse import make_wheel, pip_knows_only

ARM = Target()
OLD_X86 = Target(Platform.LINUX_X86_64, "3.11")


def test_markers_are_judged_for_the_target_not_for_the_machine_that_builds(tmp_path: Path) -> None:
    names = {"always": "", "old": "python_version < '3.12'", "arm": "platform_machine == 'aarch64'", "windows": ""}
    names["windows"] = "sys_platform == 'win32'"
    app = make_wheel(tmp_path, "app", requires=[f"{name}; {mark}" if mark else name for name, mark in names.items()])
    wheels = {name: Wheel.read(make_wheel(tmp_path, name)) for name in names} | {"app": Wheel.read(app)}
    assert needed(["app"], wheels, ARM) == ({"app", "always", "arm"}, set())
    assert needed(["app"], wheels, OLD_X86) == ({"app", "always", "old"}, set())


def test_extras_are_followed_and_circles_end(tmp_path: Path) -> None:
    app = make_wheel(tmp_path, "app", requires=["plain", "Extra_One; extra == 'more'", "missing; extra == 'other'"])
    plain = make_wheel(tmp_path, "plain", requires=["app[more]"])
    wheels = {"app": Wheel.read(app), "plain": Wheel.read(plain)}
    assert needed(["app"], {"app": wheels["app"]}, ARM) == ({"app"}, {"plain"})
    assert needed(["app"], wheels, ARM) == ({"app", "plain"}, {"extra-one"})


def test_exactly_the_pins_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = tmp_path / "house"
    make_wheel(house, "app", "1.0", requires=["inner>=1"])
    make_wheel(house, "app", "2.0")
    make_wheel(house, "inner", "1.5", tag="cp313-cp313-manylinux_2_28_aarch64")
    make_wheel(house, "inner", "1.5", tag="cp313-cp313-manylinux_2_28_x86_64")
    make_wheel(house, "inner", "1.6", tag="cp313-cp313-manylinux_2_28_aarch64")
    pip_knows_only(house, monkeypatch)
    fetched = fetch(["app"], {"app": "1.0", "inner": "1.5"}, ARM, tmp_path / "fetched")
    assert {name: wheel.file.name for name, wheel in fetched.items()} == {
        "app": "app-1.0-py3-none-any.whl",
        "inner": "inner-1.5-cp313-cp313-manylinux_2_28_aarch64.whl",
    }


def test_an_index_without_wheels_for_the_platform_is_named_with_wheel_and_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = tmp_path / "house"
    make_wheel(house, "numpy", "2.0", tag="cp313-cp313-manylinux_2_28_x86_64")
    # Too new a glibc for Lambda is as good as none.
    make_wheel(house, "numpy", "2.0", tag="cp313-cp313-manylinux_2_39_aarch64")
    pip_knows_only(house, monkeypatch)
    with pytest.raises(PackagingError, match=r"no wheel of numpy==2\.0 for linux-arm64 with Python 3\.13: .*PIP_"):
        fetch(["numpy"], {"numpy": "2.0"}, ARM, tmp_path / "fetched")


def test_an_index_that_cannot_be_reached_is_told_from_one_without_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody_listens.getsockname()[1]}/simple"
        for name, value in {"CONFIG_FILE": "/dev/null", "FIND_LINKS": "", "INDEX_URL": address, "RETRIES": "1"}.items():
            monkeypatch.setenv(f"PIP_{name}", value)
        with pytest.raises(PackagingError, match=r"cannot be reached: .*PIP_INDEX_URL"):
            fetch(["numpy"], {"numpy": "2.0"}, ARM, tmp_path / "fetched")


def test_a_requirement_without_a_pin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = tmp_path / "house"
    make_wheel(house, "app", requires=["surprise"])
    pip_knows_only(house, monkeypatch)
    with pytest.raises(PackagingError, match="no version of surprise is pinned; `make constraints`"):
        fetch(["app"], {"app": "1.0"}, ARM, tmp_path / "fetched")


def test_pins_are_read_by_normalised_name_and_nothing_else_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("# made\nRuamel.Yaml==1.2\naws_lambda_powertools==3.0  # why\n\n")
    assert read_pins(file) == {"ruamel-yaml": "1.2", "aws-lambda-powertools": "3.0"}
    file.write_text("numpy>=2\n")
    with pytest.raises(PackagingError, match="'numpy>=2' is not a pin"):
        read_pins(file)
    with pytest.raises(PackagingError, match="make constraints"):
        read_pins(tmp_path / "absent.txt")


def test_a_broken_wheel_is_named(tmp_path: Path) -> None:
    file = tmp_path / "app-1.0-py3-none-any.whl"
    file.write_bytes(b"not a zip")
    with pytest.raises(PackagingError, match=r"app-1\.0-py3-none-any\.whl is not a readable wheel"):
        Wheel.read(file)


@pytest.mark.parametrize("python", ["3", "3.13.1", "python3.13", "3.13; rm"])
def test_a_python_is_a_minor_version(python: str) -> None:
    with pytest.raises(PackagingError, match=r"such as 3\.13"):
        Target(Platform.LINUX_ARM64, python)
