"""Records of the registry: model versions, experiment runs, moves of the champion pointer, and their stored form."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter

from lambda_api.recommender.bundle import DataWindow, Manifest
from lambda_api.state.encoding import canonical_json
from recsys_assets.registry.versions import Change, Version

VALIDATION_NDCG: Final = "validation_ndcg"
"""Name of the metric that models are chosen by: NDCG@k on the validation window, or its mean over folds of it."""

Metrics = Mapping[str, float]
Parameters = Mapping[str, Any]
"""JSON-able hyper-parameters by name."""

_Version = Annotated[
    Version,
    BeforeValidator(lambda value: Version.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
]


class Status(StrEnum):
    """Status of a model version: waiting for a decision, in production, replaced, or refused by the promotion rules."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"
    RETIRED = "retired"
    REFUSED = "refused"


class RunStatus(StrEnum):
    """How an experiment run ended."""

    FINISHED = "finished"
    FAILED = "failed"


class ChampionMove(StrEnum):
    """Why the champion pointer moved."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True, kw_only=True)
class EvaluatedFit:
    """The fit whose figures a refit carries: the same recipe on the data before the test window.

    Attributes:
        checksum: of its bundle.
        data_end: aware, UTC; where its training data end.
        rule: by which its recipe was chosen: ``first``, ``change`` or ``refresh``.
        overlap: mean overlap of its lists with the refit's, over ``shoppers``.
    """

    checksum: str
    data_end: datetime
    rule: str
    overlap: float
    shoppers: int


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trained model with its lineage, before the registry gives it a version.

    Attributes:
        model: name of the trainer, such as ``ease``.
        bundle_uri: folder or ``s3://`` prefix of the stored bundle.
        bundle_checksum: `lambda_api.recommender.bundle.Manifest.checksum`; the identity of the model.
        bundle_schema: version of bundle layout and serving contract (`bundle.SCHEMA_VERSION` at training time).
        data_window: what it learned from; ``end`` exclusive, UTC.
        git_revision: of the code that trained it.
        parameters: hyper-parameters of the trainer.
        metrics: offline metrics by name, finite.
        run_id: of the run that trained it.
        evaluated: the fit that was evaluated in its place; ``None`` where the bundle itself was evaluated.
    """

    model: str
    bundle_uri: str
    bundle_checksum: str
    bundle_schema: int
    data_window: DataWindow
    git_revision: str
    parameters: Parameters
    metrics: Metrics
    run_id: str
    evaluated: EvaluatedFit | None = None

    def __post_init__(self) -> None:
        _require_text(self, "model", "bundle_uri", "bundle_checksum")
        _require_finite(self.metrics)


@dataclass(frozen=True, kw_only=True)
class ModelVersion(Candidate):
    """A registered model.

    Attributes:
        version: unique; see `recsys_assets.registry.versions` for what its parts mean.
        created_at: moment of registration, UTC.
        status: now.
        refusal_reasons: of the promotion rules, in sentences; empty unless ``status`` is ``refused``.
    """

    version: _Version
    created_at: datetime
    status: Status
    refusal_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExperimentRun:
    """One training of one model with one set of parameters, whether or not a version came of it.

    Attributes:
        id: unique; logging the same id again replaces the run.
        model: name of the trainer.
        parameters, metrics, data_window, git_revision: as in `Candidate`.
        started_at: aware.
        duration_s: wall time of the fit in seconds.
        status: how it ended.
    """

    id: str
    model: str
    parameters: Parameters
    metrics: Metrics
    data_window: DataWindow
    git_revision: str
    started_at: datetime
    duration_s: float
    status: RunStatus

    def __post_init__(self) -> None:
        _require_text(self, "id", "model")
        _require_finite(self.metrics)
        if self.started_at.tzinfo is None:
            raise ValueError(f"started_at of run {self.id} needs a time zone; use UTC")


@dataclass(frozen=True, kw_only=True)
class ChampionChange:
    """One move of the champion pointer.

    Attributes:
        revision: 1 for the first move ever, then counting up without gaps.
        version: the champion from then on.
        replaced: the champion until then; ``None`` for the first.
        move: promotion or rollback.
        at: moment of the move, UTC.
        reason: in sentences, for people.
        fallback: what a rollback from ``version`` would restore; ``None`` if there is nothing.
    """

    revision: int
    version: _Version
    replaced: _Version | None
    move: ChampionMove
    at: datetime
    reason: str
    fallback: _Version | None


Record = TypeVar("Record", ModelVersion, ExperimentRun, ChampionChange)
_ADAPTERS: Final[Mapping[type, TypeAdapter[Any]]] = {
    kind: TypeAdapter(kind) for kind in (ModelVersion, ExperimentRun, ChampionChange)
}


def to_attributes(record: ModelVersion | ExperimentRun | ChampionChange) -> dict[str, Any]:
    """The stored form of a record; inverse of `from_attributes`."""
    attributes: dict[str, Any] = _ADAPTERS[type(record)].dump_python(record, mode="json")
    return attributes


def from_attributes(kind: type[Record], attributes: Mapping[str, Any]) -> Record:
    """Inverse of `to_attributes`. Raises pydantic's ``ValidationError`` naming the field that does not fit."""
    record: Record = _ADAPTERS[kind].validate_python(dict(attributes))
    return record


def candidate_from_manifest(
    manifest: Manifest,
    bundle_uri: str,
    run_id: str,
    metrics: Metrics | None = None,
    evaluated: EvaluatedFit | None = None,
) -> Candidate:
    """The candidate that a stored bundle describes; ``metrics`` replaces those in the manifest.

    Raises:
        ValueError: the manifest does not say who trained it on which data with which code.
    """
    info = manifest.info
    if info.trainer is None or info.data_window is None or info.git_revision is None:
        raise ValueError(
            f"bundle {manifest.checksum} lacks lineage: trainer {info.trainer}, data window {info.data_window}, "
            f"git revision {info.git_revision}; write it again with all three"
        )
    return Candidate(
        model=info.trainer,
        bundle_uri=bundle_uri,
        bundle_checksum=manifest.checksum,
        bundle_schema=manifest.schema_version,
        data_window=info.data_window,
        git_revision=info.git_revision,
        parameters=info.hyper_parameters,
        metrics=info.metrics if metrics is None else metrics,
        run_id=run_id,
        evaluated=evaluated,
    )


def change_between(reference: ModelVersion, candidate: Candidate) -> Change:
    """How ``candidate`` differs from the champion ``reference``, by the rules of `recsys_assets.registry.versions`."""
    if candidate.bundle_schema != reference.bundle_schema:
        return Change.MAJOR
    return Change.PATCH if _recipe(candidate) == _recipe(reference) else Change.MINOR


def rollback_order(history: Sequence[ChampionChange]) -> list[Version]:
    """The champions that repeated rollbacks would restore, the current one last.

    A stack: a promotion pushes a version, a rollback pops one, so a version that was rolled back never returns.
    """
    stack: list[Version] = []
    for change in history:
        if change.move is ChampionMove.PROMOTION:
            stack.append(change.version)
        else:
            stack.pop()
    return stack


def _recipe(candidate: Candidate) -> tuple[str, str, str]:
    # As stored: a tuple given by a trainer and the list read back from the table are one parameter.
    return candidate.model, candidate.git_revision, canonical_json(dict(candidate.parameters))


def _require_text(record: Any, *names: str) -> None:
    for name in names:
        if not getattr(record, name):
            raise ValueError(f"{type(record).__name__}.{name} must not be empty")


def _require_finite(metrics: Metrics) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"metric {name} is {value}; leave out a metric that does not exist for this data")
