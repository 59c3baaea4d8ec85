"""The outcome of a named run, kept under its name in the registry's table.

The training machine reads the record straight from DynamoDB (``training_machine/training.asl.json``): the names and
texts here are part of that contract.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from lambda_api.state.table import Absent, ConditionFailed, Key, Matches, Put, Table

PARTITION = "pipeline_runs"
LONGEST_REASON = 2_000
"""Characters of a reason that are kept: it is sent in messages and held in the state of the machine."""


class Outcome(StrEnum):
    """How a run ended."""

    REGISTERED = "registered"
    """A version was registered: the new champion, or a challenger to be rolled out."""
    NOT_BETTER = "not_better"
    """A version was registered and refused; the champion stays."""
    FAILED = "failed"
    """The graph failed."""


FINAL = frozenset({Outcome.REGISTERED, Outcome.NOT_BETTER})
"""Outcomes that a repetition under the same name keeps."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The outcome of the run ``run_name``.

    Attributes:
        run_name: of the execution.
        outcome: how it ended.
        version: the registered version; empty where none was.
        model: its kind of model, likewise.
        metrics: its offline metrics.
        reason: in words.
        run_id: of the Dagster run.
    """

    run_name: str
    outcome: Outcome
    version: str = ""
    model: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    run_id: str = ""

    def to_attributes(self) -> dict[str, object]:
        """As it is stored."""
        reason = self.reason
        if len(reason) > LONGEST_REASON:
            reason = reason[: LONGEST_REASON - 1] + "…"
        return {**asdict(self), "outcome": self.outcome.value, "reason": reason}


def read_outcome(table: Table, run_name: str) -> RunOutcome | None:
    """The outcome of ``run_name``; ``None`` before its first end."""
    record = table.get(_key(run_name))
    return None if record is None else _from_attributes(record.attributes)


def keep_outcome(table: Table, outcome: RunOutcome) -> RunOutcome:
    """Keep ``outcome``, unless a final one is kept already; returns the one that is kept.

    A repetition replaces a failure; a failure replaces nothing but a failure.
    """
    found = read_outcome(table, outcome.run_name)
    while found is None or found.outcome not in FINAL:
        condition = Absent() if found is None else Matches({"outcome": found.outcome.value, "run_id": found.run_id})
        try:
            table.write([Put(_key(outcome.run_name), outcome.to_attributes(), condition)])
        except ConditionFailed as failed:
            found = None if failed.found is None else _from_attributes(failed.found)
            continue
        return outcome
    return found


def _key(run_name: str) -> Key:
    return Key(PARTITION, run_name)


def _from_attributes(attributes: Mapping[str, object]) -> RunOutcome:
    return RunOutcome(**{**attributes, "outcome": Outcome(str(attributes["outcome"]))})  # type: ignore[arg-type]
