"""One fit of NCF: phases, early stopping, checkpoints and export. Imports torch: import it inside functions only."""

# ruff: noqa: TID253

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.ncf import NcfRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ncf_loop import Loop, OnBatch, Validation
from recsys_assets.models.ncf_network import NeuMF, serving_arrays, serving_graph
from recsys_assets.models.ncf_parameters import NcfParameters
from recsys_assets.models.popularity import decayed_popularity
from recsys_assets.models.positives import Positives, hold_out_latest
from recsys_assets.models.resumable import Checkpoint, Checkpoints, ShouldStop, TrainingInterrupted
from recsys_assets.models.torch_fit import ExportError, torch_threads
from recsys_assets.models.trainer import Diverged, Report

MIN_HOLDOUT_USERS = 20
"""With fewer, the validation NDCG is mostly noise."""

PARITY_TOLERANCE = 1e-5
"""Largest accepted difference between torch and ONNX Runtime, relative to the largest score where that exceeds 1."""

PARITY_USERS = 256

STEPS_PER_EPOCH = 64
BATCH_SIZES = (256, 4096)
"""Bounds of the positives per step where the size of the log decides."""

SELECTION, FINAL = 1, 2

Epoch = dict[str, float]
"""One epoch's figures: ``phase``, ``epoch`` within the phase, and the losses and NDCG measured."""


@dataclass
class Progress:
    """State of a fit between two batches, without parameters and optimiser state."""

    phase: int
    epoch: int = 1
    step: int = 0
    loss_sum: float = 0.0
    history: list[Epoch] = field(default_factory=list)


def best_epoch(history: Sequence[Epoch]) -> int:
    """The selection epoch with the highest validation NDCG, the first of equals."""
    selection = [row for row in history if row["phase"] == SELECTION]
    return int(max(selection, key=lambda row: row["validation_ndcg"])["epoch"])


def was_selected(history: Sequence[Epoch]) -> bool:
    """Whether there was a selection phase."""
    return any(row["phase"] == SELECTION for row in history)


def is_exhausted(history: Sequence[Epoch], patience: int) -> bool:
    """Whether none of the last ``patience`` selection epochs beat all before it, in validation NDCG or loss."""
    selection = [row for row in history if row["phase"] == SELECTION]
    lowest = int(min(selection, key=lambda row: row["validation_loss"])["epoch"])
    return len(selection) - max(best_epoch(history), lowest) >= patience


