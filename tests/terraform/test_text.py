"""Properties of the configuration's text, checked without Terraform: descriptions, values, names used by the code."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2
import pytest

from lambda_api.settings import Settings
from recsys_deploy.deploy.values import read_values
from tests.terraform.mocked import TABLES
from tests.terraform.runs import ENVIRONMENTS, MODULES, ROOT, SOURCE

ONLY_ON_A_LAPTOP = {"shadow_queue"}
"""Tables that only the target ``local`` opens; on AWS this one is a queue."""

FILES = sorted(SOURCE.rglob("*.tf"))
OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False)


def _blocks(path: Path, kind: str) -> dict[str, Mapping[str, Any]]:
    """Blocks ``variable`` or ``output`` of a file by name."""
    parsed = hcl2.loads(path.read_text(), serialization_options=OPTIONS)
    return {name.strip('"'): body for block in parsed.get(kind, ()) for name, body in block.items() if body is not True}


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
    (made,) = (
        block["tables"] for block in hcl2.loads(text, serialization_options=OPTIONS)["locals"] if "tables" in block
    )
    assert set(re.findall(r'"(\w+)"', made)) == set(TABLES)


def test_settings_of_a_shop_are_settings_of_the_code_that_the_stack_leaves_alone() -> None:
    """The stack's own value of a setting would replace the shop's without a word."""
    stack = SOURCE / "stack"
    (rule,) = _blocks(stack / "training_variables.tf", "variable")["settings"]["validation"]
    allowed = set(re.findall(r"RECSYS_\w+", rule["condition"]))
    assert allowed and {name.removeprefix("RECSYS_").lower() for name in allowed} <= set(Settings.model_fields)
    parsed = [hcl2.loads(path.read_text(), serialization_options=OPTIONS) for path in sorted(stack.glob("*.tf"))]
    own = {name for file in parsed for name in re.findall(r"RECSYS_\w+", str(file.get("locals", "")))}
    assert {"RECSYS_DATA", "RECSYS_TARGET", "RECSYS_ROLLOUT"} <= own
    assert not allowed & own


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_variable_and_output_is_described(path: Path) -> None:
    for kind in ("variable", "output"):
        for name, body in _blocks(path, kind).items():
            assert len(body.get("description", "")) >= 10, f"{kind} {name} has no description"
            assert kind == "output" or "type" in body, f"variable {name} has no type"


def test_environments_hold_values_only() -> None:
    for each in ENVIRONMENTS:
        assert {path.name for path in (SOURCE / "environments" / each).iterdir()} == {"terraform.tfvars", "backend.hcl"}


def test_environments_give_the_same_values_each_its_own() -> None:
    declared = {name for path in (SOURCE / "stack").glob("*.tf") for name in _blocks(path, "variable")}
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
        backend = read_values(SOURCE / "environments" / each / "backend.hcl")
        assert access is None or access["state"] == {"bucket": backend["bucket"], "key": backend["key"]}


def _values(environment: str) -> dict[str, Any]:
    return read_values(SOURCE / "environments" / environment / "terraform.tfvars")


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
    parsed = hcl2.loads((SOURCE / "stack" / "main.tf").read_text(), serialization_options=OPTIONS)
    (provider,) = (block["aws"] for name in ("provider",) for block in parsed[name])
    tags = provider["default_tags"][0]["tags"]
    assert set(tags) == {"Project", "Environment", "ManagedBy", "Owner"}
    # The budget is filtered by this tag.
    assert tags["Environment"] == "${local.name}"
    assert 'format("user:Environment$%s", var.name)' in (SOURCE / "modules" / "monitoring" / "main.tf").read_text()


def test_what_the_policy_scan_skips_has_a_reason() -> None:
    skips = [skip for path in FILES for skip in re.findall(r"#checkov:skip=(\w+):?(.*)", path.read_text())]
    assert len(skips) > 10
    assert not [check for check, reason in skips if len(reason.strip()) < 25]
    assert "skip-check" not in (SOURCE / ".checkov.yaml").read_text()
