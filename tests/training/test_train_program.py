"""The ``train`` program as a real process over an ``/opt/ml`` tree."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lambda_api.recommender.bundle import read_bundle, read_manifest
from recsys_assets.models.zoo import make_trainer
from recsys_assets.sagemaker.paths import DONE, FAILED, INTERRUPTED, SageMakerPaths
from recsys_assets.training.train import main
from tests.models.test_ncf import shop
from tests.patience import PATIENCE_S, wait_until
from tests.training.processes import environment, prepare, run, started
from tests.training.shop import AS_OF, TINY_NCF

LONG = {"epochs": 400, "patience": 0}
"""Long enough to be interrupted with certainty."""


def change_config(root: Path, name: str, content: str | dict) -> None:
    """Update a file of the platform, or replace it by text."""
    file = root / "input" / "config" / f"{name}.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(content if isinstance(content, str) else json.dumps({**before, **content}))


@pytest.fixture
def handlers() -> Iterator[None]:
    """The program takes over signals; this process gets its own back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("model", ["ncf", "popularity"])
def test_trains_a_model_of_the_zoo(tmp_path: Path, model: str) -> None:
    done = run(prepare(tmp_path, model))
    assert done.returncode == DONE, done.stderr
    paths = SageMakerPaths(tmp_path)
    loaded = read_bundle(paths.model)
    in_process = make_trainer(model, TINY_NCF if model == "ncf" else {}).fit(shop())
    histories = shop().histories()
    expected = in_process.recommend(histories, 10)
    actual = loaded.recommender.recommend(histories, 10)
    assert (actual.products == expected.products).all()
    assert (actual.scores == expected.scores).all()
    info = loaded.manifest.info
    assert info.trainer == model
    assert info.data_window is not None
    assert info.data_window.end == AS_OF
    metrics = json.loads((paths.output_data / "metrics.json").read_text())
    assert metrics["bundle_checksum"] == loaded.manifest.checksum
    assert metrics["interactions"] == len(shop().user)
    curve = json.loads((paths.output_data / "loss_curve.json").read_text())
    assert len(curve) == metrics["epochs"] == done.stderr.count("epoch ")
    assert (model == "ncf") == bool(curve)
    assert not paths.failure.exists()
    assert list(paths.checkpoints.glob("*")) == []


def test_hyperparameters_travel_as_strings(tmp_path: Path) -> None:
    prepare(tmp_path)
    stored = json.loads((tmp_path / "input" / "config" / "hyperparameters.json").read_text())
    assert stored.pop("as_of") == AS_OF.isoformat()
    assert stored.pop("model") == "ncf"
    assert all(isinstance(value, str) for value in stored.values())
    assert stored["mlp_layers"] == "[8, 4]"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hyperparameters": {"momentum": "0.9"}}, "JobError: unknown hyper-parameter momentum"),
        ({"hyperparameters": {"epochs": "many"}}, "JobError: hyper-parameter epochs is 'many'"),
        ({"hyperparameters": {"learning_rate": "1e30"}}, "Diverged: ncf diverged in epoch 1"),
        ({"hyperparameters": {"as_of": "1999-01-01T00:00:00Z"}}, "NothingToLearn: ncf has nothing to learn from"),
        ({"resourceconfig": {"hosts": ["algo-1", "algo-2"]}}, "JobError: train runs on one host"),
        (
            {"inputdataconfig": {"products": {"TrainingInputMode": "Pipe"}}},
            "JobError: channel 'products' arrives in Pipe",
        ),
        ({"hyperparameters": "{broken"}, "JobError: "),
    ],
)
@pytest.mark.usefixtures("handlers")
def test_failures_are_written_where_the_platform_looks(
    tmp_path: Path, change: dict, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path)
    for name, content in change.items():
        change_config(tmp_path, name, content)
    assert main(["--root", str(tmp_path)]) == FAILED
    failure = (tmp_path / "output" / "failure").read_text()
    assert failure.startswith(reason), "SageMaker shows the first 1,024 characters as the reason"
    assert f"failed: {reason}" in capsys.readouterr().err
    assert list((tmp_path / "model").glob("*")) == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "channel 'interactions' is missing"),
        ("empty", "no Parquet file under"),
        ("column", "interactions: required column.s. missing: product_id"),
        ("bytes", "part-0.parquet"),
    ],
)
@pytest.mark.usefixtures("handlers")
def test_a_bad_channel_is_named(tmp_path: Path, damage: str, reason: str) -> None:
    prepare(tmp_path)
    channel = tmp_path / "input" / "data" / "interactions"
    file = channel / "part-0.parquet"
    if damage == "missing":
        shutil.rmtree(channel)
    elif damage == "empty":
        file.unlink()
    elif damage == "column":
        pq.write_table(pq.read_table(file).drop_columns(["product_id"]), file)
    else:
        file.write_bytes(file.read_bytes()[:-100])
    assert main(["--root", str(tmp_path)]) == FAILED
    failure = (tmp_path / "output" / "failure").read_text()
    assert failure.startswith("JobError: ")
    assert re.search(reason, failure.splitlines()[0])


def test_a_later_success_leaves_no_trace_of_the_failure(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, "popularity")
    change_config(tmp_path, "hyperparameters", {"half_life_days": "-1"})
    assert run(prepared).returncode == FAILED
    assert "half_life_days" in (tmp_path / "output" / "failure").read_text()
    assert run(prepare(tmp_path, "popularity")).returncode == DONE
    assert not (tmp_path / "output" / "failure").exists()


@pytest.mark.usefixtures("handlers")
def test_a_malformed_command_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--rooot", "x"])
    assert ended.value.code == 2
    assert "usage: train" in capsys.readouterr().err


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nobody stopped."""
    root = tmp_path_factory.mktemp("whole")
    assert run(prepare(root, **LONG)).returncode == DONE
    return root


@pytest.mark.slow
def test_a_training_that_was_stopped_and_resumed_equals_one_that_was_not(whole: Path, tmp_path: Path) -> None:
    """The newest checkpoint is damaged on top, so the training resumes from the one before it."""
    root = tmp_path / "stopped"
    job = prepare(root, **LONG)
    with started(job, environment(), cwd=Path("/")) as process:
        assert process.stderr is not None
        wait_until(lambda: "epoch 3:" in process.stderr.readline(), "three epochs have been trained")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)  # a second request changes nothing
        _, rest = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == INTERRUPTED, rest
    assert "interrupted: stopped in epoch" in rest
    assert not (root / "output" / "failure").exists()
    assert list((root / "model").glob("*")) == []
    newest = max((root / "checkpoints").glob("checkpoint-*.npz"))
    newest.write_bytes(newest.read_bytes()[:-50])
    resumed = run(prepare(root, **LONG))
    assert resumed.returncode == DONE, resumed.stderr
    assert f"checkpoint {newest} cannot be read" in resumed.stderr
    expected, actual = (read_manifest(folder / "model") for folder in (whole, root))
    assert actual.files == expected.files
    curves = [(folder / "output" / "data" / "loss_curve.json").read_text() for folder in (whole, root)]
    assert curves[0] == curves[1]


def test_the_launcher_does_not_load_what_only_training_needs() -> None:
    program = (
        "import sys, recsys_assets.training.local_launcher, recsys_assets.models.ncf;"
        "print([m for m in ('torch', 'sklearn', 'onnx', 'onnxruntime', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
