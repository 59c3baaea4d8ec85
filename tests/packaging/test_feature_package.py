"""The Glue job's code: whole, small, the same each time, and with pins for what Glue lacks."""

import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from recsys_deploy.packaging.features import LIBRARIES, package_features
from recsys_deploy.packaging.functions import PackagingError
from recsys_deploy.packaging.libraries import read_pins

ROOT = Path(__file__).resolve().parents[2]

ON_GLUE = {
    "python-dateutil",
    "typing-extensions",
    "tzdata",
    "pyarrow",
    "pandas",
    "numpy",
    "packaging",
    "pyspark",
    "rich",
}
"""Needed by libraries of ours and installed on Glue 5.0 ("Python modules already provided in AWS Glue")."""


def test_the_same_checkout_gives_the_same_bytes(tmp_path: Path) -> None:
    pins = read_pins(ROOT / "constraints.txt")
    first, second = (package_features(tmp_path / name, ROOT, pins) for name in ("a", "b"))
    assert first.zip.read_bytes() == second.zip.read_bytes()
    assert (first.hash, first.python_modules) == (second.hash, second.python_modules)
    assert all("==" in module for module in first.python_modules)


def test_the_program_finds_everything_in_the_zip_and_nothing_of_dagster(tmp_path: Path) -> None:
    made = package_features(tmp_path, ROOT, read_pins(ROOT / "constraints.txt"))
    names = zipfile.ZipFile(made.zip).namelist()
    assert "recsys_assets/features/engine.py" in names
    assert not [name for name in names if "assets.py" in name]
    program = (
        "import runpy, sys\n"
        "sys.modules['dagster'] = sys.modules['duckdb'] = sys.modules['pydantic'] = None\n"
        f"runpy.run_path({str(made.entry)!r}, run_name='imported')\n"
        "import recsys_assets.features.spark_engine as engine\n"
        f"assert engine.__file__.startswith({str(made.zip)!r}), engine.__file__\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(made.zip)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_what_libraries_need_in_turn_is_pinned_or_on_glue() -> None:
    needed = {
        Requirement(text).name
        for library in LIBRARIES
        for text in requires(library) or ()
        if not (marker := Requirement(text).marker) or marker.evaluate({"extra": "pyspark"})
    }
    assert needed <= {*LIBRARIES, *ON_GLUE}


def test_a_library_without_a_pin_is_named(tmp_path: Path) -> None:
    pins = {name: version for name, version in read_pins(ROOT / "constraints.txt").items() if name != "sqlglot"}
    with pytest.raises(PackagingError, match="sqlglot"):
        package_features(tmp_path, ROOT, pins)
