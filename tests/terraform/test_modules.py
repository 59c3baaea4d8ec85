"""Every module passes its own tests against a mocked provider: what it makes, and what it refuses to make."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.terraform.runs import MODULES, SOURCE, Terraform, failures

Messages = list[dict[str, Any]]


@pytest.fixture(scope="module")
def messages_by_module(terraform: Terraform) -> Mapping[str, Messages]:
    """One process tests them all: loading the provider's schema takes longer than all the tests."""
    terraform.init("")
    found: dict[str, Messages] = {name: [] for name in MODULES}
    rest: Messages = []
    for message in terraform.test(""):
        module = message.get("@testfile", "").removeprefix("tests/").removesuffix(".tftest.hcl")
        found.get(module, rest).append(message)
    assert not failures(rest), failures(rest)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_module(module: str, messages_by_module: Mapping[str, Messages]) -> None:
    messages = messages_by_module[module]
    runs = {m["test_run"]["run"]: m["test_run"]["status"] for m in messages if "status" in m.get("test_run", {})}
    assert not failures(messages), failures(messages)
    assert len(runs) >= 2, f"{module} has too few tests in terraform/tests: {list(runs)}"
    assert set(runs.values()) == {"pass"}, runs


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_seen_to_refuse_something(module: str) -> None:
    assert "expect_failures" in (SOURCE / "tests" / f"{module}.tftest.hcl").read_text()


def test_formatted(terraform: Terraform) -> None:
    done = terraform.formatted()
    assert done.returncode == 0, done.stdout + done.stderr
