"""Interface between interruptible trainers and their checkpoints.

Storing checkpoints and receiving signals is in ``recsys_assets.training``.
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
"""Called between two batches; true once the process has been told to end."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training between two batches.

    Attributes:
        arrays: parameters and optimiser state by name; plain numeric arrays.
        state: JSON-able progress (phase, epoch, step, history) and the fingerprint of data and parameters.
    """

    arrays: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]


class Checkpoints(Protocol):
    """Stores the newest state of one training."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Store ``checkpoint`` as the newest, atomically: after a crash the one before is still there."""

    def newest(self) -> Checkpoint | None:
        """The newest readable checkpoint, or ``None`` when there is none."""


class TrainingInterrupted(RecsysError):
    """Training was stopped from outside. Its state is saved where there are checkpoints; run again to continue."""


class ForgetfulCheckpoints:
    """Checkpoints that store nothing, for a training that is not resumed."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Do nothing."""

    def newest(self) -> Checkpoint | None:
        """Always ``None``."""
        return None


def never() -> bool:
    """The `ShouldStop` of a training that is not interrupted."""
    return False


@runtime_checkable
class ResumableTrainer(Protocol):
    """A trainer whose fit can be interrupted between two batches and resumed with the same result, bit for bit."""

    def fit_resumable(
        self, data: TrainingData, report: Report | None, checkpoints: Checkpoints, should_stop: ShouldStop
    ) -> Recommender:
        """As `Trainer.fit`, starting from ``checkpoints.newest()`` when it belongs to this data and these parameters.

        Raises:
            TrainingInterrupted: ``should_stop`` said so; a checkpoint was saved first.
        """
