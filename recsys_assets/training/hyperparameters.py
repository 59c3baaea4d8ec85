"""From strings to a trainer: which hyper-parameters a job was given, where, and what they mean.

Put reading and typing of hyper-parameters here. Keep folders (``sagemaker/paths.py``) and ranges, which each trainer
checks itself, out.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import TRAINERS, make_trainer
from recsys_assets.sagemaker.paths import JobError

MODEL, AS_OF, GIT_REVISION = "model", "as_of", "git_revision"
JOB_HYPERPARAMETERS = (MODEL, AS_OF, GIT_REVISION)
"""What describes the job rather than the model: name in the zoo, end of the data (ISO 8601, UTC), code revision."""

PLATFORM_PREFIXES = ("sagemaker_", "_tuning")
"""Hyper-parameters that SageMaker adds on its own account; they are no concern of ours."""

Given = Mapping[str, Mapping[str, Any]]
"""Hyper-parameters by where they were given: ``{"input/config/hyperparameters.json": {"epochs": "3"}, ...}``."""


@dataclass(frozen=True)
class TrainingJob:
    """What to train, typed and checked.

    Attributes:
        trainer: with its hyper-parameters.
        as_of: aware, UTC; only interactions before it count.
        git_revision: of the code that started the job, where it said so.
    """

    trainer: Trainer
    as_of: datetime
    git_revision: str | None


def given_in_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Hyper-parameters in ``SM_HPS`` (a JSON object) and ``SM_HP_<NAME>``, as the SageMaker training toolkit sets them.

    Raises:
        JobError: ``SM_HPS`` is not a JSON object, or contradicts ``SM_HP_<NAME>``.
    """
    try:
        together = json.loads(environment.get("SM_HPS", "{}"))
    except ValueError as error:
        raise JobError(f"SM_HPS is not valid JSON: {error}") from error
    if not isinstance(together, dict):
        raise JobError("SM_HPS must hold a JSON object")
    singly = {
        name.removeprefix("SM_HP_").lower().replace("-", "_"): value
        for name, value in environment.items()
        if name.startswith("SM_HP_")
    }
    for name in together.keys() & singly.keys():
        if as_text(together[name]) != singly[name]:
            raise JobError(f"hyper-parameter {name} is {together[name]!r} in SM_HPS but {singly[name]!r} in SM_HP_*")
    return {**singly, **together}


def read_job(given: Given) -> TrainingJob:
    """Merge, type and check hyper-parameters.

    Raises:
        JobError: one is unknown, missing, of the wrong type or range, or given twice with different meanings.
    """
    merged = _merge(given)
    if MODEL not in merged:
        raise JobError(f"hyper-parameter {MODEL} is missing; set it to one of: {', '.join(TRAINERS)}")
    name = merged.pop(MODEL)
    if name not in TRAINERS:
        raise JobError(f"hyper-parameter {MODEL} is {name!r}; expected one of: {', '.join(TRAINERS)}")
    as_of = _moment(merged.pop(AS_OF, None))
    git_revision = merged.pop(GIT_REVISION, None)
    return TrainingJob(_trainer(name, merged), as_of, git_revision)


def as_text(value: Any) -> str:
    """A hyper-parameter as SageMaker carries it: text; anything but text as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def job_hyperparameters(
    model: str, parameters: Mapping[str, Any], as_of: datetime, git_revision: str | None = None
) -> dict[str, str]:
    """What a launcher gives a job, as text: the inverse of `read_job`.

    Raises:
        ValueError: ``as_of`` has no time zone.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of {as_of.isoformat()} has no time zone; give an aware moment in UTC")
    described = {MODEL: model, AS_OF: as_of.isoformat(), **({GIT_REVISION: git_revision} if git_revision else {})}
    return {name: as_text(value) for name, value in {**parameters, **described}.items()}


def _merge(given: Given) -> dict[str, str]:
    merged: dict[str, str] = {}
    origin: dict[str, str] = {}
    for where, values in given.items():
        for name, value in values.items():
            if name.startswith(PLATFORM_PREFIXES):
                continue
            text = as_text(value)
            if name in merged and not _same(merged[name], text):
                raise JobError(
                    f"hyper-parameter {name} is {merged[name]!r} in {origin[name]} but {text!r} in {where}; "
                    "give it once"
                )
            merged.setdefault(name, text)
            origin.setdefault(name, where)
    return merged


def _same(first: str, second: str) -> bool:
    try:
        return bool(json.loads(first) == json.loads(second))
    except ValueError:
        return first == second


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
    trainer_type = TRAINERS[model]
    accepted = [field.name for field in dataclasses.fields(trainer_type) if field.init]  # type: ignore[arg-type]
    unknown = sorted(set(texts) - set(accepted))
    if unknown:
        raise JobError(
            f"unknown hyper-parameter {', '.join(unknown)}: a job has {', '.join(JOB_HYPERPARAMETERS)}, "
            f"and model {model} has {', '.join(accepted)}"
        )
    hints = get_type_hints(trainer_type)
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
