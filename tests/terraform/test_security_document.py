"""docs/security.md against the permissions of every role of prod, by the lines of service-access."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping

from tests.terraform.runs import ROOT, SOURCE, State

WHERE_THERE_IS_ONE = {"firehose_write", "glue_runs", "s3_read", "states_start"}
"""Granted only without a Kinesis stream, or with a feature job, a shop's data, a rollout machine."""


def test_roles_have_what_the_document_says(environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    table = (SOURCE / "modules" / "service-access" / "main.tf").read_text(encoding="utf-8")
    line_of = {
        name.replace("_", " ").title().replace(" ", ""): name
        for name in re.findall(r"^    (\w+) = \{$", table, re.MULTILINE)
    }
    roles = {address: str(values["name"]) for address, values in state.of_type("aws_iam_role").items()}
    told = _told()
    seen = set()
    for address, values in state.of_type("aws_iam_role_policy").items():
        role = roles[address.replace("aws_iam_role_policy", "aws_iam_role")].removeprefix("recsys-prod-")
        given = {line_of[statement["Sid"]] for statement in json.loads(values["policy"])["Statement"]}
        assert given <= told[role], f"docs/security.md does not list {given - told[role]} of {role}"
        assert told[role] - given <= WHERE_THERE_IS_ONE, f"{role} was not given {told[role] - given}"
        seen.add(role)
    # prod has no feature job, and the role of backups has two policies of AWS's own.
    assert set(told) - seen == {"features", "backup"}


def _told() -> Mapping[str, set[str]]:
    """Role -> lines of service-access, by the document. A row without a role goes on with the one above it."""
    document = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    found: dict[str, set[str]] = defaultdict(set)
    role = ""
    for row in document.partition("| role |")[2].partition("\n\n")[0].splitlines()[2:]:
        name, _, lines, _ = (cell.strip() for cell in row.strip("|").split("|"))
        role = name.strip("`") or role
        found[role] |= set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", lines))
    return found
