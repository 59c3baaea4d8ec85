"""Questions of a batch, one per known shopper, as JSON lines in parts; also the program of a processing job.

    python -m recsys_assets.batch.questions --lake URI --like QUESTION [--root /opt/ml]

A folder of questions holds ``parts/part-00000.jsonl`` ... and ``manifest.json``, which is written last: a folder
without it holds no questions. Equal lakes give equal bytes.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow.fs as pa_fs

from lambda_api.atomic_files import write_bytes
from lambda_api.interactions import Event
from lambda_api.serving.question import Invocation, Question
from lambda_api.serving.scorers import encode_invocation
from recsys_assets.batch.errors import BatchError
from recsys_assets.features.engine import end_of_log
from recsys_assets.lake import Lake, open_filesystem
from recsys_assets.publishing.histories import newest_histories
from recsys_assets.sagemaker.paths import DONE, FAILED, record_failure
from recsys_assets.training.progress import open_destination

MANIFEST: Final = "manifest.json"
PARTS: Final = "parts"
SHOPPERS_PER_PART: Final = 5_000
"""About 20 MB of questions; a crash repeats one part at most."""

AGAIN: Final = "materialise batch_questions again"


@dataclass(frozen=True, slots=True)
class Part:
    """A file of questions: its name below ``parts/``, how many shoppers, and its SHA-256."""

    name: str
    shoppers: int
    sha256: str


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The content of a folder of questions.

    Attributes:
        as_of: moment of the questions, the end of the log; seconds since 1970 UTC.
        k: length of the lists.
    """

    parts: tuple[Part, ...]
    as_of: int
    k: int

    @property
    def shoppers(self) -> int:
        """How many there are."""
        return sum(part.shoppers for part in self.parts)

    @property
    def checksum(self) -> str:
        """Of all questions."""
        return hashlib.sha256(json.dumps([asdict(part) for part in self.parts]).encode()).hexdigest()


def write_questions(lake: Lake, folder: Path, like: Question, *, per_part: int = SHOPPERS_PER_PART) -> QuestionSet:
    """Write the questions of every shopper with a recent event into ``folder``, each ``like`` that of nobody.

    Raises:
        GateClosed: data of the lake may not be used.
        LakeError: there are no interactions.
        BatchError: there is no shopper.
    """
    as_of = int(end_of_log(lake).timestamp())
    (folder / PARTS).mkdir(parents=True, exist_ok=True)
    shoppers = newest_histories(lake)
    parts: list[Part] = []
    while lines := [
        encode_invocation(Invocation.of(replace(like, user_id=user_id, events=_history(events), now=as_of))) + b"\n"
        for user_id, events in islice(shoppers, per_part)
    ]:
        content = b"".join(lines)
        name = f"part-{len(parts):05d}.jsonl"
        (folder / PARTS / name).write_bytes(content)
        parts.append(Part(name, len(lines), hashlib.sha256(content).hexdigest()))
    if not parts:
        raise BatchError(f"{lake.uri('interactions')} holds no shopper of the last year", remedy="bring in newer days")
    questions = QuestionSet(tuple(parts), as_of, like.k)
    (folder / MANIFEST).write_text(json.dumps(asdict(questions), indent=1))
    return questions


def read_questions(uri: str) -> QuestionSet:
    """The questions at ``uri`` (local or ``s3://``). Raises `BatchError` when there are none."""
    filesystem, path = open_filesystem(uri)
    try:
        with filesystem.open_input_stream(f"{path}/{MANIFEST}") as stream:
            content = json.loads(stream.read())
        return QuestionSet(**{**content, "parts": tuple(Part(**part) for part in content["parts"])})
    except FileNotFoundError as error:
        raise BatchError(f"{uri} holds no questions", remedy="materialise batch_questions first") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BatchError(f"{uri}/{MANIFEST} cannot be read ({error!r})", remedy=AGAIN) from error


