"""A batch from end to end, for the assets and the command: questions written, answered, lists stored."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lambda_api.serving.question import Question
from lambda_api.settings import Settings, parse_tags
from lambda_api.state.table import Table
from recsys_assets.batch.questions import QuestionSet, clear, publish, read_questions, write_questions
from recsys_assets.lake import Lake
from recsys_assets.sagemaker.client import linked
from recsys_assets.sagemaker.job import JobPlan
from recsys_assets.sagemaker.jobs import Log
from recsys_assets.sagemaker.processing_job import ProcessingJobPlan
from recsys_assets.sagemaker.settings import hardware_of, placement_of
from recsys_deploy.batch.answering import Answer
from recsys_deploy.batch.results import Tally, check_answers, store_in_lake, store_records
from recsys_deploy.subject import Subject

PROGRAM = "recsys_assets.batch.questions"

RunJob = Callable[[JobPlan], Any]
"""Runs a processing job to its end."""


@dataclass(frozen=True)
class BatchOutcome:
    """The result of a batch.

    Attributes:
        tally: usable and unusable lines.
        table: file in the lake.
        records: number of records written to the table ``serving``.
        parts_answered: by this run; 0 when all answers existed.
        metadata: of the job that answered (if any).
    """

    version: str
    tally: Tally
    table: str
    records: int
    parts_answered: int
    metadata: dict[str, Any]

    @property
    def figures(self) -> dict[str, Any]:
        """Metadata of the asset ``batch_recommendations``."""
        return {
            **linked(self.metadata),
            "dagster/uri": self.table,
            "dagster/row_count": self.tally.rows,
            "shoppers": self.tally.shoppers,
            "records": self.records,
            "bad_lines": self.tally.bad,
            "parts_answered": self.parts_answered,
            "version": self.version,
        }


def batch_root(settings: Settings) -> str:
    """Root of questions and answers: below the prefix of jobs' files if there is one, in the home otherwise."""
    return f"{settings.training_uri.rstrip('/')}/batch" if settings.training_uri else str(settings.home / "batch")


def questions_place(settings: Settings) -> str:
    """URI of the newest questions."""
    return f"{batch_root(settings)}/questions"


def makes_questions_by_job(settings: Settings) -> bool:
    """Whether a processing job writes the questions, which is so where trainings are jobs."""
    return settings.target == "aws" and bool(settings.training_image)


def _template(settings: Settings) -> Question:
    return Question.template(settings, settings.k)


def questions_plan(settings: Settings) -> ProcessingJobPlan:
    """The processing job that writes the questions."""
    like = json.dumps(_template(settings).to_json(brief=True))  # an argument has 256 characters at most
    return ProcessingJobPlan(
        placement=placement_of(settings),
        module=PROGRAM,
        arguments=("--lake", settings.lake_uri, "--like", like),
        outputs={"questions": questions_place(settings)},
        reads=(settings.lake_uri,),
        # There is no spot capacity for processing jobs.
        hardware=replace(hardware_of(settings), spot=False),
        tags={**parse_tags(settings.training_tags), "recsys/batch": "questions"},
    )


def make_questions(settings: Settings, lake: Lake, run_job: RunJob) -> QuestionSet:
    """Write the questions again, in this process or by ``run_job``.

    Raises:
        GateClosed, LakeError, BatchError: there are no shoppers, or their data may not be used.
    """
    place = questions_place(settings)
    if makes_questions_by_job(settings):
        clear(place)
        run_job(questions_plan(settings))
        return read_questions(place)
    with tempfile.TemporaryDirectory(prefix="recsys-questions-") as folder:
        questions = write_questions(lake, Path(folder), _template(settings))
        publish(Path(folder), place)
    return questions


def recommend_to_all(
    settings: Settings, lake: Lake, serving: Table, subject: Subject, answer: Answer, log: Log
) -> BatchOutcome:
    """Answer the newest questions and store the lists, the records after the complete table.

    Raises:
        BatchError: there are no questions, or too many answers cannot be used; nothing was stored.
        JobFailed, TableUnavailable: run it again; existing answers are reused.
    """
    place = questions_place(settings)
    questions = read_questions(place)
    answered = answer(batch_root(settings), place, questions, subject, log)
    tally = check_answers(place, questions, answered.uri)
    table = store_in_lake(lake, place, questions, answered.uri)
    records = store_records(serving, place, questions, answered.uri, int(time.time()))
    return BatchOutcome(subject.version, tally, table, records, answered.parts_answered, dict(answered.metadata))