def batch_size(given: int | None, positives: int) -> int:
    """Positives per step: as ``given``, or by the rule of ``Ncf.batch_size``."""
    least, most = BATCH_SIZES
    return given or min(max(-(-positives // STEPS_PER_EPOCH), least), most)


def fit_network(
    trainer: NcfParameters, data: TrainingData, report: Report | None, checkpoints: Checkpoints, should_stop: ShouldStop
) -> NcfRecommender:
    """See ``Ncf.fit_resumable``."""
    with torch_threads(trainer.threads):
        network = _Fit(trainer, data, report or (lambda name, value: None), checkpoints, should_stop).run()
        return export(trainer, data, network)


class _Fit:
    def __init__(
        self,
        trainer: NcfParameters,
        data: TrainingData,
        report: Report,
        checkpoints: Checkpoints,
        should_stop: ShouldStop,
    ) -> None:
        self._trainer, self._data, self._report = trainer, data, report
        self._checkpoints, self._should_stop = checkpoints, should_stop
        self._fingerprint = fingerprint(trainer.parameters(), data)
        self._positives = Positives.from_data(data, trainer.weights, half_life_days=trainer.event_half_life_days)
        self._how = replace(trainer, batch_size=batch_size(trainer.batch_size, len(self._positives)))
        self._progress, self._arrays = self._resume()

    def run(self) -> NeuMF:
        epochs = self._trainer.epochs
        if self._progress.phase == SELECTION:
            self._select()
        if was_selected(self._progress.history):
            epochs = best_epoch(self._progress.history)
        loop = self._loop(self._positives)
        while self._progress.epoch <= epochs:
            loss = self._run_epoch(loop)
            self._finish_epoch(loop, {"final_loss": loss})
        self._report("best_epoch", epochs)
        return loop.network

    def _select(self) -> None:
        trainer = self._trainer
        holdout = hold_out_latest(self._data, trainer.weights, trainer.holdout_share, trainer.event_half_life_days)
        if len(holdout.users) < MIN_HOLDOUT_USERS:
            self._progress = Progress(phase=FINAL)
            return
        validation = Validation(holdout, self._how)
        loop = self._loop(holdout.train)
        history = self._progress.history
        while self._progress.epoch <= self._trainer.epochs:
            if history and is_exhausted(history, self._trainer.patience):
                break
            loss = self._run_epoch(loop)
            figures = {
                "validation_loss": validation.loss(loop.network),
                "validation_ndcg": validation.ndcg(loop.network),
            }
            self._finish_epoch(loop, {"loss": loss, **figures})
        self._progress = Progress(phase=FINAL, history=history)
        self._save({})

    def _loop(self, positives: Positives) -> Loop:
        network = NeuMF(
            len(self._data.users),
            len(self._data.products),
            self._trainer.gmf_size,
            self._trainer.mlp_size,
            self._trainer.mlp_layers,
            self._trainer.seed,
        )
        loop = Loop(network, positives, self._how, self._progress.phase)
        if self._arrays:
            loop.restore(self._arrays)
            self._arrays = {}
        return loop

    def _run_epoch(self, loop: Loop) -> float:
        progress = self._progress
        loss = loop.run_epoch(progress.epoch, self._stop_when_told(loop), progress.step, progress.loss_sum)
        if not math.isfinite(loss):
            raise Diverged(
                f"ncf diverged in epoch {progress.epoch}: the loss is {loss}",
                remedy=f"lower learning_rate (now {self._how.learning_rate}) or raise batch_size (now "
                f"{self._how.batch_size})",
            )
        return loss

    def _stop_when_told(self, loop: Loop) -> OnBatch:
        def on_batch(step: int, loss_sum: float) -> None:
            if self._should_stop():
                self._progress.step, self._progress.loss_sum = step, loss_sum
                self._save(loop.arrays())
                raise TrainingInterrupted(f"stopped in epoch {self._progress.epoch} after step {step}")

        return on_batch

    def _finish_epoch(self, loop: Loop, figures: Mapping[str, float]) -> None:
        progress = self._progress
        progress.history.append({"phase": progress.phase, "epoch": progress.epoch, **figures})
        progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0
        self._save(loop.arrays())
        self._report_epoch(len(progress.history))

    def _report_epoch(self, count: int) -> None:
        row = self._progress.history[count - 1]
        for name, value in row.items():
            if name not in ("phase", "epoch"):
                self._report(name, value)
        self._report("epoch", count)

    def _save(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        state = {"fingerprint": self._fingerprint, **vars(self._progress)}
        self._checkpoints.save(Checkpoint(arrays=arrays, state=state))

    def _resume(self) -> tuple[Progress, Mapping[str, NDArray[Any]]]:
        first_phase = SELECTION if self._trainer.patience else FINAL
        newest = self._checkpoints.newest()
        if newest is None or newest.state.get("fingerprint") != self._fingerprint:
            return Progress(phase=first_phase), {}
        self._progress = Progress(**{name: value for name, value in newest.state.items() if name != "fingerprint"})
        for count in range(1, len(self._progress.history) + 1):
            self._report_epoch(count)
        return self._progress, newest.arrays


def export(trainer: NcfParameters, data: TrainingData, network: NeuMF) -> NcfRecommender:
    """The recommender of a trained ``network``, checked against it.

    Raises:
        ExportError: ONNX Runtime does not reproduce torch's scores to `PARITY_TOLERANCE`.
    """
    weights = trainer.weights
    positives = Positives.from_data(data, weights)
    trained_users = np.bincount(positives.user, minlength=len(data.users)) > 0
    trained_products = np.bincount(positives.product, minlength=len(data.products)) > 0
    recommender = NcfRecommender(
        data.products,
        decayed_popularity(data, weights, trainer.popularity_half_life_days),
        IdMap.from_ids(data.users.external(np.flatnonzero(trained_users))),
        serving_arrays(network, trained_users, trained_products),
        serving_graph(network),
    )
    require_parity(network, recommender, data, np.flatnonzero(trained_users), trained_products)
    return recommender


def require_parity(
    network: NeuMF,
    recommender: NcfRecommender,
    data: TrainingData,
    users: NDArray[np.int64],
    trained_products: NDArray[np.bool_],
) -> None:
    """Compare the scores of up to `PARITY_USERS` of ``users``, evenly spaced, for every trained product.

    Raises:
        ExportError: they differ by more than `PARITY_TOLERANCE`; the message holds the difference.
    """
    chosen = users[np.linspace(0, len(users) - 1, min(PARITY_USERS, len(users))).astype(np.int64)]
    for start in range(0, len(chosen), 32):
        block = chosen[start : start + 32]
        with torch.no_grad():
            expected = network.score_all(torch.from_numpy(block)).numpy()[:, trained_products]
        nothing = Histories.from_events([()] * len(block), data.as_of, data.products, data.users.external(block))
        served = recommender.score_all(nothing)[:, trained_products]
        gap = float(np.abs(served - expected).max())
        allowed = PARITY_TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if not gap <= allowed:
            raise ExportError(
                f"the exported ncf graph differs from the trained network by {gap:.2e} on a score, "
                f"more than {allowed:.0e}",
                remedy="do not use this model; check the versions of torch and onnxruntime",
            )


def fingerprint(parameters: Mapping[str, Any], data: TrainingData) -> str:
    """SHA-256 over everything that the result depends on; a checkpoint is used for the same fingerprint only."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    digest.update(f"torch {torch.__version__} as_of {data.as_of}".encode())
    arrays = (data.users.ids, data.products.ids, data.user, data.product, data.kind, data.timestamp)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
