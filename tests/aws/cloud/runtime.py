"""Lambda's Python runtime, as far as a zip can tell: the program inside a function's process.

Started as ``python -I -S runtime.py <sandbox>``: no site-packages and no checkout, so the zip has to bring everything.
Where the system allows it, ``<sandbox>`` becomes the process's own ``/tmp``, as on Lambda. This file imports only the
standard library, so that it cannot provide what a zip lacks.

One JSON line in (``{"event", "request_id"}``), one out (``{"payload"}`` or ``{"error"}``); what the function prints
goes to standard error.
"""

import ctypes
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

MS_BIND = 4096


class Context:
    """The second argument of a handler."""

    def __init__(self, request_id: str) -> None:
        self.aws_request_id = request_id
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.invoked_function_arn = os.environ["CLOUD_FUNCTION_ARN"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._until = time.monotonic() + float(os.environ["CLOUD_TIMEOUT_S"])

    def get_remaining_time_in_millis(self) -> int:
        """Until the invocation is ended."""
        return max(0, int(1000 * (self._until - time.monotonic())))


def enter(sandbox: Path) -> Path:
    """Make ``sandbox`` this process's ``/tmp`` where mounting is allowed; the folder of the code there."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.environ.pop("CLOUD_OWN_TMP") == "yes"
    if own and libc.mount(str(sandbox).encode(), b"/tmp", None, MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), "cannot mount a /tmp")
    return Path("/tmp/task") if own else sandbox / "task"


def failure(error: BaseException) -> dict[str, Any]:
    """An exception as Lambda reports it."""
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_exception(type(error), error, error.__traceback__),
    }


def main() -> None:
    """Import the handler and answer until standard input ends."""
    # A function that prints must not speak to whoever invoked it.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    task = enter(Path(sys.argv[1]))
    os.environ["LAMBDA_TASK_ROOT"] = str(task)
    os.chdir(task)
    sys.path.insert(0, str(task))
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    try:
        handler = getattr(importlib.import_module(module.replace("/", ".")), name)
    except BaseException as error:
        print(json.dumps({"error": failure(error)}), file=answers)
        raise
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        given = json.loads(line)
        try:
            # Lambda serialises what a handler returns, too: what JSON cannot hold is an error there.
            payload = json.dumps(handler(given["event"], Context(given["request_id"])))
            print(json.dumps({"payload": payload}), file=answers)
        except Exception as error:  # noqa: BLE001 - it is the function's answer
            traceback.print_exc()
            print(json.dumps({"error": failure(error)}), file=answers)
        sys.stdout.flush()


main()
