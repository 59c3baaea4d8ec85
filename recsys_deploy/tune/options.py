"""Options of ``recsys tune`` and their checks."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings


class Place(StrEnum):
    """Where trials run: in this process, or as SageMaker jobs."""

    HERE = "here"
    SAGEMAKER = "sagemaker"


MINUTES: Final = {Place.HERE: 8.0, Place.SAGEMAKER: 240.0}
"""Default time for all models together; an instance takes minutes to start a trial."""


class TuneError(RecsysError):
    """The tuning cannot be done; the message names the option or the data, the rule and the remedy."""


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Options of a tuning.

    Attributes:
        models: names of models the graph trains; ``None`` for all that suit the size of the log.
        trials: per model, the defaults included.
        minutes: for all models together; each model's defaults are evaluated in any case.
        seed: of the search.
        place: where trials run; ``parallel`` of them at a time, on SageMaker.
    """

    models: tuple[str, ...] | None
    trials: int
    minutes: float
    seed: int
    place: Place = Place.HERE
    parallel: int = 1


def choose_place(wanted: Place | None, settings: Settings) -> Place:
    """Where trials run: as ``wanted``, by default where trainings run.

    Raises:
        TuneError: SageMaker is wanted and the settings do not say how.
    """
    managed = settings.target == "aws" and bool(settings.training_image)
    if wanted is Place.SAGEMAKER and not managed:
        raise TuneError(
            "--on sagemaker needs RECSYS_TARGET=aws, RECSYS_TRAINING_IMAGE, RECSYS_TRAINING_ROLE_ARN and "
            "RECSYS_TRAINING_URI",
            remedy="set them, or tune with --on here",
        )
    return wanted or (Place.SAGEMAKER if managed else Place.HERE)
