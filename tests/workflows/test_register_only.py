"""A training that is not to touch what is live ends at the registry."""

from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from recsys_deploy import cli, homes
from recsys_deploy.run import commands, graph


@pytest.mark.parametrize(("options", "released"), [([], 1), (["--register-only"], 0)])
def test_only_a_plain_run_goes_live(
    options: list[str], released: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RECSYS_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    calls: list[Any] = []
    outcome = SimpleNamespace(success=True, seconds=1.0, run_id="r", problems=[], outcome="live")
    registry = SimpleNamespace(champion=lambda: "v1.0.0")
    monkeypatch.setattr(graph, "run_graph", lambda *given: outcome)
    monkeypatch.setattr(graph, "release", lambda *given: calls.append(given) or outcome)
    monkeypatch.setattr(homes, "open_registry", lambda settings: registry)
    monkeypatch.setattr(commands, "_print_outcome", lambda *given: None)
    result = CliRunner().invoke(cli.app, ["run", *options])
    assert result.exit_code == 0, result.output
    assert len(calls) == released
