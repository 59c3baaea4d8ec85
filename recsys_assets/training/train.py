"""The ``train`` program: a model of the zoo, fitted in a process of its own, under the ``/opt/ml`` contract.

    python -m recsys_assets.training.train [train] [--root /opt/ml] [--channel NAME=PATH] [--set NAME=VALUE]
                                           [--exit-with-parent]

Put the order of events of one training job here. Keep folders (``sagemaker/paths.py``), hyper-parameters
(``hyperparameters.py``), destinations of progress (``progress.py``) and models out.

Every setting is looked for in the job's files first, in ``SM_*`` variables second, on the command line third; given
twice with different meanings it is an error. Exit codes: 0 done, 1 failed (reason in ``output/failure``),
75 told to stop (state in ``checkpoints``; run again to go on).
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lambda_api.recommender.bundle import BundleInfo, DataWindow, Manifest, write_bundle
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.sealed_folder import MANIFEST
from recsys_assets.measurement.importance import RankerImportance, fit_and_explain
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import by_type
from recsys_assets.models.resumable import ResumableTrainer, TrainingInterrupted
from recsys_assets.models.trainer import Trainer
from recsys_assets.sagemaker.paths import DONE, FAILED, INTERRUPTED, JobError, SageMakerPaths
from recsys_assets.schema import INTERACTIONS, PRODUCTS, TableContract
from recsys_assets.training.checkpoints import NpzCheckpoints
from recsys_assets.training.hyperparameters import TrainingJob, given_in_environment, read_job
from recsys_assets.training.interruption import StopRequest
from recsys_assets.training.loss_curve import LossCurve, as_markdown_image, describe, loss_curve_svg
from recsys_assets.training.progress import Destination, open_destination

INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL = "interactions", "products"
METRICS_FILE, LOSS_CURVE_FILE, LOSS_PLOT_FILE = "metrics.json", "loss_curve.json", "loss_curve.svg"
IMPORTANCE_FILE = "importance.json"
"""What the ranker looks at (`RankerImportance`), of models that have one."""

_LEARNED_FROM = TableContract(
    name=INTERACTIONS.name,
    schema=pa.schema(
        [
            INTERACTIONS.schema.field(name)
            for name in ("user_id", "product_id", "interaction_type", "timestamp", "rating")
        ]
    ),
    required=("user_id", "product_id", "interaction_type", "timestamp"),
)


@dataclass(frozen=True)
class CommandLine:
    """What was given on the command line."""

    root: Path
    channels: Mapping[str, Path]
    hyperparameters: Mapping[str, str]
    exit_with_parent: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one training job; returns the exit code and never raises."""
    stop = StopRequest()
    stop.listen()
    # Trouble before the root is known (a malformed command line) is argparse's to report; it exits with code 2.
    command_line = parse_command_line(sys.argv[1:] if arguments is None else arguments)
    paths = SageMakerPaths(command_line.root)
    try:
        if command_line.exit_with_parent:
            stop.follow_parent()
        with open_destination() as destination:
            train(paths, command_line, os.environ, destination, stop)
    except TrainingInterrupted as interruption:
        print(f"interrupted: {interruption}; run the same job again to go on", file=sys.stderr, flush=True)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001
        # The platform's contract: whatever went wrong ends up in the failure file and in the exit code.
        paths.record_failure(error)
        return FAILED
    return DONE


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """Parse ``arguments``. Raises ``SystemExit`` (code 2) when they cannot be understood."""
    parser = argparse.ArgumentParser(prog="train", description="Fit a model of the zoo under the /opt/ml contract.")
    parser.add_argument("command", nargs="?", choices=["train"], help="what SageMaker says behind an image's name")
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="root of the job's folders")
    parser.add_argument("--channel", action="append", default=[], metavar="NAME=PATH", type=_pair)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", type=_pair, dest="hyperparameters")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the launching process ends")
    parsed = parser.parse_args(arguments)
    for option in ("channel", "hyperparameters"):
        names = [name for name, _ in getattr(parsed, option)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            parser.error(f"given more than once: {', '.join(repeated)}")
    return CommandLine(
        root=parsed.root,
        channels={name: Path(path) for name, path in parsed.channel},
        hyperparameters=dict(parsed.hyperparameters),
        exit_with_parent=parsed.exit_with_parent,
    )


def train(
    paths: SageMakerPaths,
    command_line: CommandLine,
    environment: Mapping[str, str],
    destination: Destination,
    stop: StopRequest,
) -> Manifest:
    """Read the job, fit, write the bundle and what else is worth keeping, and report.

    Raises:
        JobError: the job is set up wrongly.
        TrainingInterrupted: ``stop`` was requested.
        ValueError: the data cannot carry the model.
    """
    began = time.perf_counter()
    paths.start_afresh()
    paths.require_supported()
    job = read_job(
        {
            str(paths.hyperparameters): paths.read_config(paths.hyperparameters),
            "SM_HPS": given_in_environment(environment),
            "the command line": command_line.hyperparameters,
        }
    )
    data = _read_data(paths, command_line.channels, environment, job.as_of)
    destination.tell(
        f"training {job.trainer.name} on {len(data.user)} interactions of {len(data.users)} users "
        f"with {len(data.products)} products, before {job.as_of:%Y-%m-%d %H:%M} UTC"
    )
    curve = LossCurve()
    checkpoints = NpzCheckpoints(
        paths.checkpoints, lambda path, error: destination.tell(f"checkpoint {path} cannot be read ({error}); skipped")
    )
    recommender, importance = _fit(job.trainer, data, curve, destination, checkpoints, stop)
    manifest = _write_model(recommender, paths, _bundle_info(job, data, curve))
    metrics = _metrics(job, data, curve, manifest, time.perf_counter() - began)
    _write_output(paths, metrics, curve, importance)
    checkpoints.clear()
    destination.finish(_metadata(metrics, curve), manifest.checksum)
    return manifest


def read_channel(folder: Path, contract: TableContract) -> pa.Table:
    """Every Parquet file under ``folder`` (or the file itself), with exactly the columns of ``contract``.

    Raises:
        JobError: there is no Parquet file, one cannot be read, or a required column is missing or of another type.
    """
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    files = [file for file in files if not file.name.startswith(("_", "."))]
    if not files:
        raise JobError(f"channel {contract.name!r}: no Parquet file under {folder}")
    parts = []
    for file in files:
        try:
            present = set(pq.read_schema(file).names)
            wanted = [name for name in contract.schema.names if name in present]
            parts.append(contract.conform(pq.read_table(file, columns=wanted, partitioning=None)))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise JobError(f"channel {contract.name!r}: {file}: {error}") from error
    return pa.concat_tables(parts)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _read_data(
    paths: SageMakerPaths, channels: Mapping[str, Path], environment: Mapping[str, str], as_of: datetime
) -> TrainingData:
    unknown = sorted(set(channels) - {INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL})
    if unknown:
        raise JobError(f"unknown channel {', '.join(unknown)}; expected {INTERACTIONS_CHANNEL} and {PRODUCTS_CHANNEL}")

    def folder_of(name: str) -> Path:
        variable = f"SM_CHANNEL_{name.upper()}"
        places = [paths.channel(name) if paths.channel(name).exists() else None]
        places += [Path(environment[variable]) if variable in environment else None, channels.get(name)]
        given = {place.resolve() for place in places if place is not None}
        if len(given) > 1:
            raise JobError(
                f"channel {name!r} is given more than once: {', '.join(sorted(map(str, given)))}; give it once"
            )
        if not given:
            raise JobError(f"channel {name!r} is missing: put Parquet files under {paths.channel(name)}")
        return given.pop()

    interactions = read_channel(folder_of(INTERACTIONS_CHANNEL), _LEARNED_FROM)
    products = read_channel(folder_of(PRODUCTS_CHANNEL), PRODUCTS)
    return TrainingData.from_tables(interactions, products, as_of)


def _fit(
    trainer: Trainer,
    data: TrainingData,
    curve: LossCurve,
    destination: Destination,
    checkpoints: NpzCheckpoints,
    stop: StopRequest,
) -> tuple[Recommender, RankerImportance | None]:
    def report(name: str, value: float) -> None:
        row = curve.report(name, value)
        if row is not None:
            destination.tell(describe(row))

    if isinstance(trainer, ResumableTrainer):
        with stop.at_checkpoints():
            return trainer.fit_resumable(data, report, checkpoints, stop), None
    return fit_and_explain(trainer, data, report)


def _bundle_info(job: TrainingJob, data: TrainingData, curve: LossCurve) -> BundleInfo:
    return BundleInfo(
        trainer=job.trainer.name,
        hyper_parameters=job.trainer.parameters(),
        data_window=DataWindow(start=datetime.fromtimestamp(int(data.timestamp.min()), UTC), end=job.as_of),
        metrics={f"training_{name}": value for name, value in curve.totals.items()},
        git_revision=job.git_revision,
    )


def _write_model(recommender: Recommender, paths: SageMakerPaths, info: BundleInfo) -> Manifest:
    """Write the bundle beside the model folder, then move its parts in, the manifest last.

    A container's model folder is a mount point, which cannot be renamed over; without its manifest a bundle is refused,
    so a half-moved one is never served.
    """
    complete = paths.root / "bundle"
    manifest = write_bundle(recommender, complete, info)
    for part in sorted(complete.iterdir(), key=lambda path: path.name == MANIFEST):
        shutil.move(part, paths.model / part.name)
    complete.rmdir()
    return manifest


def _metrics(
    job: TrainingJob, data: TrainingData, curve: LossCurve, manifest: Manifest, seconds: float
) -> dict[str, Any]:
    type_weights = getattr(job.trainer, "type_weights", None)
    positives = data.matrix(by_type(type_weights)) if type_weights else data.matrix()
    return {
        "model": job.trainer.name,
        "parameters": job.trainer.parameters(),
        "as_of": job.as_of.isoformat(),
        "interactions": len(data.user),
        "positives": int(positives.nnz),
        "users": len(data.users),
        "products": len(data.products),
        "epochs": len(curve.rows),
        "seconds": round(seconds, 3),
        "bundle_checksum": manifest.checksum,
        **{name: value for name, value in curve.totals.items() if name not in ("epoch", "iteration")},
    }


def _write_output(
    paths: SageMakerPaths, metrics: Mapping[str, Any], curve: LossCurve, importance: RankerImportance | None
) -> None:
    texts = {
        METRICS_FILE: json.dumps(metrics, indent=2, allow_nan=False),
        LOSS_CURVE_FILE: json.dumps(curve.rows, allow_nan=False),
        LOSS_PLOT_FILE: loss_curve_svg(curve.rows),
    }
    if importance is not None:
        texts[IMPORTANCE_FILE] = importance.to_json()
    for name, text in texts.items():
        (paths.output_data / name).write_text(text)


def _metadata(metrics: Mapping[str, Any], curve: LossCurve) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        name: {"raw_value": value, "type": "json"} if isinstance(value, dict) else value
        for name, value in metrics.items()
    }
    if curve.rows:
        metadata["loss_curve"] = {"raw_value": curve.rows, "type": "json"}
        plot = as_markdown_image(loss_curve_svg(curve.rows), "loss curve")
        metadata["loss_plot"] = {"raw_value": plot, "type": "md"}
    return metadata


if __name__ == "__main__":
    sys.exit(main())
