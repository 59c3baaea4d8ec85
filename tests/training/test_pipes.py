"""Training under Dagster: figures arrive as metadata, failures fail the run, and nothing survives the run."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from lambda_api.recommender.bundle import read_manifest
from recsys_assets.sagemaker.paths import SageMakerPaths
from tests.patience import PATIENCE_S, wait_until
from tests.training.pipes_run import training_asset
from tests.training.processes import environment, is_alive, started, trainings_in
from tests.training.shop import TINY_NCF, fit_of

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialise(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize([asset], instance=instance, raise_on_error=False)


def log_messages(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [record.user_message for record in instance.all_logs(run_id)]


def test_parameters_reach_the_training_and_figures_arrive_as_metadata(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = materialise(training_asset(tmp_path, epochs=2), instance)
    assert result.success
    [event] = result.asset_materializations_for_node("small_ncf_model")
    paths = SageMakerPaths(tmp_path / fit_of("ncf").label)
    used = read_manifest(paths.model).info.hyper_parameters
    assert used == {**used, **TINY_NCF, "epochs": 2}
    metrics = json.loads((paths.output_data / "metrics.json").read_text())
    curve = event.metadata["loss_curve"].value
    assert curve == json.loads((paths.output_data / "loss_curve.json").read_text())
    assert len(curve) == metrics["epochs"] > 0
    for name in ("best_epoch", "seconds", "positives", "epochs", "final_loss"):
        assert event.metadata[f"fit_{name}"].value == metrics[name]
    assert isinstance(event.metadata["loss_plot"], dg.MarkdownMetadataValue)
    assert event.metadata["loss_plot"].value.startswith("![loss curve](data:image/svg+xml;base64,")
    assert "validation_ndcg" not in event.metadata, "the name of the validation window's figure"
    epochs = [line for line in log_messages(instance, result.run_id) if line.startswith("epoch ")]
    assert len(epochs) == metrics["epochs"]
    assert "loss" in epochs[0]


def test_a_failed_training_fails_the_run_and_says_why(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    result = materialise(training_asset(tmp_path, learning_rate=1e30), instance)
    assert not result.success
    assert not result.get_asset_materialization_events()
    events = [record.dagster_event for record in instance.all_logs(result.run_id) if record.dagster_event]
    reasons = [event.engine_event_data.error for event in events if event.is_engine_event]
    assert any("lower learning_rate" in reason.message for reason in reasons if reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "number"),
    [
        # Killed outright, Dagster cannot tell the training; the training notices. (A step process of the multiprocess
        # executor outlives a killed run, so there the training rightly goes on: its parent is alive and waits for it.)
        ("in_process", signal.SIGKILL),
        ("multiprocess", signal.SIGINT),
    ],
)
def test_interrupting_the_run_stops_the_training(tmp_path: Path, executor: str, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.training.pipes_run", str(tmp_path), executor]
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr, started(command, environment(), CHECKOUT, stderr) as dagster:
        wait_until(lambda: list(tmp_path.glob("*/checkpoints/checkpoint-*.npz")), "training is under way")
        [training] = trainings_in(tmp_path / fit_of("ncf").label)
        dagster.send_signal(number)
        wait_until(lambda: not is_alive(training), "the training has ended")
        dagster.wait(timeout=PATIENCE_S)
    assert dagster.returncode != 0
    assert list(tmp_path.glob("*/checkpoints/checkpoint-*.npz"))
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        [run] = instance.get_runs()
        assert not instance.get_latest_materialization_event(dg.AssetKey("small_ncf_model"))
        if number == signal.SIGKILL:
            assert run.status == dg.DagsterRunStatus.STARTED, "nobody was left to write it down; run monitoring does"
        else:
            assert run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED), errors.read_text()
