"""Checks each newly published function version by invoking it, then moves the alias ``live`` to it.

An alias with weights between versions belongs to a rollout of code that somebody else started; it is refused.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from recsys_assets.aws_errors import error_code
from recsys_deploy.deploy.api_check import fault_of_health, fault_of_list, http_event, last_fault, question, read_json
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import CheckFailed, translated

LIVE: Final = "live"
LAST: Final = "api"
"""Moved last: it calls the shadow and trusts the authorizer, which are new by then."""

PAUSES_S: Final = (1, 2, 4)

READY_ATTEMPTS: Final = 40
READY_DELAY_S: Final = 5
NOT_READY: Final = ("ResourceConflictException", "SnapStartNotReadyException", "CodeArtifactUserPendingException")


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function: the version behind its alias, and the version published last."""

    name: str
    function_name: str
    live: str
    published: str
    revision: str

    @property
    def is_new(self) -> bool:
        """Whether the last published version is not live yet."""
        return self.live != self.published


def read_functions(aws: Aws, outputs: Mapping[str, Any]) -> list[Function]:
    """Functions of the environment, the API last.

    Raises:
        CheckFailed: an alias shares its traffic between versions.
    """
    client = aws.client("lambda")
    found = []
    for name, one in sorted(outputs["functions"].items(), key=lambda pair: (pair[0] == LAST, pair[0])):
        with translated(f"reading the alias {LIVE} of {one['function_name']}"):
            alias = client.get_alias(FunctionName=one["function_name"], Name=LIVE)
        if (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights"):
            raise CheckFailed(
                f"the alias {LIVE} of {one['function_name']} splits its traffic between versions: a rollout of code is "
                "in progress. No alias was moved; what was applied remains",
                remedy="finish the rollout or roll it back, then run the same command",
            )
        published = str(one["published_version"])
        found.append(Function(name, one["function_name"], alias["FunctionVersion"], published, alias["RevisionId"]))
    return found


def check_version(
    aws: Aws,
    function: Function,
    key: str,
    models: Collection[str],
    *,
    filled: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Invoke the last published version directly, as API Gateway and SQS do; it gets no shopper yet.

    Args:
        key: an API key of scope shop.
        models: versions of which one must answer; empty: any, the baseline too.
        filled: whether there are products to recommend.
        sleep: waits between attempts; a function that has just started may still be downloading its bundle.

    Raises:
        CheckFailed: it does not start, fails, or answers wrongly.
    """
    _wait(aws, function, sleep)
    if function.name == "authorizer":
        _expect(aws, function, http_event("POST", "/recommend", key=key), {"isAuthorized": True})
        _expect(aws, function, http_event("POST", "/recommend", key="rk_none"), {"isAuthorized": False})
    elif function.name == "shadow":
        _expect(aws, function, {"Records": []}, {})
    elif function.name == "api":
        _refuse(function, fault_of_health(*_ask(aws, function, http_event("GET", "/health"))))

        def recommend() -> str | None:
            event = http_event("POST", "/recommend", question(), key, behind_authorizer=True)
            return fault_of_list(*_ask(aws, function, event), models, filled=filled)

        _refuse(function, last_fault(recommend, PAUSES_S, sleep))


def move(aws: Aws, functions: Sequence[Function]) -> list[Function]:
    """Point the alias of each new function to its last published version, in this order; returns those moved.

    Raises:
        CheckFailed: somebody else moved an alias meanwhile. The aliases moved before it are moved back.
    """
    moved: list[Function] = []
    for function in functions:
        if not function.is_new:
            continue
        try:
            _point(aws, function, function.published, function.revision)
        except ClientError as error:
            move_back(aws, moved)
            raise CheckFailed(
                f"the alias {LIVE} of {function.function_name} could not be moved ({error}); all aliases are as before",
                remedy="run the same command again",
            ) from error
        moved.append(function)
    return moved


def move_back(aws: Aws, moved: Sequence[Function]) -> None:
    """Point aliases to their versions before `move`."""
    for function in reversed(moved):
        with translated(f"moving the alias {LIVE} of {function.function_name} back to version {function.live}"):
            _point(aws, function, function.live, None)


def _point(aws: Aws, function: Function, version: str, revision: str | None) -> None:
    guard = {"RevisionId": revision} if revision else {}
    aws.client("lambda").update_alias(
        FunctionName=function.function_name, Name=LIVE, FunctionVersion=version, RoutingConfig={}, **guard
    )


def _wait(aws: Aws, function: Function, sleep: Callable[[float], None]) -> None:
    """Wait until the version is active: with SnapStart, taking the snapshot can last minutes.

    A version that nobody invoked for 14 days becomes ``Inactive``; an invocation, which fails, makes it ``Pending``.
    botocore's waiter does not know this state and would wait in vain.
    """
    client = aws.client("lambda")
    names = {"FunctionName": function.function_name, "Qualifier": function.published}
    woken = False
    for _ in range(READY_ATTEMPTS):
        with translated(f"waiting for {function.function_name} version {function.published}"):
            found = client.get_function_configuration(**names)
            state = found.get("State", "Active")
            if state == "Inactive" and not woken:
                woken = True
                try:
                    client.invoke(**names, Payload=b"{}")
                except ClientError as error:
                    if error_code(error) not in NOT_READY:
                        raise
        if state == "Active":
            return
        if state == "Failed":
            _refuse(function, f"it does not start: {found.get('StateReason') or 'without a reason'}")
        sleep(READY_DELAY_S)
    _refuse(function, f"it does not start: it is {state} after {READY_ATTEMPTS * READY_DELAY_S} s")


def remove_old(aws: Aws, functions: Sequence[Function]) -> int:
    """Delete published versions except the live one, the one before it, and those behind any alias; how many.

    Every version with SnapStart has a paid snapshot, and all count towards the account's 75 GB of code.
    """
    client = aws.client("lambda")
    removed = 0
    for function in functions:
        name = function.function_name
        aliases = [
            one for page in client.get_paginator("list_aliases").paginate(FunctionName=name) for one in page["Aliases"]
        ]
        weights = [(one.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {} for one in aliases]
        kept = {"$LATEST", function.live, function.published, *(one["FunctionVersion"] for one in aliases)}
        kept |= {version for one in weights for version in one}
        pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
        for version in [one["Version"] for page in pages for one in page["Versions"]]:
            if version not in kept:
                client.delete_function(FunctionName=name, Qualifier=version)
                removed += 1
    return removed


def _ask(aws: Aws, function: Function, event: Mapping[str, Any]) -> tuple[int, Any]:
    answer = _invoke(aws, function, event)
    if not isinstance(answer, Mapping) or "statusCode" not in answer:
        _refuse(function, f"it answered {json.dumps(answer)[:300]} where an HTTP answer was expected")
    return int(answer["statusCode"]), read_json(answer.get("body") or "")


def _expect(aws: Aws, function: Function, event: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    answer = _invoke(aws, function, event)
    if not isinstance(answer, Mapping) or any(answer.get(name) != value for name, value in wanted.items()):
        _refuse(function, f"it answered {json.dumps(answer)[:300]} where {json.dumps(wanted)} was expected")


def _invoke(aws: Aws, function: Function, event: Mapping[str, Any]) -> Any:
    with translated(f"invoking {function.function_name} version {function.published}"):
        done = aws.client("lambda").invoke(
            FunctionName=function.function_name, Qualifier=function.published, Payload=json.dumps(event).encode()
        )
        payload = read_json(done["Payload"].read())
    if done.get("FunctionError"):
        said = payload.get("errorMessage") if isinstance(payload, Mapping) else payload
        _refuse(function, f"it failed with {str(said)[:300]}")
    return payload


def _refuse(function: Function, fault: str | None) -> None:
    if fault is not None:
        raise CheckFailed(
            f"{function.function_name} version {function.published} failed its check: {fault}. Version "
            f"{function.live} still answers; what was applied and published remains",
            remedy=f"read its log (/aws/lambda/{function.function_name}), correct the code, then run the same command",
        )
