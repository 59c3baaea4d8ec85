"""The model registry: versions, experiment runs and the champion pointer, as records of one table.

Safe for any number of processes: every change is one conditional transaction.

=====================  ==========================  ============================================================
partition              sort                        attributes
=====================  ==========================  ============================================================
``model_version``      version                     `ModelVersion`
``bundle_checksum``    checksum                    version
``champion``           ``current``                 `ChampionChange` that made it so; ``revision`` guards the next
``champion_history``   revision, ten digits        `ChampionChange`
``experiment_run``     run id                      `ExperimentRun`
=====================  ==========================  ============================================================
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec, TypeVar

from lambda_api.errors import RecsysError
from lambda_api.recommender.bundle import DataWindow
from lambda_api.state.table import Absent, Condition, ConditionFailed, Key, Matches, Put, Table, Write
from recsys_assets.registry.records import (
    Candidate,
    ChampionChange,
    ChampionMove,
    ExperimentRun,
    ModelVersion,
    Status,
    change_between,
    from_attributes,
    rollback_order,
    to_attributes,
)
from recsys_assets.registry.versions import Change, Version, next_version

CHAMPION = Key("champion", "current")
MAX_ATTEMPTS = 200
"""A failed attempt means that another process succeeded first; this many in a row are an error."""

P = ParamSpec("P")
R = TypeVar("R")


class RegistryError(RecsysError):
    """The registry cannot do what was asked; nothing was changed."""


class UnknownVersion(RegistryError):
    """No such version is registered."""


class ChampionMoved(RegistryError):
    """The champion changed since the caller's decision."""


class NothingToRollBackTo(RegistryError):
    """No champion came before the current one."""


