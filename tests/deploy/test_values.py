"""Reading files of values: the same as another parser of HCL reads, and nothing else than literals."""

import json
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_deploy.deploy.errors import EnvironmentRefused
from recsys_deploy.deploy.values import read_environment, read_values

TREE = Path(__file__).resolve().parents[2] / "terraform"
FILES = sorted(TREE.glob("environments/*/*.tfvars")) + sorted(TREE.glob("environments/*/*.hcl"))


def unquoted(value: Any) -> Any:
    """What the other parser means: it keeps the quotes of texts."""
    if isinstance(value, dict):
        return {unquoted(name): unquoted(one) for name, one in value.items() if not str(name).startswith("__")}
    if isinstance(value, list):
        return [unquoted(one) for one in value]
    return value[1:-1] if isinstance(value, str) and value.startswith('"') else value


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_environments_read_as_another_parser_reads_them(file: Path) -> None:
    assert read_values(file) == unquoted(hcl2.loads(file.read_text()))


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


@given(values=st.dictionaries(NAMES, LITERALS, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    file = tmp_path_factory.mktemp("values") / "terraform.tfvars"
    file.write_text("# head\n" + "".join(f"{name} = {written(value)} # {name}\n" for name, value in values.items()))
    expected = json.loads(json.dumps(values).replace("${", "$").replace("%{", "%"))
    assert read_values(file) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('a = "x${var.b}"', "line 1: a text with"),
        ("\n\na = var.b", "line 3: 'var' is not a literal"),
        ("a = 1\na = 2", "line 2: a stands there twice"),
        ("a 1", "line 1: a is given no value"),
        ("a = [1, 2", "end of the file"),
        ("a = { b = 1", "end of the file"),
        ("a = [1 2]", "where a comma was expected"),
        ('a = "open\n', "no part of a literal"),
        ("a = 1 + 1", "line 1"),
        ("a = 1 b = 2", "only literals are read here"),
        ('a = "\\q"', "no escape of HCL"),
        ("a = <<E\nx\nE\n", "line 1"),
        ("= 1", "a name was expected"),
    ],
)
def test_what_is_no_literal_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "terraform.tfvars"
    file.write_text(text)
    with pytest.raises(EnvironmentRefused) as refused:
        read_values(file)
    assert words in str(refused.value) and str(file) in str(refused.value)


def test_an_environment_that_is_not_there_and_one_that_is_a_copy(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentRefused, match="there are dev, prod, staging"):
        read_environment(TREE, "nope")
    for name in ("../dev", "dev/../dev", ""):
        with pytest.raises(EnvironmentRefused, match="there is no environment"):
            read_environment(TREE, name)
    place = tmp_path / "environments" / "mine"
    place.mkdir(parents=True)
    (place / "terraform.tfvars").write_text('environment = "dev"\nregion = "eu-central-1"\n')
    (place / "backend.hcl").write_text("")
    with pytest.raises(EnvironmentRefused, match='says environment = "dev", but it is the folder of mine'):
        read_environment(tmp_path, "mine")
