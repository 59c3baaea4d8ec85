"""The picture of the state machine in the document is drawn from the definition that runs."""

import json
from pathlib import Path
from typing import Any

from recsys_deploy.rollout.machine import DEFINITION

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "rollouts.md"


def diagram() -> str:
    """The definition as a Mermaid flow chart; dotted: after failures."""
    machine = json.loads(DEFINITION.read_text(encoding="utf-8"))
    lines = ["flowchart TD"]
    for name, state in machine["States"].items():
        lines += [f"  {name}{{{name}}}"] if state["Type"] == "Choice" else []
        lines += [f"  {name}([{name}])"] if state["Type"] in ("Succeed", "Fail") else []
        lines += [f"  {name} --> {state['Next']}"] if "Next" in state else []
        lines += [f"  {name} -->|{label(one)}| {one['Next']}" for one in state.get("Choices", ())]
        lines += [f"  {name} -->|otherwise| {state['Default']}"] if "Default" in state else []
        lines += [f"  {name} -.-> {one['Next']}" for one in state.get("Catch", ())]
    return "\n".join(lines)


def label(choice: dict[str, Any]) -> str:
    """When a choice is taken."""
    parts = choice.get("And", [choice])
    return " and ".join(str(one.get("StringEquals") or one["Variable"].rpartition(".")[2]) for one in parts)


def test_the_document_shows_the_machine_as_it_is() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    found = text.partition("```mermaid\n")[2].partition("\n```")[0]
    assert found == diagram(), f"docs/rollouts.md shows another machine; it becomes\n{diagram()}"
