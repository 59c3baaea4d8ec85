"""One process that serves a home by calling the handler, and reports on itself as one line of JSON.

The process imports nothing of its own before the handler that would make a cold start look slower or warmer than it is.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HEAVY = ("pandas", "torch", "scipy", "dagster", "sklearn", "pyarrow", "implicit", "lightgbm")
SETTLE_CALLS = 30
PAUSE_S = 0.003
"""Between calls, as between a shopper's requests: work after a reply is not measured as part of the next."""


def event(body: dict[str, Any], number: int) -> dict[str, Any]:
    """A request as API Gateway hands it over (payload 2.0), authorised."""
    return {
        "version": "2.0",
        "routeKey": "POST /recommend",
        "rawPath": "/recommend",
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {
            "http": {"method": "POST", "path": "/recommend", "sourceIp": "127.0.0.1"},
            "requestId": f"probe-{number}",
            "stage": "$default",
            "authorizer": {"lambda": {"name": "probe", "key_id": "probe", "scopes": "shop operations"}},
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


class Context:
    """Lambda's context, as far as Powertools reads it."""

    function_name = "recommend"
    function_version = "1"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:recommend"
    aws_request_id = "probe"


def main() -> None:
    """``HOME CALLS``: answer once cold, then ``CALLS`` times warm."""
    home, calls = sys.argv[1], int(sys.argv[2])
    os.environ["RECSYS_HOME"] = home
    report = os.fdopen(os.dup(1), "w")
    # The handler logs every request to standard output, as on Lambda; here nobody reads that.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    began = time.perf_counter()
    from lambda_api.handlers import api

    imported = time.perf_counter()
    first = api.handler(event({"user_id": "user_0"}, 0), Context())
    answered = time.perf_counter()
    heavy = [name for name in HEAVY if name in sys.modules]
    times, stages = warm_calls(api, calls)
    from lambda_api.handlers.dependencies import serving

    serving().close()
    content = json.loads(first["body"])
    measured = {
        "import_ms": 1000 * (imported - began),
        "first_ms": 1000 * (answered - imported),
        "model_version": content["model_version"],
        "fallback": content.get("fallback"),
        "items": len(content["recommendations"]),
        "heavy": heavy,
        "times_ms": times,
        "fallbacks": sum(stage is not None for stage in stages),
        "peak_bytes": peak_bytes(),
    }
    report.write(json.dumps(measured) + "\n")
    report.flush()


def warm_calls(api: Any, calls: int) -> tuple[list[float], list[str | None]]:
    """Milliseconds of each call after the first few, and what each fell back to."""
    times: list[float] = []
    notes: list[str | None] = []
    for number in range(SETTLE_CALLS + calls):
        body = {"user_id": f"user_{number % 50}", "context": {"page": "homepage", "device": "mobile"}}
        request = event(body, number)
        began = time.perf_counter()
        answer = api.handler(request, Context())
        times.append(1000 * (time.perf_counter() - began))
        notes.append(json.loads(answer["body"]).get("fallback"))
        time.sleep(PAUSE_S)
    return times[SETTLE_CALLS:], notes[SETTLE_CALLS:]


def peak_bytes() -> int:
    """The most memory this process has held, mapped files that were read included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
