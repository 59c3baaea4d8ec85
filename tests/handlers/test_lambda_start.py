"""Lambda's initialisation, and a SnapStart restore: a process with the state of a snapshot answers with what is now."""

import sys
import time
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from lambda_api.handlers import dependencies
from lambda_api.handlers.lambda_start import prepare_on_lambda
from lambda_api.settings import make_settings
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Key


def hooks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Lambda's runtime is asked to call after a restore."""
    registered: list[object] = []
    runtime = ModuleType("snapshot_restore_py")
    runtime.register_after_restore = registered.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", runtime)
    return registered


def test_nothing_is_prepared_outside_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    prepare_on_lambda(lambda: pytest.fail("prepared"))


@pytest.mark.parametrize(("kind", "restores"), [("on-demand", 0), ("snap-start", 1)])
def test_a_restore_prepares_again_where_there_are_snapshots(
    kind: str, restores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = hooks(monkeypatch)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "api")
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    calls: list[int] = []
    prepare_on_lambda(lambda: calls.append(1))
    assert (len(calls), len(registered)) == (1, restores)


def test_after_a_restore_nothing_of_the_snapshot_is_believed(tmp_path: Path) -> None:
    """Route, connections and deadlines are new; the worker after replies stays, because it registered at the start."""
    settings = make_settings({"home": tmp_path})
    with mock.patch.object(dependencies, "current_settings", lambda: settings):
        dependencies.use(None)
        try:
            dependencies.start_fresh()
            snapshot = dependencies.serving()
            routing = snapshot.service.routing
            # The state of a snapshot: a route, and a deadline that a restored clock does not reach for a day.
            routing.known = mock.sentinel.route_of_publish_time
            routing._due_at = time.monotonic() + 86_400
            assert routing.current() is mock.sentinel.route_of_publish_time
            dependencies.start_fresh()
            restored = dependencies.serving()
            assert restored.service.routing.current() is read_routing(restored.tables[0])
            assert restored.after_reply is snapshot.after_reply
            assert not set(map(id, restored.tables)) & set(map(id, snapshot.tables))
            assert restored.tables[0].get(Key("warm", "up")) is None
        finally:
            dependencies.use(None)
