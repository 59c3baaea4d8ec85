"""Reading an environment's values: every literal is read, and computed values are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.deploy.values import read_environment, read_values

TREE = Path(__file__).resolve().parents[2] / "terraform"
FILES = sorted(TREE.glob("environments/*/*.tfvars")) + sorted(TREE.glob("environments/*/*.hcl"))


def test_every_environment_can_be_read() -> None:
    names = {file.parent.name for file in FILES}
    assert {read_environment(TREE, name).prefix for name in names} == {f"recsys-{name}" for name in names}
    assert not read_environment(TREE, "prod").is_disposable


NAMES = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("true", "false", "null")
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.sampled_from([0.05, -2.5, 1e-6]) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def written(value: Any) -> str:
    """``value`` in HCL: JSON with ``=`` in objects, and ``${`` escaped."""
    if isinstance(value, dict):
        return "{\n" + "".join(f"{name} = {written(one)}\n" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(one) for one in value) + "]"
    if isinstance(value, str):
        return json.dumps(value.replace("${", "$").replace("%{", "%"), ensure_ascii=False)
    return json.dumps(value)


@settings(deadline=None)
@given(values=st.dictionaries(NAMES, LITERALS, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    file = tmp_path_factory.mktemp("values") / "terraform.tfvars"
    file.write_text("# head\n" + "".join(f"{name} = {written(value)} # {name}\n" for name, value in values.items()))
    expected = json.loads(json.dumps(values).replace("${", "$").replace("%{", "%"))
    assert read_values(file) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('a = "x${var.b}"', "a is computed"),
        ("a = var.b", "a is computed"),
        ("a = { b = [var.c] }", "a.b is computed"),
        ("a = 1 + 1", "a is computed"),
        ("a 1", "line 1"),
        ("b = 2\na = [1, 2", "cannot be read"),
        ('a = "open\n', "line 1"),
    ],
)
def test_what_is_no_literal_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "terraform.tfvars"
    file.write_text(text)
    with pytest.raises(DeployError) as refused:
        read_values(file)
    assert words in str(refused.value) and str(file) in str(refused.value)


def test_an_environment_that_is_not_there_and_one_that_is_a_copy(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="choose dev, prod, staging"):
        read_environment(TREE, "nope")
    for name in ("../dev", "dev/../dev", ""):
        with pytest.raises(DeployError, match="there is no environment"):
            read_environment(TREE, name)
    place = tmp_path / "environments" / "mine"
    place.mkdir(parents=True)
    (place / "terraform.tfvars").write_text('environment = "dev"\nregion = "eu-central-1"\n')
    (place / "backend.hcl").write_text("")
    with pytest.raises(DeployError, match='sets environment = "dev", but it is in the folder of mine'):
        read_environment(tmp_path, "mine")
