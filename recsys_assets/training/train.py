"""The ``train`` program: fits a model of the zoo in a process of its own, under the ``/opt/ml`` contract of SageMaker.

    python -m recsys_assets.training.train [train] [--root /opt/ml] [--exit-with-parent]

Exit codes: 0 done; 1 failed, with the reason in ``output/failure``; 75 stopped, with the state in ``checkpoints``: the
same job resumes when it is run again.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
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
from recsys_assets.sagemaker.paths import DONE, FAILED, INTERRUPTED, JobError, SageMakerPaths, record_failure
from recsys_assets.schema import INTERACTIONS, PRODUCTS, TableContract
from recsys_assets.training.checkpoints import NpzCheckpoints
from recsys_assets.training.hyperparameters import TrainingJob, read_job
from recsys_assets.training.interruption import StopRequest
from recsys_assets.training.loss_curve import LossCurve, describe
from recsys_assets.training.progress import Destination, open_destination

INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL = "interactions", "products"
METRICS_FILE, LOSS_CURVE_FILE = "metrics.json", "loss_curve.json"
IMPORTANCE_FILE = "importance.json"
"""Feature importance of the ranker (`RankerImportance`), of models that have one."""


def interactions_with(columns: Sequence[str]) -> TableContract:
    """The contract of interactions of which a program reads ``columns`` only."""
    return TableContract(
        name=INTERACTIONS.name,
        schema=pa.schema([INTERACTIONS.schema.field(name) for name in columns]),
        required=tuple(name for name in INTERACTIONS.required if name in columns),
    )


_LEARNED_FROM = interactions_with(("user_id", "product_id", "interaction_type", "timestamp", "rating"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one training job; returns the exit code. Raises ``SystemExit`` (code 2) on a malformed command line."""
    stop = StopRequest()
    stop.listen()
    parser = argparse.ArgumentParser(prog="train", description="Fit a model of the zoo under the /opt/ml contract.")
    parser.add_argument("command", nargs="?", choices=["train"], help="SageMaker passes it to the image")
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="root of the job's folders")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the launching process ends")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    paths = SageMakerPaths(given.root)
    try:
        if given.exit_with_parent:
            stop.follow_parent()
        with open_destination() as destination:
            train(paths, destination, stop)
    except TrainingInterrupted as interruption:
        print(f"interrupted: {interruption}; run the same job again to resume it", file=sys.stderr, flush=True)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001
        # The platform's contract: any failure ends up in the failure file and in the exit code.
        record_failure(error, paths.failure)
        return FAILED
    return DONE


def train(paths: SageMakerPaths, destination: Destination, stop: StopRequest) -> Manifest:
    """Read the job, fit, write the bundle and the figures, and report.

    Raises:
        JobError: the job is set up wrongly.
        TrainingInterrupted: ``stop`` was requested.
        ValueError: the data cannot carry the model.
    """
    began = time.perf_counter()
    paths.start_afresh()
    paths.require_supported()
    job = read_job(paths.read_config(paths.hyperparameters))
    interactions = read_channel(paths, INTERACTIONS_CHANNEL, _LEARNED_FROM)
    data = TrainingData.from_tables(interactions, read_channel(paths, PRODUCTS_CHANNEL, PRODUCTS), job.as_of)
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


def read_channel(paths: SageMakerPaths, name: str, contract: TableContract) -> pa.Table:
    """Every Parquet file of channel ``name``, with exactly the columns of ``contract``.

    Raises:
        JobError: there is no Parquet file, one cannot be read, or a required column is missing or of another type.
    """
    folder = paths.channel(name)
    if not folder.exists():
        raise JobError(f"channel {name!r} is missing; put Parquet files under {folder}")
    files = [file for file in sorted(folder.rglob("*.parquet")) if not file.name.startswith(("_", "."))]
    if not files:
        raise JobError(f"channel {name!r}: no Parquet file under {folder}")
    parts = []
    for file in files:
        try:
            present = set(pq.read_schema(file).names)
            wanted = [column for column in contract.schema.names if column in present]
            parts.append(contract.conform(pq.read_table(file, columns=wanted, partitioning=None)))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise JobError(f"channel {name!r}: {file}: {error}") from error
    return pa.concat_tables(parts)


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
    }
    if importance is not None:
        texts[IMPORTANCE_FILE] = importance.to_json()
    for name, text in texts.items():
        (paths.output_data / name).write_text(text)


def _metadata(metrics: Mapping[str, Any], curve: LossCurve) -> dict[str, Any]:
    """Metadata of the asset that launched this fit.

    Names begin with ``fit_``: ``validation_ndcg`` of a fit is measured on rows held back for early stopping, and must
    not replace the asset's figure on the validation window.
    """
    repeated = ("model", "parameters", "bundle_checksum")  # the asset has them of its own
    metadata: dict[str, Any] = {f"fit_{name}": value for name, value in metrics.items() if name not in repeated}
    if curve.rows:
        metadata["loss_curve"] = {"raw_value": curve.rows, "type": "json"}
    return metadata


if __name__ == "__main__":
    sys.exit(main())
