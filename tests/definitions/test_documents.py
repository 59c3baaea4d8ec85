"""What the documents claim about the code: the picture of the graph, the settings table, the commands."""

import re
from pathlib import Path

import pytest
import typer.main

from lambda_api.settings import PREFIX, Settings
from recsys_assets.definitions import defs as assets_defs
from recsys_deploy.cli import app
from recsys_deploy.console.graph_picture import Node, draw, nodes_of, without_shortcuts
from recsys_deploy.definitions import defs as deploy_defs

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "docker" / "README.md",
    ROOT / "terraform" / "README.md",
]
each = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")


def test_the_picture_is_drawn_from_the_definitions() -> None:
    drawn = draw(nodes_of(deploy_defs, assets_defs))
    assert (ROOT / "docs" / "asset_graph.svg").read_text(encoding="utf-8") == drawn, (
        "the graph changed: run `recsys graph` and look at docs/asset_graph.svg"
    )


def test_shortcuts_leave_every_asset_reachable() -> None:
    nodes = [
        Node("a", "ingest", (), 0),
        Node("b", "quality", ("a",), 0),
        Node("c", "features", ("a", "b"), 0),
        Node("d", "training", ("a", "c"), 0),
    ]
    assert {node.name: node.parents for node in without_shortcuts(nodes)} == {
        "a": (),
        "b": ("a",),
        "c": ("b",),
        "d": ("c",),
    }


def test_the_readme_lists_every_setting_and_no_other() -> None:
    table = re.findall(r"^\| `(RECSYS_[A-Z_]+)` \|", README, re.MULTILINE)
    assert table == [PREFIX + name.upper() for name in Settings.model_fields]


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named <= targets, named - targets


def test_ci_calls_the_readme_test_command() -> None:
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@each
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@each
def test_every_command_and_option_named_exists(document: Path) -> None:
    named = re.findall(r"(?<![\w/-])recsys ([a-z]+)((?: [^`\n#;|]*)?)", _code(document.read_text(encoding="utf-8")))
    unknown = []
    for name, rest in named:
        words = rest.split()
        command = typer.main.get_command(app).commands.get(name)
        if words and hasattr(command, "commands"):
            command = command.commands.get(words[0])
        options = {option for parameter in command.params for option in parameter.opts} if command else set()
        unknown += [f"recsys {name}{rest}"] if command is None else []
        unknown += [f"recsys {name} {word}" for word in words if word.startswith("--") and word not in options]
    assert unknown == []


def _code(text: str) -> str:
    """Code blocks and spans of a Markdown text, a line each."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))


def test_every_alarm_has_a_runbook_and_no_runbook_is_left_over() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    patterns = [name.replace("\\*", "*") for heading in headings for name in heading.split(", ") if " " not in name]
    names = set()
    for file in (ROOT / "terraform" / "modules").glob("*/*.tf"):
        text = file.read_text(encoding="utf-8")
        if "aws_cloudwatch_metric_alarm" in text:
            keys = re.findall(r'"([^"]+)" =>? \{\n\s+(?:metric|description)', text)
            names |= {re.sub(r"\$\{[^}]*\}", "*", key) for key in keys}
    names |= {"*-errors", "budget"}
    assert {_matching(name, patterns) for name in names} == set(patterns)


def _matching(name: str, patterns: list[str]) -> str:
    for pattern in sorted(patterns, key=len, reverse=True):
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".+"), name.replace("*", "any")):
            return pattern
    raise AssertionError(f"docs/runbooks.md says nothing about the alarm {name}")
