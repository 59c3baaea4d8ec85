"""How long tests wait for what other processes and threads do."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from lambda_api.handlers.dependencies import Serving, build
from lambda_api.serving.service import Budgets
from lambda_api.settings import Settings

PATIENCE_S: Final = 300.0
"""Bound on every wait. It ends a test that hangs and measures nothing: a busy machine can stand still for a minute."""

Found = TypeVar("Found")


def wait_until(
    holds: Callable[[], Found],
    what: str | Callable[[], str] = "what was waited for happened",
    process: "subprocess.Popen[Any] | None" = None,
    every_s: float = 0.05,
) -> Found:
    """Wait until ``holds`` gives something true, and return that.

    Args:
        what: said when it never happens; a function is called then, for a log that has grown meanwhile.
        process: the wait fails at once when this process has ended.

    Raises:
        AssertionError: `PATIENCE_S` have passed, or ``process`` has ended.
    """
    until = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > until:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"{'the process ended' if ended else f'{PATIENCE_S:.0f} s passed'} before {said}")
        time.sleep(every_s)
    return found


def patient(settings: Settings, **others: Any) -> Serving:
    """What a process answers with, made by `build`, without time budgets of milliseconds: a busy machine exceeds them.

    ``others`` go to `build`; work after replies is done before them unless they say otherwise.
    """
    budgets = Budgets(history_s=PATIENCE_S, loading_s=PATIENCE_S, scoring_s=PATIENCE_S, endpoint_s=PATIENCE_S)
    serving = build(settings, **{"immediate": True, "budgets": budgets, **others})
    for guard in serving.guards():
        guard.budget_s = PATIENCE_S
    return serving
