"""Every module, and the stack, passes its own tests against a mocked provider: what it makes, what it refuses."""

from collections.abc import Mapping

import pytest

from tests.terraform.runs import APPLIED, ENVIRONMENTS, SOURCE, TESTED, Messages, Terraform, failures


@pytest.mark.parametrize("module", TESTED)
def test_module(module: str, messages: Mapping[str, Messages]) -> None:
    said = messages[f"{module}.tftest.hcl"]
    runs = {m["test_run"]["run"]: m["test_run"]["status"] for m in said if "status" in m.get("test_run", {})}
    assert not failures(said), failures(said)
    assert len(runs) >= 2, f"{module} has too few tests in terraform/tests: {list(runs)}"
    assert set(runs.values()) == {"pass"}, runs


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if name not in APPLIED])
def test_environment_is_planned(name: str, messages: Mapping[str, Messages]) -> None:
    said = messages[f"environment-{name}.tftest.hcl"]
    assert not failures(said), failures(said)
    assert [m["test_run"]["status"] for m in said if "status" in m.get("test_run", {})] == ["pass"]


@pytest.mark.parametrize("module", TESTED)
def test_every_module_is_seen_to_refuse_something(module: str) -> None:
    assert "expect_failures" in (SOURCE / "tests" / f"{module}.tftest.hcl").read_text()


def test_formatted(terraform: Terraform) -> None:
    done = terraform.formatted()
    assert done.returncode == 0, done.stdout + done.stderr
