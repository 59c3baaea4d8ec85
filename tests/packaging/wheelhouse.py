"""Small handmade wheels, and an index that holds nothing else."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest


def make_wheel(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any", **given: object) -> Path:
    """A wheel with a module; ``requires``: lines of ``Requires-Dist``; ``files``: further members."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {line}\n" for line in given.get("requires", ()))  # type: ignore[attr-defined]
    files: Mapping[str, str] = given.get("files", {})  # type: ignore[assignment]
    members = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        **files,
        f"{info}/RECORD": "",
    }
    target = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return target


def use_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uv find wheels in ``folder`` and nowhere else."""
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
