"""What holds for the text of the configuration, with or without Terraform: descriptions, values, names of the code."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.terraform.mocked import TABLES
from tests.terraform.runs import ENVIRONMENTS, MODULES, ROOT, SOURCE

ONLY_ON_A_LAPTOP = {"shadow_queue"}
"""Tables opened with the target ``local`` alone; on AWS it is a queue."""

FILES = sorted(SOURCE.rglob("*.tf"))
BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def _opened_tables() -> set[str]:
    """Names given to ``open_table``, or to a ``table`` method that hands its own argument on to it."""
    names: set[str] = set()
    for package in ("lambda_api", "recsys_assets", "recsys_deploy"):
        for path in (ROOT / package).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            given = [node.args[1] for node in calls if getattr(node.func, "id", "") == "open_table"]
            if any(isinstance(name, ast.Name) and name.id == "name" for name in given):
                given = [name for name in given if not isinstance(name, ast.Name)]
                given += [node.args[0] for node in calls if getattr(node.func, "attr", "") == "table"]
            for name in given:
                assert isinstance(name, ast.Constant) and isinstance(name.value, str), (
                    f"{path}:{name.lineno}: the name of a table must be literal"
                )
                names.add(name.value)
    return names


def test_every_table_that_is_opened_is_made() -> None:
    assert _opened_tables() - ONLY_ON_A_LAPTOP == set(TABLES)
    text = (SOURCE / "modules" / "model-registry" / "main.tf").read_text()
    (made,) = re.findall(r"tables = toset\((\[.*?\])\)", text)
    assert set(ast.literal_eval(made)) == set(TABLES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_variable_and_output_is_described(path: Path) -> None:
    for kind, name, body in BLOCK.findall(path.read_text()):
        described = re.search(r'^  description = "([^"\\]|\\.){10,}"$', body, re.MULTILINE)
        assert described, f"{kind} {name} says not what it is for"
        assert kind == "output" or re.search(r"^  type +=", body, re.MULTILINE), f"variable {name} has no type"


def test_environments_hold_values_only() -> None:
    for each in ENVIRONMENTS:
        assert {path.name for path in (SOURCE / "environments" / each).iterdir()} == {"terraform.tfvars", "backend.hcl"}


def test_environments_give_the_same_values_each_its_own() -> None:
    declared = {name for path in (SOURCE / "stack").glob("*.tf") for _, name, _ in BLOCK.findall(path.read_text())}
    given = {each: _values(each) for each in ENVIRONMENTS}
    for each, values in given.items():
        assert values["environment"] == each
        assert set(values) <= declared, f"{each} gives values nobody reads: {set(values) - declared}"
        backend = (SOURCE / "environments" / each / "backend.hcl").read_text()
        assert f"recsys-{each}-terraform-state" in backend
    for name in set().union(*given.values()):
        forms = {frozenset(_paths(values[name])) for values in given.values() if values.get(name, ()) is not None}
        assert len(forms) <= 1, f"{name}: what one environment states and another leaves out differs by accident"


def test_jobs_of_github_find_the_state_that_is_used() -> None:
    for each in ENVIRONMENTS:
        access = _values(each)["ci_access"]
        backend = dict(
            re.findall(r'^(\w+) *= "(.*)"$', (SOURCE / "environments" / each / "backend.hcl").read_text(), re.M)
        )
        assert access is None or access["state"] == {"bucket": backend["bucket"], "key": backend["key"]}


def _values(environment: str) -> dict[str, Any]:
    text = (SOURCE / "environments" / environment / "terraform.tfvars").read_text()
    return hcl2.loads(text, serialization_options=hcl2.SerializationOptions(strip_string_quotes=True))


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    yield prefix
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _paths(inner, f"{prefix}.{name}")


def test_modules_are_whole() -> None:
    for module in MODULES:
        folder = SOURCE / "modules" / module
        assert {path.name for path in folder.iterdir()} >= {"README.md", "outputs.tf", "variables.tf", "versions.tf"}
        assert (folder / "versions.tf").read_text() == (SOURCE / "modules" / MODULES[0] / "versions.tf").read_text()
        assert f"\n  {module} " in (SOURCE / "README.md").read_text(), f"{module} is missing from terraform/README.md"


def test_everything_is_tagged() -> None:
    text = (SOURCE / "stack" / "main.tf").read_text()
    (tags,) = re.findall(r"default_tags \{\n    tags = \{(.*?)\n    \}", text, re.DOTALL)
    assert set(re.findall(r"^ +(\w+) +=", tags, re.MULTILINE)) == {"Project", "Environment", "ManagedBy", "Owner"}
    # The budget counts what carries this tag.
    assert "Environment = local.name" in tags
    assert 'format("user:Environment$%s", var.name)' in (SOURCE / "modules" / "monitoring" / "main.tf").read_text()


def test_what_the_policy_scan_skips_has_a_reason() -> None:
    skips = [skip for path in FILES for skip in re.findall(r"#checkov:skip=(\w+):?(.*)", path.read_text())]
    assert len(skips) > 10
    assert not [check for check, reason in skips if len(reason.strip()) < 25]
    assert "skip-check" not in (SOURCE / ".checkov.yaml").read_text()
