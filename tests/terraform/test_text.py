"""What holds for the text of the configuration, with or without Terraform: descriptions, values, names of the code."""

import ast
import re
from pathlib import Path

import pytest

from tests.terraform.mocked import TABLES
from tests.terraform.runs import ENVIRONMENTS, MODULES, ROOT, SOURCE

ONLY_ON_A_LAPTOP = {"shadow_queue"}
"""Tables opened with the target ``local`` alone; on AWS it is a queue."""

FILES = sorted(SOURCE.rglob("*.tf"))
BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def _opened_tables() -> set[str]:
    names: set[str] = set()
    for package in ("lambda_api", "recsys_assets", "recsys_deploy"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open_table":
                    name = node.args[1]
                    assert isinstance(name, ast.Constant) and isinstance(name.value, str), (
                        f"{path}:{node.lineno}: the name of a table must be literal"
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


@pytest.mark.parametrize("name", ["main.tf", "variables.tf", "outputs.tf"])
def test_environments_differ_in_values_only(name: str) -> None:
    assert len({(SOURCE / "environments" / each / name).read_text() for each in ENVIRONMENTS}) == 1


def test_environments_give_the_same_values_each_its_own() -> None:
    names, environments = set(), set()
    for each in ENVIRONMENTS:
        folder = SOURCE / "environments" / each
        values = dict(re.findall(r"^(\w+) *= (.*)$", (folder / "terraform.tfvars").read_text(), re.MULTILINE))
        names.add(frozenset(values))
        environments.add(values["environment"])
        declared = {variable for _, variable, _ in BLOCK.findall((folder / "variables.tf").read_text())}
        assert set(values) <= declared, f"{each} gives values nobody reads: {set(values) - declared}"
        assert f"recsys-{each}-terraform-state" in (folder / "backend.hcl").read_text()
    assert len(names) == 1, "a value that one environment states and another leaves out differs by accident"
    assert environments == {f'"{each}"' for each in ENVIRONMENTS}


def test_modules_are_whole() -> None:
    for module in MODULES:
        folder = SOURCE / "modules" / module
        assert {path.name for path in folder.iterdir()} >= {"README.md", "outputs.tf", "variables.tf", "versions.tf"}
        assert (folder / "versions.tf").read_text() == (SOURCE / "modules" / MODULES[0] / "versions.tf").read_text()
        assert f"\n  {module} " in (SOURCE / "README.md").read_text(), f"{module} is missing from terraform/README.md"


def test_everything_is_tagged() -> None:
    text = (SOURCE / "environments" / "dev" / "main.tf").read_text()
    (tags,) = re.findall(r"default_tags \{\n    tags = \{(.*?)\n    \}", text, re.DOTALL)
    assert set(re.findall(r"^ +(\w+) +=", tags, re.MULTILINE)) == {"Project", "Environment", "ManagedBy", "Owner"}
    # The budget counts what carries this tag.
    assert 'Environment = "recsys-${var.environment}"' in tags
    assert 'format("user:Environment$%s", var.name)' in (SOURCE / "modules" / "monitoring" / "main.tf").read_text()
