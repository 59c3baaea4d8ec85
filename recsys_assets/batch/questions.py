"""One question per known shopper, as JSON lines in parts: what a batch asks the model.

    python -m recsys_assets.batch.questions --lake URI [--k 10] [--allow-repeats] [--root /opt/ml]

Put the making and reading of question files here; as a program it runs in a SageMaker processing job. Keep who answers
and what becomes of answers (``recsys_deploy.batch``) out.

A folder of questions holds ``parts/part-00000.jsonl`` ... and ``manifest.json``, written last: without it there are no
questions. The same lake gives the same bytes.
"""

import argparse
import hashlib
import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow.fs as pa_fs

from lambda_api.interactions import Event
from lambda_api.serving.question import Question
from lambda_api.serving.scorers import encode_invocation
from recsys_assets.batch.errors import BatchError
from recsys_assets.features.engine import end_of_log
from recsys_assets.lake import Lake, open_filesystem
from recsys_assets.publishing.histories import newest_histories
from recsys_assets.training.progress import open_destination

MANIFEST: Final = "manifest.json"
PARTS: Final = "parts"
SHOPPERS_PER_PART: Final = 5_000
"""About 20 MB of questions, and what is done again after a crash."""

DONE, FAILED = 0, 1


@dataclass(frozen=True, slots=True)
class Part:
    """A file of questions: its name below ``parts/``, how many shoppers, and its SHA-256."""

    name: str
    shoppers: int
    sha256: str


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """What a folder of questions holds.

    Attributes:
        as_of: seconds since 1970 UTC; questions are asked as at that moment, the end of the log.
        k: length of the lists; ``allow_repeats``: whether products bought before may come.
    """

    parts: tuple[Part, ...]
    as_of: int
    k: int
    allow_repeats: bool

    @property
    def shoppers(self) -> int:
        """How many there are."""
        return sum(part.shoppers for part in self.parts)

    @property
    def checksum(self) -> str:
        """Of everything that is asked."""
        return hashlib.sha256(json.dumps([asdict(part) for part in self.parts]).encode()).hexdigest()


def write_questions(
    lake: Lake, folder: Path, k: int, *, allow_repeats: bool, per_part: int = SHOPPERS_PER_PART
) -> QuestionSet:
    """Write the questions of every shopper with a recent event into ``folder``.

    Raises:
        GateClosed: a delivery may not be used.
        LakeError: there are no interactions.
        BatchError: there is no shopper.
    """
    as_of = int(end_of_log(lake).timestamp())
    (folder / PARTS).mkdir(parents=True, exist_ok=True)
    shoppers = newest_histories(lake)
    parts: list[Part] = []
    while lines := [
        encode_invocation(_question(user_id, events, as_of, k, allow_repeats)) + b"\n"
        for user_id, events in islice(shoppers, per_part)
    ]:
        content = b"".join(lines)
        name = f"part-{len(parts):05d}.jsonl"
        (folder / PARTS / name).write_bytes(content)
        parts.append(Part(name, len(lines), hashlib.sha256(content).hexdigest()))
    if not parts:
        raise BatchError(f"{lake.uri('interactions')} holds no shopper of the last year; bring in newer days")
    questions = QuestionSet(tuple(parts), as_of, k, allow_repeats)
    (folder / MANIFEST).write_text(json.dumps(asdict(questions), indent=1))
    return questions


def read_questions(uri: str) -> QuestionSet:
    """What the folder at ``uri`` (local or ``s3://``) holds. Raises `BatchError` where it holds no questions."""
    filesystem, path = open_filesystem(uri)
    try:
        with filesystem.open_input_stream(f"{path}/{MANIFEST}") as stream:
            content = json.loads(stream.read())
        return QuestionSet(**{**content, "parts": tuple(Part(**part) for part in content["parts"])})
    except FileNotFoundError as error:
        raise BatchError(f"{uri} holds no questions; materialise batch_questions first") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BatchError(f"{uri}/{MANIFEST} cannot be read ({error!r}); materialise batch_questions again") from error


def read_part(uri: str, part: Part) -> list[bytes]:
    """The lines of one part. Raises `BatchError` when it is missing or not what the manifest says."""
    filesystem, path = open_filesystem(uri)
    try:
        with filesystem.open_input_stream(f"{path}/{PARTS}/{part.name}") as stream:
            content: bytes = stream.read()
    except FileNotFoundError as error:
        raise BatchError(f"{uri}/{PARTS}/{part.name} is gone; materialise batch_questions again") from error
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise BatchError(f"{uri}/{PARTS}/{part.name} is not what its manifest says; materialise batch_questions again")
    return content.splitlines()


def clear(uri: str) -> None:
    """Remove the questions at ``uri``, the manifest first, so that what is left is never taken for whole."""
    filesystem, path = open_filesystem(uri)
    if filesystem.get_file_info(f"{path}/{MANIFEST}").type == pa_fs.FileType.File:
        filesystem.delete_file(f"{path}/{MANIFEST}")
    if filesystem.get_file_info(path).type != pa_fs.FileType.NotFound:
        filesystem.delete_dir(path)


def publish(folder: Path, uri: str) -> None:
    """Put the questions in ``folder`` at ``uri``, in place of what was there."""
    clear(uri)
    filesystem, path = open_filesystem(uri)
    filesystem.create_dir(f"{path}/{PARTS}", recursive=True)
    pa_fs.copy_files(str(folder / PARTS), f"{path}/{PARTS}", pa_fs.LocalFileSystem(), filesystem)
    with filesystem.open_output_stream(f"{path}/{MANIFEST}") as target:
        target.write((folder / MANIFEST).read_bytes())


def summary(questions: QuestionSet) -> dict[str, Any]:
    """What people want to know of them."""
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
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--allow-repeats", action="store_true")
    parser.add_argument("--per-part", type=int, default=SHOPPERS_PER_PART)
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="root of the job's folders")
    given = parser.parse_args(arguments)
    try:
        with open_destination() as destination:
            destination.tell(f"reading shoppers of {given.lake}")
            folder = given.root / "processing" / "output" / "questions"
            written = write_questions(
                Lake(given.lake), folder, given.k, allow_repeats=given.allow_repeats, per_part=given.per_part
            )
            destination.tell(f"{written.shoppers} shoppers in {len(written.parts)} parts")
            destination.finish(summary(written), written.checksum)
    except Exception as error:  # noqa: BLE001
        # The platform's contract: whatever went wrong ends up in the message file and in the exit code.
        message = given.root / "output" / "message"
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_text(f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}")
        print(f"failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return FAILED
    return DONE


def _question(user_id: str, events: Sequence[Any], as_of: int, k: int, allow_repeats: bool) -> Question:
    history = tuple(Event(event.product_id, event.interaction_type, event.timestamp) for event in events)
    return Question(user_id, history, as_of, k, exclude_purchased=not allow_repeats)


def shopper_of(line: bytes) -> str:
    """Who asks in a line of questions."""
    return str(json.loads(line)["question"]["user_id"])


def parts_in(questions: QuestionSet, uri: str) -> Iterator[tuple[Part, list[bytes]]]:
    """Every part with its lines, one at a time."""
    for part in questions.parts:
        yield part, read_part(uri, part)


if __name__ == "__main__":
    sys.exit(main())
