"""What a trainer that can be interrupted needs from whoever runs it, and what it promises in return.

Put the seam between long training and its checkpoints here.
Keep how checkpoints are stored and how signals arrive (``recsys_assets.training``) out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from lambda_api.errors import RecsysError
from lambda_api.recommender.contract import Recommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.trainer import Report

ShouldStop = Callable[[], bool]
"""Asked between two batches; true once the process has been told to end."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The whole state of a training that was left between two batches.

    Attributes:
        arrays: parameters and optimiser state by name; plain numeric arrays.
        state: JSON-able progress (phase, epoch, step, history) and the fingerprint of data and parameters.
    """

    arrays: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]


class Checkpoints(Protocol):
    """Where the newest state of one training lives."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep ``checkpoint`` as the newest; atomic, so that a crash leaves the one before."""

    def newest(self) -> Checkpoint | None:
        """The newest readable checkpoint, or ``None`` when there is none."""


class TrainingInterrupted(RecsysError):
    """Training stopped because it was asked to. Its state is saved where there are checkpoints; run again to go on."""


class ForgetfulCheckpoints:
    """Checkpoints for a training that nobody will resume: keeps nothing."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Do nothing."""

    def newest(self) -> Checkpoint | None:
        """Always ``None``."""
        return None


def never() -> bool:
    """The `ShouldStop` of a training that nobody interrupts."""
    return False


@runtime_checkable
class ResumableTrainer(Protocol):
    """A trainer whose fit can be left between two batches and resumed to the very same result, bit for bit."""

    def fit_resumable(
        self, data: TrainingData, report: Report | None, checkpoints: Checkpoints, should_stop: ShouldStop
    ) -> Recommender:
        """As `Trainer.fit`, starting from ``checkpoints.newest()`` when it belongs to this data and these parameters.

        Raises:
            TrainingInterrupted: ``should_stop`` said so; a checkpoint was saved first.
        """
