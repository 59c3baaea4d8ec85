"""Hyper-parameters of a training job: their text form, and the typed trainer they describe."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import TRAINERS, accepted_parameters, make_trainer
from recsys_assets.sagemaker.paths import JobError

MODEL, AS_OF, GIT_REVISION = "model", "as_of", "git_revision"
JOB_HYPERPARAMETERS = (MODEL, AS_OF, GIT_REVISION)
"""Hyper-parameters of the job, not of the model: name in the zoo, end of the data (ISO 8601, UTC), code revision."""

PLATFORM_PREFIXES = ("sagemaker_", "_tuning")
"""Prefixes of hyper-parameters that SageMaker itself adds."""


@dataclass(frozen=True)
class TrainingJob:
    """A training job, typed and checked.

    Attributes:
        trainer: with its hyper-parameters.
        as_of: aware, UTC; only interactions before it count.
        git_revision: of the code that started the job, where it said so.
    """

    trainer: Trainer
    as_of: datetime
    git_revision: str | None


def read_job(given: Mapping[str, Any]) -> TrainingJob:
    """Type and check hyper-parameters, which SageMaker carries as text.

    Raises:
        JobError: one is unknown, missing, or of the wrong type or range.
    """
    texts = {name: as_text(value) for name, value in given.items() if not name.startswith(PLATFORM_PREFIXES)}
    if MODEL not in texts:
        raise JobError(f"hyper-parameter {MODEL} is missing; set it to one of: {', '.join(TRAINERS)}")
    name = texts.pop(MODEL)
    if name not in TRAINERS:
        raise JobError(f"hyper-parameter {MODEL} is {name!r}; expected one of: {', '.join(TRAINERS)}")
    as_of = _moment(texts.pop(AS_OF, None))
    git_revision = texts.pop(GIT_REVISION, None)
    return TrainingJob(_trainer(name, texts), as_of, git_revision)


def as_text(value: Any) -> str:
    """A hyper-parameter as SageMaker carries it: text; anything but text as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def job_hyperparameters(
    model: str, parameters: Mapping[str, Any], as_of: datetime, git_revision: str | None = None
) -> dict[str, str]:
    """The hyper-parameters of a job as text: the inverse of `read_job`.

    Raises:
        ValueError: ``as_of`` has no time zone.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of {as_of.isoformat()} has no time zone; give an aware moment in UTC")
    described = {MODEL: model, AS_OF: as_of.isoformat(), **({GIT_REVISION: git_revision} if git_revision else {})}
    return {name: as_text(value) for name, value in {**parameters, **described}.items()}


def _moment(text: str | None) -> datetime:
    example = f"{AS_OF} must be a moment in UTC such as 2011-11-20T00:00:00+00:00"
    if text is None:
        raise JobError(f"hyper-parameter {AS_OF} is missing; {example}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise JobError(f"hyper-parameter {AS_OF} is {text!r}; {example}") from error
    if moment.tzinfo is None:
        raise JobError(f"hyper-parameter {AS_OF} is {text!r}, without a time zone; {example}")
    return moment.astimezone(UTC)


def _trainer(model: str, texts: Mapping[str, str]) -> Trainer:
    accepted = accepted_parameters(model)
    unknown = sorted(set(texts) - set(accepted))
    if unknown:
        raise JobError(
            f"unknown hyper-parameter {', '.join(unknown)}: a job has {', '.join(JOB_HYPERPARAMETERS)}, "
            f"and model {model} has {', '.join(accepted)}"
        )
    hints = get_type_hints(TRAINERS[model])
    parameters = {name: _typed(name, text, hints[name]) for name, text in texts.items()}
    try:
        return make_trainer(model, parameters)
    except ValueError as error:
        raise JobError(f"hyper-parameters of {model}: {error}") from error


def _typed(name: str, text: str, hint: Any) -> Any:
    adapter = TypeAdapter(hint)
    try:
        return adapter.validate_strings(text)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
    try:
        # Lists, objects and null come as JSON.
        return adapter.validate_json(text)
    except ValidationError:
        raise JobError(f"hyper-parameter {name} is {text!r}: {problem} (lists, objects and null as JSON)") from None