def read_part(uri: str, part: Part) -> list[bytes]:
    """The lines of one part. Raises `BatchError` when it is missing or not what the manifest says."""
    filesystem, path = open_filesystem(uri)
    try:
        with filesystem.open_input_stream(f"{path}/{PARTS}/{part.name}") as stream:
            content: bytes = stream.read()
    except FileNotFoundError as error:
        raise BatchError(f"{uri}/{PARTS}/{part.name} is missing", remedy=AGAIN) from error
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise BatchError(f"{uri}/{PARTS}/{part.name} differs from its manifest", remedy=AGAIN)
    return content.splitlines()


def write_object(uri: str, content: bytes) -> None:
    """Write an object atomically: S3 does so itself, a local file is replaced."""
    filesystem, path = open_filesystem(uri)
    if isinstance(filesystem, pa_fs.LocalFileSystem):
        write_bytes(Path(path), content)
        return
    with filesystem.open_output_stream(path) as target:
        target.write(content)


def clear(uri: str) -> None:
    """Remove the questions at ``uri``, the manifest first, so that a rest is never taken for complete."""
    filesystem, path = open_filesystem(uri)
    if filesystem.get_file_info(f"{path}/{MANIFEST}").type == pa_fs.FileType.File:
        filesystem.delete_file(f"{path}/{MANIFEST}")
    if filesystem.get_file_info(path).type != pa_fs.FileType.NotFound:
        filesystem.delete_dir(path)


def publish(folder: Path, uri: str) -> None:
    """Replace the questions at ``uri`` by those in ``folder``."""
    clear(uri)
    # One by one: Arrow's copy of a folder leaves an empty object named like it, which a transform would read as input.
    for part in sorted((folder / PARTS).iterdir()):
        write_object(f"{uri}/{PARTS}/{part.name}", part.read_bytes())
    write_object(f"{uri}/{MANIFEST}", (folder / MANIFEST).read_bytes())


def summary(questions: QuestionSet) -> dict[str, Any]:
    """Figures of a set of questions, as metadata."""
    return {
        "dagster/row_count": questions.shoppers,
        "parts": len(questions.parts),
        "as_of": questions.as_of,
        "k": questions.k,
        "checksum": questions.checksum,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The program of a processing job; returns the exit code, the reason of a failure in ``output/message``."""
    parser = argparse.ArgumentParser(prog="questions", description="Write one question per shopper of a lake.")
    parser.add_argument("--lake", required=True)
    parser.add_argument("--like", required=True, help="the question of nobody, as JSON (Question.template)")
    parser.add_argument("--per-part", type=int, default=SHOPPERS_PER_PART)
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="root of the job's folders")
    given = parser.parse_args(arguments)
    try:
        with open_destination() as destination:
            destination.tell(f"reading shoppers of {given.lake}")
            folder = given.root / "processing" / "output" / "questions"
            like = Question.read_json(given.like.encode())
            written = write_questions(Lake(given.lake), folder, like, per_part=given.per_part)
            destination.tell(f"{written.shoppers} shoppers in {len(written.parts)} parts")
            destination.finish(summary(written), written.checksum)
    except Exception as error:  # noqa: BLE001
        # The platform's contract: any failure ends up in the message file and in the exit code.
        record_failure(error, given.root / "output" / "message")
        return FAILED
    return DONE


def _history(events: Sequence[Any]) -> tuple[Event, ...]:
    return tuple(Event(event.product_id, event.interaction_type, event.timestamp) for event in events)


def shopper_of(line: bytes) -> str:
    """The user id in a line of questions."""
    return str(json.loads(line)["question"]["user_id"])


def parts_in(questions: QuestionSet, uri: str) -> Iterator[tuple[Part, list[bytes]]]:
    """Every part with its lines, one at a time."""
    for part in questions.parts:
        yield part, read_part(uri, part)


if __name__ == "__main__":
    sys.exit(main())
