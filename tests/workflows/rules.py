"""Rules for workflows, as functions from a workflow to the rules that it breaks.

Sources: "Secure use reference" and "Workflow syntax for GitHub Actions", GitHub documentation.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Workflow = Mapping[str, Any]

ACTIONS = frozenset(
    {
        "actions/checkout",
        "actions/setup-python",
        "actions/upload-artifact",
        "aws-actions/configure-aws-credentials",
        "hashicorp/setup-terraform",
    }
)
"""The only actions that may run."""

RIGHTS = {("contents", "read"), ("contents", "write"), ("id-token", "write")}
"""The only permissions a job may ask for."""

TRIGGERS = frozenset({"pull_request", "push", "schedule", "workflow_dispatch"})
"""``pull_request_target`` and ``workflow_run`` would run code of forks with this repository's permissions."""


def jobs(workflow: Workflow) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and content of every job."""
    yield from workflow["jobs"].items()


def steps(workflow: Workflow) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Job and content of every step."""
    for name, job in jobs(workflow):
        for step in job["steps"]:
            yield name, step


def commands(workflow: Workflow) -> list[str]:
    """Every line that a shell runs."""
    return [line.strip() for _, step in steps(workflow) for line in step.get("run", "").splitlines() if line.strip()]


def broken(workflow: Workflow, text: str) -> list[str]:
    """Every rule that ``workflow`` breaks; ``text`` is its file, for what parsing drops."""
    return [*_triggers(workflow), *_rights(workflow), *_actions(workflow, text), *_shell(workflow), *_limits(workflow)]


def role_of(job: Mapping[str, Any]) -> tuple[str, int] | None:
    """Role that a job assumes (``monitor`` for ``MONITOR_ROLE_ARN``), and seconds of its session; ``None``: no role."""
    for step in job["steps"]:
        given = step.get("with", {})
        if found := re.fullmatch(r"\$\{\{ vars\.(\w+)_ROLE_ARN \}\}", given.get("role-to-assume", "")):
            return found[1].lower(), int(given.get("role-duration-seconds", 3600))
    return None


def _triggers(workflow: Workflow) -> Iterator[str]:
    # YAML 1.1 reads the key `on` as true.
    for trigger in set(workflow[True]) - TRIGGERS:
        yield f"trigger {trigger}"


def _rights(workflow: Workflow) -> Iterator[str]:
    if workflow.get("permissions") != {}:
        yield "the workflow itself has permissions"
    for name, job in jobs(workflow):
        wanted = job.get("permissions")
        if not isinstance(wanted, dict) or not wanted:
            yield f"{name}: permissions are not stated"
            continue
        for right in set(wanted.items()) - RIGHTS:
            yield f"{name}: permission {right}"
        used = {step.get("uses", "").partition("@")[0] for step in job["steps"]}
        if ("id-token" in wanted) != ("aws-actions/configure-aws-credentials" in used):
            yield f"{name}: id-token belongs to jobs that take a role, and to no other"
        guarded = {"id-token", "contents"} & {right for right, level in wanted.items() if level == "write"}
        if guarded and "environment" not in job:
            yield f"{name}: writes without an environment whose reviewers could say no"


def _actions(workflow: Workflow, text: str) -> Iterator[str]:
    for name, step in steps(workflow):
        uses = step.get("uses")
        if uses is None:
            continue
        action, _, revision = uses.partition("@")
        if action not in ACTIONS:
            yield f"{name}: action {action}"
        if not re.fullmatch(r"[0-9a-f]{40}", revision):
            yield f"{name}: {uses} is not pinned to a commit"
        if not re.search(rf"{re.escape(uses)} # v\d+\.\d+\.\d+$", text, re.MULTILINE):
            yield f"{name}: {uses} does not say its version"
        if action == "actions/checkout" and step.get("with", {}).get("persist-credentials") is not False:
            yield f"{name}: the checkout keeps its token"
        keys = {"aws-access-key-id", "aws-secret-access-key"} & set(step.get("with", {}))
        if keys:
            yield f"{name}: long-lived keys"
    if re.search(r"\bsecrets\.", text):
        yield "a secret is used"


def _shell(workflow: Workflow) -> Iterator[str]:
    for name, step in steps(workflow):
        run = step.get("run", "")
        if "${{" in run:
            yield f"{name}: an expression becomes part of a command"
        if len(run.strip().splitlines()) > 1 or re.search(r"[;&|<>`]|\$\(", run):
            yield f"{name}: logic in YAML: {run!r}"
        if run and not re.match(r"make |\.venv/bin/recsys ", run):
            yield f"{name}: neither make nor recsys: {run!r}"


def _limits(workflow: Workflow) -> Iterator[str]:
    if "group" not in workflow.get("concurrency", {}):
        yield "no concurrency group"
    for name, job in jobs(workflow):
        if not isinstance(job.get("timeout-minutes"), int):
            yield f"{name}: no timeout"
        elif (role := role_of(job)) and 60 * job["timeout-minutes"] > role[1]:
            yield f"{name}: its session ends before its timeout"
        if not re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"]):
            yield f"{name}: the runner's system is not stated"
