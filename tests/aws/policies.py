"""A small IAM policy evaluator over the policies in Terraform's state: who may make which call.

It knows what the stack renders: actions and resources with wildcards, Deny before Allow, policies inline and attached,
and the operators of conditions in `OPERATORS`; another operator is an error, so that no condition is passed over.
"""

import json
from collections.abc import Callable, Iterable, Mapping
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


OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda given, wanted: given == wanted,
    "StringLike": fnmatchcase,
    "ArnLike": fnmatchcase,
    "Bool": lambda given, wanted: given.lower() == wanted.lower(),
}
"""Operators of conditions: whether the value of a key in the request has a value of the policy."""


def allows(
    statements: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str] | None = None
) -> bool:
    """Whether these statements allow the call; ``context`` has the condition keys of the request and their values."""
    effects = {
        statement["Effect"]
        for statement in statements
        if any(fnmatchcase(action.lower(), one.lower()) for one in _listed(statement["Action"]))
        and any(fnmatchcase(resource, one) for one in _listed(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context or {})
    }
    return effects == {"Allow"}


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Whether every key is in the request with one of the values; a key that is missing there matches nothing."""
    return all(
        key in context and any(OPERATORS[operator](context[key], wanted) for wanted in _listed(values))
        for operator, keys in condition.items()
        for key, values in keys.items()
    )
