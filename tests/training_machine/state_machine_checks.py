"""The definition of the training machine, filled in, and the rules that it has to keep."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import recsys_deploy.training_machine

FOLDER = Path(recsys_deploy.training_machine.__file__).parent
DEFINITION = FOLDER / "training.asl.json"
SERVICES = FOLDER / "services.json"

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
LONGEST_TASK_S = 43_200
"""Longest time limit of a task; the machine's own limit leaves time for one repetition."""

State = Mapping[str, Any]


def placeholders() -> set[str]:
    """Names whose values the definition needs."""
    return set(_PLACEHOLDER.findall(DEFINITION.read_text()))


def definition(values: Mapping[str, str]) -> str:
    """The definition with ``values``, as Terraform's templatefile fills it in.

    Raises:
        ValueError: a placeholder has no value, or a value is for none.
    """
    if problems := placeholders() ^ set(values):
        raise ValueError(f"{DEFINITION.name} and the values disagree on {', '.join(sorted(problems))}")
    return _PLACEHOLDER.sub(lambda found: values[found[1]], DEFINITION.read_text())


def services() -> dict[str, dict[str, list[str]]]:
    """Service integration -> lines of ``terraform/modules/service-access`` -> names of the resources they need.

    Terraform reads the same file and makes the machine's role of it.
    """
    table: dict[str, dict[str, list[str]]] = json.loads(SERVICES.read_text())
    return table


def states(machine: Mapping[str, Any]) -> Iterator[tuple[str, State]]:
    """Every state of a definition, those of a Map or Parallel after the state that holds them."""
    for name, state in machine["States"].items():
        yield name, state
        for inner in [
            *state.get("Branches", ()),
            *(state[key] for key in ("Iterator", "ItemProcessor") if key in state),
        ]:
            yield from states(inner)


def problems(machine: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    """Mistakes that AWS accepts: missing time limits, retries without jitter, permissions too few or too many."""
    found = [] if machine.get("TimeoutSeconds") else ["the machine has no time limit"]
    called = set()
    for name, state in states(machine):
        if state["Type"] != "Task":
            continue
        called.add(state["Resource"])
        if not 0 < state.get("TimeoutSeconds", 0) <= LONGEST_TASK_S:
            found.append(f"{name} has no time limit of at most {LONGEST_TASK_S} s")
        retriers = [retrier for retrier in state.get("Retry", ()) if retrier.get("MaxAttempts") != 0]
        if not retriers:
            found.append(f"{name} does not retry")
        found += [f"{name} retries without jitter" for retrier in retriers if retrier.get("JitterStrategy") != "FULL"]
        named = "Name" in state.get("Parameters", {}) or "Name.$" in state.get("Parameters", {})
        if state["Resource"].endswith("states:startExecution") and not named:
            found.append(f"{name} starts an execution without a name, so a repetition starts another")
    found += [f"{resource} is called and not in the table of services" for resource in sorted(called - set(table))]
    found += [f"{resource} is in the table of services and not called" for resource in sorted(set(table) - called)]
    return found
