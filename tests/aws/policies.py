"""A small IAM policy evaluator over the policies in Terraform's state: who may make which call.

It knows what the stack renders: actions and resources with wildcards, Deny before Allow, and policies inline and
attached. Conditions are not evaluated, so a statement with one counts as allowed.
"""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from tests.aws.stage import State


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements_by_role(state: State) -> dict[str, list[Mapping[str, Any]]]:
    """Every role's statements, by the name of the role."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    managed = {}
    for address, values in state.instances.items():
        if ".aws_iam_role." in address:
            found.setdefault(values["name"], [])
        elif ".aws_iam_policy." in address:
            managed[values["arn"]] = values["policy"]
    for address, values in state.instances.items():
        if ".aws_iam_role_policy." in address:
            found[values["role"]] += json.loads(values["policy"])["Statement"]
        elif ".aws_iam_role_policy_attachment." in address:
            found[values["role"]] += json.loads(managed[values["policy_arn"]])["Statement"]
    return found


def allows(statements: list[Mapping[str, Any]], action: str, resource: str) -> bool:
    """Whether these statements allow the call."""
    effects = {
        statement["Effect"]
        for statement in statements
        if any(fnmatchcase(action.lower(), one.lower()) for one in _listed(statement["Action"]))
        and any(fnmatchcase(resource, one) for one in _listed(statement["Resource"]))
    }
    return effects == {"Allow"}
