"""The API asked at its address, as a shop would, until it answers rightly or patience ends.

Put here how long and how often is asked. Keep what a right answer is in ``questions``.
"""

import json
import time
from collections.abc import Callable, Collection
from typing import Final

from recsys_deploy.deploy.http_call import HttpCall
from recsys_deploy.deploy.questions import fault_of_health, fault_of_list, question, read_json

PAUSES_S: Final = (1, 2, 4, 8, 8, 10, 10, 10)
"""Between attempts: 53 s in all. A warm function remembers its route for 30 s, the gateway the authorizer as
long."""

TIMEOUT_S: Final = 35.0
"""API Gateway gives up after 30 s itself."""


def fault_of_api(
    http: HttpCall,
    url: str,
    key: str,
    models: Collection[str],
    *,
    filled: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Ask ``GET /health`` and ``POST /recommend``; ``None`` once both are right, else the last fault.

    Args:
        http: asks.
        url: of the API, without a slash at the end.
        key: of scope shop.
        models: versions of which one must answer; empty: any, the baseline too.
        filled: whether there is something to recommend.
        sleep: waits.
    """
    fault: str | None = None
    for pause in (*PAUSES_S, None):
        fault = _ask_once(http, url, key, models, filled)
        if fault is None or pause is None:
            return fault
        sleep(pause)
    return fault


def _ask_once(http: HttpCall, url: str, key: str, models: Collection[str], filled: bool) -> str | None:
    headers = {"accept": "application/json"}
    try:
        health = http("GET", f"{url}/health", headers, None, TIMEOUT_S)
        if fault := fault_of_health(health.status, read_json(health.body)):
            return fault
        headers |= {"content-type": "application/json", "x-api-key": key}
        answer = http("POST", f"{url}/recommend", headers, json.dumps(question()).encode(), TIMEOUT_S)
    except OSError as error:
        return f"{url} does not answer: {error}"
    return fault_of_list(answer.status, read_json(answer.body), models, filled=filled)