def _retried(what: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Call a method, which reads and decides, again where another process wrote first (`ConditionFailed`)."""

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for _ in range(MAX_ATTEMPTS):
                with suppress(ConditionFailed):
                    return method(*args, **kwargs)
            raise RegistryError(f"could not {what} in {MAX_ATTEMPTS} attempts; is the table in use?")

        return call

    return decorate


class ModelRegistry:
    """Versions, champion and experiment runs on one table.

    Args:
        table: where records live; nothing else may share it.
        clock: now, aware UTC.
    """

    def __init__(self, table: Table, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._table = table
        self._clock = clock

    @_retried("register a model")
    def register(self, candidate: Candidate) -> ModelVersion:
        """Give ``candidate`` a version, in status ``candidate``.

        A bundle (by checksum) is registered once: later calls return the first registration as it stands now.
        Concurrent registrations never share a version. The number follows from how the candidate differs from
        the champion, or from the highest version while there is no champion.
        """
        index = Key("bundle_checksum", candidate.bundle_checksum)
        registered = self._table.get(index)
        if registered is not None:
            return self.get(Version.parse(registered.attributes["version"]))
        new = self._new_version(candidate)
        # Either fails when somebody else takes the version or registers this very bundle.
        self._table.write(
            [
                Put(_version_key(new.version), to_attributes(new), condition=Absent()),
                Put(index, {"version": str(new.version)}, condition=Absent()),
            ]
        )
        return new

    def get(self, version: Version) -> ModelVersion:
        """The registered version. Raises `UnknownVersion`."""
        record = self._table.get(_version_key(version))
        if record is None:
            raise UnknownVersion(
                f"{version} is not registered", remedy="list the registered versions with `recsys models`"
            )
        return from_attributes(ModelVersion, record.attributes)

    def list_versions(self, status: Status | None = None) -> list[ModelVersion]:
        """Every version, or those of one status, lowest first."""
        versions = [from_attributes(ModelVersion, record.attributes) for record in self._table.query("model_version")]
        chosen = [version for version in versions if status is None or version.status is status]
        return sorted(chosen, key=lambda version: version.version)

    def champion(self) -> ModelVersion | None:
        """The version in production; ``None`` before the first promotion."""
        for _ in range(MAX_ATTEMPTS):
            pointer = self._pointer()
            if pointer is None:
                return None
            version = self.get(pointer.version)
            # Pointer and status change in one transaction; another status means it happened between the two reads.
            if version.status is Status.CHAMPION:
                return version
        raise RegistryError("the champion pointer names a version that is not marked champion; the table is damaged")

    @_retried("promote a version")
    def promote(self, version: Version, expected_champion: Version | None, reason: str = "") -> ChampionChange:
        """Make ``version`` champion if ``expected_champion`` still is, in one transaction with its history record.

        Promoting the champion again changes nothing and returns the move that made it champion. Refused and retired
        versions may be promoted.

        Args:
            version: the registered version to promote.
            expected_champion: the champion the decision was made against; ``None`` for the first promotion.
            reason: for people, kept in the history.

        Raises:
            UnknownVersion: ``version`` is not registered.
            ChampionMoved: the champion is neither ``expected_champion`` nor ``version``.
        """
        target = self.get(version)
        pointer = self._pointer()
        current = None if pointer is None else pointer.version
        if pointer is not None and current == version:
            return pointer
        if current != expected_champion:
            raise ChampionMoved(
                f"cannot promote {version}: it was judged against {_name(expected_champion)}, but the champion is "
                f"{_name(current)}; judge it against that one"
            )
        return self._move(pointer, target, ChampionMove.PROMOTION, reason, fallback=current)

    @_retried("roll back")
    def rollback(self, expected_champion: Version, reason: str = "") -> ChampionChange:
        """Restore the champion that ``expected_champion`` replaced.

        Rolling back again from the same version changes nothing and returns the first rollback. Rolling back from
        the restored version goes one promotion further back.

        Raises:
            ChampionMoved: the champion is another and was not restored by rolling back from ``expected_champion``.
            NothingToRollBackTo: ``expected_champion`` is the first champion there ever was.
        """
        pointer = self._pointer()
        if pointer is None or pointer.version != expected_champion:
            if pointer and pointer.move is ChampionMove.ROLLBACK and pointer.replaced == expected_champion:
                return pointer
            current = None if pointer is None else pointer.version
            raise ChampionMoved(f"cannot roll back {expected_champion}: the champion is {_name(current)}")
        if pointer.fallback is None:
            raise NothingToRollBackTo(
                f"cannot roll back {expected_champion}: no champion came before it; promote another version instead"
            )
        target = self.get(pointer.fallback)
        moves = [move for move in self.history() if move.revision <= pointer.revision]
        fallback = next(iter(rollback_order(moves)[-3::-1]), None)
        return self._move(pointer, target, ChampionMove.ROLLBACK, reason, fallback=fallback)

    @_retried("mark a version refused")
    def refuse(self, version: Version, reasons: tuple[str, ...]) -> ModelVersion:
        """Mark a candidate refused, with the reasons; the champion stays.

        A version that is or was champion keeps its status.

        Raises:
            UnknownVersion: ``version`` is not registered.
        """
        found = self.get(version)
        if found.status in (Status.CHAMPION, Status.RETIRED):
            return found
        refused = replace(found, status=Status.REFUSED, refusal_reasons=reasons)
        self._table.write([_put_version(refused, found.status)])
        return refused

    def history(self) -> list[ChampionChange]:
        """Every move of the champion pointer, oldest first."""
        return [from_attributes(ChampionChange, record.attributes) for record in self._table.query("champion_history")]

    def log_run(self, run: ExperimentRun) -> None:
        """Store an experiment run; one of the same id is replaced."""
        self._table.write([Put(Key("experiment_run", run.id), to_attributes(run))])

    def list_runs(self, model: str | None = None, data_window: DataWindow | None = None) -> list[ExperimentRun]:
        """Experiment runs, newest first; of one model or one data window if given."""
        runs = [from_attributes(ExperimentRun, record.attributes) for record in self._table.query("experiment_run")]
        chosen = [
            run
            for run in runs
            if (model is None or run.model == model) and (data_window is None or run.data_window == data_window)
        ]
        return sorted(chosen, key=lambda run: (run.started_at, run.id), reverse=True)

    def _new_version(self, candidate: Candidate) -> ModelVersion:
        # Versions are never removed, so reading the champion first guarantees that the list holds it.
        champion = self.champion()
        existing = self.list_versions()
        reference = champion or (existing[-1] if existing else None)
        numbers = [version.version for version in existing]
        if reference is None:
            number = next_version(numbers, change=Change.MINOR)
        else:
            number = next_version(numbers, change_between(reference, candidate), base=reference.version)
        lineage = {field.name: getattr(candidate, field.name) for field in fields(Candidate)}
        return ModelVersion(**lineage, version=number, created_at=self._clock(), status=Status.CANDIDATE)

    def _pointer(self) -> ChampionChange | None:
        record = self._table.get(CHAMPION)
        return None if record is None else from_attributes(ChampionChange, record.attributes)

    def _move(
        self,
        pointer: ChampionChange | None,
        target: ModelVersion,
        move: ChampionMove,
        reason: str,
        fallback: Version | None,
    ) -> ChampionChange:
        """Move the pointer from ``pointer`` to ``target``. Raises `ConditionFailed`: another process was first."""
        change = ChampionChange(
            revision=1 if pointer is None else pointer.revision + 1,
            version=target.version,
            replaced=None if pointer is None else pointer.version,
            move=move,
            at=self._clock(),
            reason=reason,
            fallback=fallback,
        )
        unmoved: Condition = Absent() if pointer is None else Matches({"revision": pointer.revision})
        attributes = to_attributes(change)
        champion = replace(target, status=Status.CHAMPION, refusal_reasons=())
        writes: list[Write] = [
            Put(CHAMPION, attributes, condition=unmoved),
            Put(Key("champion_history", f"{change.revision:010d}"), attributes, condition=Absent()),
            _put_version(champion, target.status),
        ]
        if pointer is not None:
            retired = replace(self.get(pointer.version), status=Status.RETIRED)
            writes.append(_put_version(retired, Status.CHAMPION))
        self._table.write(writes)
        return change


def _put_version(version: ModelVersion, status_before: Status) -> Put:
    condition = Matches({"status": str(status_before)})
    return Put(_version_key(version.version), to_attributes(version), condition=condition)


def _version_key(version: Version) -> Key:
    return Key("model_version", str(version))


def _name(version: Version | None) -> str:
    return "no champion" if version is None else str(version)
