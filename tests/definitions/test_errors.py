"""Every error that the project defines has one base, so that one handler can print it."""

import ast
from pathlib import Path

import pytest

import lambda_api
import recsys_assets
import recsys_deploy
from lambda_api.errors import RecsysError

BUILT_IN = {"Exception", "ValueError", "RuntimeError", "LookupError", "KeyError", "OSError", "BaseException"}


def error_classes() -> dict[str, set[str]]:
    """Names of the bases by ``path:class``, of all classes that derive from an error."""
    found: dict[str, set[str]] = {}
    for package in (lambda_api, recsys_assets, recsys_deploy):
        folder = Path(package.__file__ or "").parent
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found[f"{path.relative_to(folder.parent)}:{node.name}"] = {
                        base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases
                    }
    return found


def test_no_error_of_the_project_derives_from_a_built_in_alone() -> None:
    classes = error_classes()
    known = {name.rpartition(":")[2] for name, bases in classes.items() if "RecsysError" in bases}
    assert len(known) > 40, "the search for error classes found too few of them"
    strays = {
        name
        for name, bases in classes.items()
        if bases & BUILT_IN and not bases & (known | {"RecsysError"}) and not name.endswith("errors.py:RecsysError")
    }
    assert strays == set()


@pytest.mark.parametrize(("remedy", "shown"), [("", "no such file"), ("give a folder", "no such file; give a folder")])
def test_the_remedy_follows_the_message(remedy: str, shown: str) -> None:
    assert str(RecsysError("no such file", remedy=remedy)) == shown
