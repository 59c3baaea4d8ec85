"""What the documents claim about the code: pictures, settings, commands, alarms, permissions, messages."""

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main

from lambda_api.settings import PREFIX, Settings
from recsys_assets.definitions import defs as assets_defs
from recsys_deploy.cli import app
from recsys_deploy.console.graph_picture import Node, draw, nodes_of, without_shortcuts
from recsys_deploy.definitions import defs as deploy_defs
from recsys_deploy.deploy.values import read_environment

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "terraform" / "modules"
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


def test_the_document_lists_every_setting_with_its_meaning_and_no_other() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(RECSYS_[A-Z_]+)` \| .*? \| (.*) \|$", text, re.MULTILINE)
    assert table == [(PREFIX + name.upper(), field.description) for name, field in Settings.model_fields.items()]


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 1200


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named <= targets, named - targets


@pytest.mark.parametrize("command", ["make test", "make test-slow"])
def test_ci_calls_the_readmes_test_commands(command: str) -> None:
    assert command in README
    assert re.search(rf"\b{command}$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)


@each
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@each
def test_every_command_and_option_named_exists(document: Path) -> None:
    named = re.findall(r"(?<![\w/-])recsys ([a-z-]+)((?: [^`\n#;|]*)?)", _code(document.read_text(encoding="utf-8")))
    unknown = []
    for name, rest in named:
        words = rest.split()
        entry = _commands(typer.main.get_command(app)).get(name)
        command = entry.loaded() if entry else None
        if words and _commands(command):
            command = _commands(command).get(words[0])
        options = (
            {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            if command
            else set()
        )
        unknown += [f"recsys {name}{rest}"] if command is None else []
        unknown += [f"recsys {name} {word}" for word in words if word.startswith("--") and word not in options]
    assert unknown == []


def _commands(group: Any) -> Mapping[str, Any]:
    """What stands below a group of commands; nothing below a command."""
    return getattr(group, "commands", {})


def _code(text: str) -> str:
    """Code blocks and spans of a Markdown text, a line each."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))


def test_every_alarm_has_a_runbook_and_no_runbook_is_left_over() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    patterns = [name.replace("\\*", "*") for heading in headings for name in heading.split(", ") if " " not in name]
    names = {"*-errors", "budget", "training-missed", "daily-missed"}
    for file in (*MODULES.glob("*/*.tf"), MODULES.parent / "stack" / "daily.tf"):
        text = file.read_text(encoding="utf-8")
        if "alarm" in text:
            text = text.replace("${var.machine}", "*")
            keys = re.findall(r'"([\w$][^"\n]*)" =>? \{\n\s+(?:metric|description) +=', text)
            names |= {re.sub(r"\$\{[^}]*\}", "*", key) for key in keys}
            names |= set(re.findall(r'^resource "aws_cloudwatch_composite_alarm" "(\w+)"', text, re.MULTILINE))
            # Of state machines: named after the metric, `Executions` aside.
            ends = re.findall(r'^ +Executions(\w+) += "', text, re.MULTILINE)
            names |= {f"{machine}-{end.lower()}" for machine in ("training", "rollout") for end in ends}
    assert {_matching(name, patterns) for name in names} == set(patterns)


def _matching(name: str, patterns: list[str]) -> str:
    for pattern in sorted(patterns, key=len, reverse=True):
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".+"), name.replace("*", "any")):
            return pattern
    raise AssertionError(f"docs/runbooks.md says nothing about the alarm {name}")


def test_every_role_and_every_line_of_permissions_is_in_the_security_document() -> None:
    document = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = document.partition("## Permissions")[2].partition("Beside roles:")[0]
    roles = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))
    lines = {
        word
        for row in table.splitlines()
        if row.startswith("|")
        for word in re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", row)
    }
    text = (MODULES / "service-access" / "main.tf").read_text(encoding="utf-8")
    assert roles == _roles()
    assert lines == set(re.findall(r"^    (\w+) = \{$", text, re.MULTILINE))


def _roles() -> set[str]:
    """Names of all roles the stack may make, without ``recsys-<env>-``."""
    stack = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "terraform" / "stack").glob("*.tf"))
    calls = stack + (MODULES / "rollout" / "main.tf").read_text(encoding="utf-8")
    machines = re.findall(r'^  machine += "(\w+)"$', calls, re.MULTILINE)
    found: set[str] = set()
    for module in MODULES.iterdir():
        if module.name == "schedule":
            found |= {f"{started}-schedule" for started in ("training", "daily")}
            continue
        text = "".join(file.read_text(encoding="utf-8") for file in module.glob("*.tf"))
        blocks = re.findall(r"^locals \{\n.*?^\}", text, re.MULTILINE | re.DOTALL)
        values = dict(re.findall(r'^  (\w+) += "([^"\n]+)"$', "\n".join(blocks), re.MULTILINE))
        keys = _keys(text, "roles")
        if module.name == "lambda-inference":
            keys = [*_keys(stack, "functions"), *re.findall(r'functions\["(\w+)"\]', stack)]
        for name in re.findall(
            r'^resource "aws_iam_role" "\w+" \{\n(?:.*\n)*?  name += "?([^"\n]+)"?$', text, re.MULTILINE
        ):
            whole = name
            for local, value in values.items():
                whole = whole.replace(f"${{local.{local}}}", value) if whole != f"local.{local}" else value
            for key, machine in itertools.product(keys if "each.key" in whole else [""], machines):
                made = whole.replace("${each.key}", key).replace("${var.machine}", machine)
                found.add(made.removeprefix("${var.name}-"))
    return found


def _keys(text: str, local: str) -> list[str]:
    """Keys of the map ``local`` in a block of locals: what stands four spaces deep."""
    block = re.search(rf"^  {local} = \{{\n((?:    .*\n|\n)*)", text, re.MULTILINE)
    return re.findall(r"^    (\w+) +=", block[1], re.MULTILINE) if block else []


def test_boxes_of_the_diagrams_are_resources_of_terraform() -> None:
    document = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
    declared = {
        kind
        for file in MODULES.glob("*/*.tf")
        for kind in re.findall(r'^resource "(\w+)"', file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    diagrams = re.findall(r"```mermaid\n(.*?)```", document, re.DOTALL)
    for diagram in diagrams:
        boxes = re.findall(r'^ +(\w+)\["([^"]+)"\]$', diagram, re.MULTILINE)
        rounded = re.findall(r"^ +(\w+)\(\[[^\]]+\]\)$", diagram, re.MULTILINE)
        assert {label.rpartition("<br/>")[2] for _, label in boxes} <= declared
        drawn = set(re.findall(r"^ +(\w+) |(?:--+>|-\.->)(?:\|[^|]*\|)? (\w+)", diagram, re.MULTILINE))
        assert {one for pair in drawn for one in pair if one} - {"flowchart"} == {name for name, _ in boxes} | set(
            rounded
        )
    assert len(diagrams) == 3


def test_the_guide_names_every_variable_of_the_workflows() -> None:
    document = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
    text = "".join(file.read_text(encoding="utf-8") for file in (ROOT / ".github" / "workflows").glob("*.yml"))
    used = set(re.findall(r"\bvars\.([A-Z_]+)", text))
    table = document.partition("| variable | where | value |")[2].partition("\n\n")[0]
    named = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1] if "|" in row else "")
    }
    assert named == used


def test_messages_of_the_troubleshooting_table_are_in_the_code() -> None:
    document = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
    table = document.partition("| message | means | do |")[2].partition("\n\n")[0]
    files = [*(ROOT / "recsys_deploy" / "deploy").glob("*.py"), ROOT / "recsys_assets" / "aws_errors.py"]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    said = re.sub(r"\s+", " ", re.sub(r'"\s*\n\s*f?"', "", code))
    messages = [message for row in table.splitlines()[2:] for message in re.findall(r"`([^`]+)`", row.split("|")[1])]
    parts = [part for message in messages for part in re.split(r"\.\.\.", message) if len(part.strip(" ,")) > 3]
    assert len(messages) > 20
    assert [part for part in parts if part.strip(" ,") not in said] == []


def test_the_guide_has_the_values_of_the_environments() -> None:
    document = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
    table = document.partition("| | dev | staging | prod |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]
    told = {name: tuple(cells) for name, *cells in rows}
    found = {name: read_environment(ROOT / "terraform", name).values for name in ("dev", "staging", "prod")}
    assert set(told) == set(TOLD)
    for name, words in TOLD.items():
        assert told[name] == tuple(words(values) for values in found.values()), name


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _each(values: Mapping[str, Any], attribute: str, *functions: str) -> str:
    found = [values["functions"][name].get(attribute) for name in functions]
    return "none" if found == [None] * len(found) else ", ".join(map(str, found))


def _network(network: Mapping[str, Any] | None) -> str:
    if network is None:
        return "none"
    ways = {"none": "no way out", "one": "one NAT gateway"}
    endpoints = len(network["interface_endpoints"])
    return f"{len(network['zones'])} zones, {ways[network['nat']]}" + (f", {endpoints} endpoints" if endpoints else "")


def _schedule(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "none"
    return "on" if (training.get("schedule") or {"enabled": False}).get("enabled", True) else "off"


TOLD: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "disposable": lambda values: _yes(values["disposable"]),
    "shop page": lambda values: _yes(values["storefront"]),
    "memory of api, authorizer (MB)": lambda values: _each(values, "memory_mb", "api", "authorizer"),
    "reserved concurrency": lambda values: _each(values, "reserved_concurrency", "api", "authorizer", "shadow"),
    "SnapStart": lambda values: _yes(all(one["snap_start"] for one in values["functions"].values())),
    "requests a second and burst per route": lambda values: "{rate}, {burst}".format(**values["serving"]["throttle"]),
    "exploration": lambda values: f"{100 * values['serving']['exploration_share']:g} %",
    "events": lambda values: "Firehose" if values["events"].get("stream") is None else "Kinesis",
    "alarms, dashboard, X-Ray": lambda values: "all" if values["operations"]["tracing"] else "3 alarms",
    "network": lambda values: _network(values["network"]),
    "a run: CPU units, MB": lambda values: "{cpu}, {memory_mb}".format(**values["runs"]) if values["runs"] else "none",
    "training machine's schedule": lambda values: _schedule(values.get("training")),
    "daily task's schedule": lambda values: _schedule(values.get("daily")),
    "SageMaker": lambda values: _yes(values.get("sagemaker")),
    "Dagster": lambda values: _yes(values["dagster"]),
    "GitHub's roles": lambda values: _yes(values["ci_access"]),
    "logs kept (days)": lambda values: str(values["operations"]["log_days"]),
    "alarm: 99th percentile (ms)": lambda values: str(values["operations"]["latency_p99_ms"]),
    "budget (US dollars)": lambda values: str(values["operations"]["monthly_budget_usd"]),
}
"""Rows of the guide's table of environments, and what a row says of an environment's values."""
