"""A program that stands in for terraform: it plays the messages it is told to, and keeps a list of what was made.

``FAKE_TERRAFORM`` names a folder with ``<command>.json`` files (``lines`` to print, ``errors`` for stderr, ``exit``). A
command without a file plays a little stack of numbered resources: apply makes those that are missing, one after the
other, and stops before the one that the file ``stop`` names.
"""

import json
import os
import sys
from pathlib import Path

HOME = Path(os.environ.get("FAKE_TERRAFORM", "."))
RESOURCES = [f"terraform_data.part[{number}]" for number in range(5)]


def say(message: dict[str, object]) -> None:
    """One line of the machine-readable output."""
    print(json.dumps({"@level": "info", "@module": "terraform.ui", "@message": "", **message}), flush=True)


def main() -> int:
    """Play one command."""
    command = next(argument for argument in sys.argv[1:] if not argument.startswith("-"))
    with (HOME / "calls").open("a") as calls:
        calls.write(json.dumps({"arguments": sys.argv[1:], "data": os.environ.get("TF_DATA_DIR")}) + "\n")
    script = HOME / f"{command}.json"
    if script.is_file():
        told = json.loads(script.read_text())
        for line in told.get("lines", []):
            print(line if isinstance(line, str) else json.dumps(line), flush=True)
        for line in told.get("errors", []):
            print(line, file=sys.stderr, flush=True)
        return int(told.get("exit", 0))
    return {"version": version, "init": lambda: 0, "plan": plan, "apply": apply, "output": output}[command]()


def made() -> list[str]:
    """What stands."""
    file = HOME / "made.json"
    return json.loads(file.read_text()) if file.is_file() else []


def version() -> int:
    """As ``terraform version -json``."""
    print(json.dumps({"terraform_version": "1.11.4"}))
    return 0


def plan() -> int:
    """Everything that is missing is to be made; with ``-destroy`` everything that stands is to go."""
    action, addresses = "create", [one for one in RESOURCES if one not in made()]
    if "-destroy" in sys.argv:
        action, addresses = "delete", made()
    for address in addresses:
        resource = {"addr": address, "resource_type": "terraform_data"}
        say({"type": "planned_change", "change": {"resource": resource, "action": action}})
    file = next(argument.removeprefix("-out=") for argument in sys.argv if argument.startswith("-out="))
    Path(file).write_text(json.dumps({"action": action, "addresses": addresses}))
    return 0


def apply() -> int:
    """Do what the plan file says, until told to stop."""
    planned = json.loads(Path(sys.argv[-1]).read_text())
    stop = HOME / "stop"
    for address in planned["addresses"]:
        hook = {"resource": {"addr": address}, "action": planned["action"]}
        say({"type": "apply_start", "hook": hook})
        if stop.is_file() and json.loads(stop.read_text())["before"] == address:
            say({"type": "apply_errored", "hook": hook | {"elapsed_seconds": 1}})
            problem = {"severity": "error", "address": address} | json.loads(stop.read_text())["problem"]
            say({"@level": "error", "type": "diagnostic", "diagnostic": problem})
            return 1
        stands = made()
        stands = [*stands, address] if planned["action"] == "create" else [one for one in stands if one != address]
        (HOME / "made.json").write_text(json.dumps(stands))
        say({"type": "apply_complete", "hook": hook | {"elapsed_seconds": 1}})
    return 0


def output() -> int:
    """As ``terraform output -json``."""
    print(json.dumps({"count": {"value": len(made()), "sensitive": False}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
