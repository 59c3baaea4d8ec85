"""Stores the lists of a batch: a lake table of all lists, and one record per shopper in the table ``serving``.

Records are for mails and app messages; the API answers from the shopper's newest events instead. Unusable lines are
counted and left out. When their share exceeds `MOST_BAD`, nothing is stored and the previous lists stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from lambda_api.serving.scorers import EndpointFailed, Scored, decode_answer
from lambda_api.state.addressing import digest
from lambda_api.state.encoding import MAX_WRITES
from lambda_api.state.table import Key, Put, Table
from recsys_assets.batch.errors import BatchError
from recsys_assets.batch.questions import QuestionSet, parts_in, shopper_of
from recsys_assets.lake import Lake
from recsys_deploy.batch.answers import read_answers

TABLE: Final = "batch_recommendations"
KEPT_S: Final = 14 * 86_400
"""A record expires after two weeks without a batch that replaces it."""

MOST_BAD: Final = 0.01
"""Share of unusable lines above which a batch is not stored."""

NAMED: Final = 5
"""Unusable lines that messages name."""

SCHEMA: Final = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("as_of", pa.timestamp("us", "UTC"), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class ShopperList:
    """A shopper and their recommendations."""

    user_id: str
    scored: Scored


@dataclass
class Tally:
    """Counts of usable and unusable answers."""

    shoppers: int = 0
    rows: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, where: str, problem: str) -> None:
        """Count an unusable line."""
        self.bad += 1
        if len(self.problems) < NAMED:
            self.problems.append(f"{where}: {problem[:200]}")


def read_lists(questions_uri: str, questions: QuestionSet, answers: str, tally: Tally) -> Iterator[list[ShopperList]]:
    """The usable lists, one part at a time, in the order of the questions; ``tally`` counts the others.

    Raises:
        BatchError: answers to a part are missing, or their number differs from the questions'.
    """
    for part, asked in parts_in(questions, questions_uri):
        said = read_answers(answers, part)
        if said is None:
            raise BatchError(f"{answers} has no {part.name}.out", remedy="run the batch again")
        if len(said) != len(asked):
            raise BatchError(
                f"{part.name}.out in {answers} has {len(said)} answers to {len(asked)} questions",
                remedy="delete it and run the batch again",
            )
        lists = []
        for number, (question, answer) in enumerate(zip(asked, said, strict=True), start=1):
            try:
                lists.append(ShopperList(shopper_of(question), decode_answer(answer, questions.k)))
            except EndpointFailed as problem:
                tally.note(f"{part.name} line {number}", f"{problem} ({answer[:120]!r})")
        tally.shoppers += len(lists)
        tally.rows += sum(len(one.scored.ranking.items) for one in lists)
        yield lists


def check_answers(questions_uri: str, questions: QuestionSet, answers: str) -> Tally:
    """Read every answer once.

    Raises:
        BatchError: more than `MOST_BAD` of the lines are unusable.
    """
    tally = Tally()
    for _ in read_lists(questions_uri, questions, answers, tally):
        pass
    if tally.bad > MOST_BAD * questions.shoppers:
        raise BatchError(
            f"{tally.bad} of {questions.shoppers} answers cannot be used ({'; '.join(tally.problems)}), more than "
            f"{MOST_BAD:.0%}; nothing was stored",
            remedy=f"check the model, and the questions in {questions_uri}",
        )
    return tally


def store_in_lake(lake: Lake, questions_uri: str, questions: QuestionSet, answers: str) -> str:
    """Replace the lake table of lists, with one part in memory at a time; returns its file."""
    batches = (_batch(lists, questions.as_of) for lists in read_lists(questions_uri, questions, answers, Tally()))
    return lake.write_batches(TABLE, SCHEMA, batches)


def store_records(table: Table, questions_uri: str, questions: QuestionSet, answers: str, now: int) -> int:
    """Write one record per shopper with a list; returns how many. Writing them again gives the same records.

    Raises:
        TableUnavailable: some may have been written; run the batch again.
    """
    written = 0
    for lists in read_lists(questions_uri, questions, answers, Tally()):
        puts = [_put(one, questions.as_of, now) for one in lists if one.scored.ranking.items]
        for first in range(0, len(puts), MAX_WRITES):
            table.write(puts[first : first + MAX_WRITES])
        written += len(puts)
    return written


def _batch(lists: list[ShopperList], as_of: int) -> pa.RecordBatch:
    rows: list[dict[str, Any]] = [
        {
            "user_id": one.user_id,
            "rank": rank,
            "product_id": item.product_id,
            "score": item.score,
            "reason": item.reason.code,
            "model_version": one.scored.model_version,
            "as_of": as_of * 1_000_000,
        }
        for one in lists
        for rank, item in enumerate(one.scored.ranking.items, start=1)
    ]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


def _put(one: ShopperList, as_of: int, now: int) -> Put:
    content = {
        "user_id": one.user_id,
        "product_ids": [item.product_id for item in one.scored.ranking.items],
        "model_version": one.scored.model_version,
        "as_of": as_of,
    }
    return Put(record_key(one.user_id), content, expires_at=now + KEPT_S)


def record_key(user_id: str) -> Key:
    """Key of a shopper's record: product ids best first, the version that made the list, and its moment."""
    return Key(f"batch#{digest(user_id)}", "list")
