"""Every workflow keeps the rules, and every line it runs is a target or a command that exists."""

import copy
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from recsys_deploy import cli
from recsys_deploy.release.strategies import Strategy
from tests.workflows.rules import broken, commands, jobs, steps

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*"))
EVERY_COMMAND = sorted({line for file in FILES for line in commands(yaml.safe_load(file.read_text()))})

each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def load(name: str) -> tuple[dict[Any, Any], str]:
    """A workflow, and its text."""
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    return yaml.safe_load(text), text


def test_what_there_is() -> None:
    names = ["ml-ci", "model-deployment", "model-monitoring", "model-training", "release", "terraform-plan"]
    assert [file.stem for file in FILES] == names


@each
def test_rules(file: Path) -> None:
    text = file.read_text()
    assert broken(yaml.safe_load(text), text) == []


def test_an_action_is_the_same_everywhere() -> None:
    uses = {step["uses"] for file in FILES for _, step in steps(yaml.safe_load(file.read_text())) if "uses" in step}
    assert len(uses) == len({name.partition("@")[0] for name in uses})


BREAKS: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "trigger pull_request_target": lambda w: w[True].update({"pull_request_target": None}),
    "the workflow itself has permissions": lambda w: w.update(permissions={"contents": "read"}),
    "train: permissions are not stated": lambda w: w["jobs"]["train"].pop("permissions"),
    "train: permission ('packages', 'write')": lambda w: w["jobs"]["train"]["permissions"].update(packages="write"),
    "train: id-token belongs": lambda w: w["jobs"]["train"]["permissions"].pop("id-token"),
    "train: writes without an environment": lambda w: w["jobs"]["train"].pop("environment"),
    "train: action evil/action": lambda w: w["jobs"]["train"]["steps"][0].update(uses="evil/action@" + "a" * 40),
    "is not pinned to a commit": lambda w: w["jobs"]["train"]["steps"][0].update(uses="actions/checkout@v5"),
    "does not say its version": lambda w: w["jobs"]["train"]["steps"][0].update(uses="actions/checkout@" + "b" * 40),
    "the checkout keeps its token": lambda w: w["jobs"]["train"]["steps"][0].pop("with"),
    "long-lived keys": lambda w: w["jobs"]["train"]["steps"][2]["with"].update({"aws-access-key-id": "x"}),
    "an expression becomes part": lambda w: w["jobs"]["train"]["steps"][3].update(run="make ${{ inputs.data }}"),
    "logic in YAML": lambda w: w["jobs"]["train"]["steps"][3].update(run="make setup\nmake test"),
    "neither make nor recsys": lambda w: w["jobs"]["train"]["steps"][3].update(run="curl example.org"),
    "no concurrency group": lambda w: w.pop("concurrency"),
    "train: its session ends before its timeout": lambda w: w["jobs"]["train"]["steps"][2]["with"].pop(
        "role-duration-seconds"
    ),
    "train: no timeout": lambda w: w["jobs"]["train"].pop("timeout-minutes"),
    "the runner's system is not stated": lambda w: w["jobs"]["train"].update({"runs-on": "ubuntu-latest"}),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_each_rule_is_noticed_when_broken(sentence: str) -> None:
    workflow, text = load("model-training")
    bad = copy.deepcopy(workflow)
    BREAKS[sentence](bad)
    assert any(sentence in found for found in broken(bad, text))


def test_a_secret_is_noticed() -> None:
    workflow, text = load("release")
    assert broken(workflow, text + "# ${{ secrets.KEY }}\n") == ["a secret is used"]


@pytest.mark.parametrize("line", [line for line in EVERY_COMMAND if line.startswith("make ")])
def test_every_target_exists(line: str) -> None:
    dry = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.strip()


@pytest.mark.parametrize("line", [line for line in EVERY_COMMAND if "recsys" in line])
def test_every_command_and_option_exists(line: str) -> None:
    words = shlex.split(line)[1:]
    names = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
    shown = CliRunner().invoke(cli.app, [*names, "--help"], env={"TERMINAL_WIDTH": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if re.match(r"--\w", word)):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown.output)


@each
def test_recsys_runs_only_where_it_was_set_up(file: Path) -> None:
    for name, job in jobs(yaml.safe_load(file.read_text())):
        lines = [step["run"] for step in job["steps"] if "run" in step]
        for place, line in enumerate(lines):
            if line.startswith(".venv/bin/"):
                assert "make setup" in lines[:place], name


def test_training_is_weekly_on_request_and_never_touches_what_is_live() -> None:
    workflow, _ = load("model-training")
    (schedule,) = workflow[True]["schedule"]
    minute, hour, day, month, weekday = schedule["cron"].split()
    assert (day, month) == ("*", "*") and weekday.isdigit() and minute.isdigit() and hour.isdigit()
    assert "workflow_dispatch" in workflow[True]
    runs = [line for line in commands(workflow) if "recsys run" in line]
    assert runs and all("--register-only" in line for line in runs)


def test_a_release_is_watched_and_taken_back_without_asking_and_promoted_only_when_well() -> None:
    workflow, _ = load("model-deployment")
    inputs = workflow[True]["workflow_dispatch"]["inputs"]
    assert inputs["strategy"]["options"] == [str(strategy) for strategy in Strategy]
    made = dict(jobs(workflow))
    asks = {name for name, job in made.items() if job["environment"] == "${{ inputs.environment }}"}
    assert asks == {"start", "promote"}
    assert made["promote"]["needs"] == "watch" and "always()" not in made["promote"]["if"]
    assert set(made["rollback"]["needs"]) == {"start", "watch", "promote"} and "always()" in made["rollback"]["if"]
    assert workflow["concurrency"]["cancel-in-progress"] is False


def test_a_plan_takes_the_role_of_its_own_environment() -> None:
    workflow, _ = load("terraform-plan")
    ((_, job),) = jobs(workflow)
    assert job["environment"] == "plan-${{ matrix.environment }}"
    roles = (ROOT / "terraform" / "modules" / "ci-access" / "main.tf").read_text()
    assert 'environments = ["plan-${var.environment}"]' in roles
    # What a condition of a job reads is the repository's: its environment is entered later.
    assert "vars.PLAN_ENVIRONMENTS" in job["if"] and "vars.PLAN_ROLE_ARN" not in job["if"]


def test_monitoring_runs_every_six_hours() -> None:
    workflow, _ = load("model-monitoring")
    assert workflow[True]["schedule"] == [{"cron": "41 */6 * * *"}]


HOSTILE = 'v1.0.0@sha256:"; touch injected; echo "$(touch injected)'


@pytest.mark.parametrize(
    ("target", "variable"), [("images", "PYTHON_IMAGE"), ("release", "TAG"), ("terraform-plan", "ENVIRONMENT")]
)
def test_what_a_workflow_passes_on_never_becomes_part_of_a_recipe(target: str, variable: str) -> None:
    dry = subprocess.run(
        ["make", "-n", target],
        cwd=ROOT,
        env={**os.environ, variable: HOSTILE},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "injected" not in dry.stdout


@pytest.mark.parametrize("base", ["", "python:3.13-slim", "python@sha512:abc"])
def test_images_refuse_a_base_that_is_not_pinned(base: str) -> None:
    refused = subprocess.run(
        ["make", "images"],
        cwd=ROOT,
        env={**os.environ, "PYTHON_IMAGE": base},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "pinned by digest" in refused.stderr and "docker/README.md" in refused.stderr
