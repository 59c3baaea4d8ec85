"""Answers a set of questions with the champion, in this process or by a SageMaker batch transform.

Answers are stored in ``<root>/answers/<bundle>-<catalogue>-<questions>/<part>.out``, named by the checksums of their
inputs, so that existing answers are not computed again. Both ways run ``lambda_api.handlers.inference_server``.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from lambda_api.handlers.inference_app import answer_line, open_model
from lambda_api.settings import Settings, parse_tags
from recsys_assets.batch.errors import BatchError
from recsys_assets.batch.questions import PARTS, QuestionSet, read_part, write_object
from recsys_assets.sagemaker.job import JobIdentity
from recsys_assets.sagemaker.jobs import Level, Log, SageMakerJobs
from recsys_assets.sagemaker.settings import inference_placement
from recsys_deploy.batch.answers import is_answered
from recsys_deploy.batch.transform_job import TransformJobPlan
from recsys_deploy.endpoints.archive import archives_uri, publish_archive
from recsys_deploy.endpoints.manager import EndpointManager
from recsys_deploy.endpoints.requests import EndpointPlan, model_request
from recsys_deploy.subject import Subject


@dataclass(frozen=True, slots=True)
class Answered:
    """URI of the answers, number of parts answered by this call, metadata of the job that answered them (if any)."""

    uri: str
    parts_answered: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


def answers_uri(root: str, subject: Subject, questions: QuestionSet) -> str:
    """URI of the answers of ``subject`` to ``questions``."""
    name = "-".join(part[:16] for part in (subject.bundle_checksum, subject.catalogue_checksum, questions.checksum))
    return f"{root.rstrip('/')}/answers/{name}"


def answer_here(root: str, questions_uri: str, questions: QuestionSet, subject: Subject, log: Log) -> Answered:
    """Answer every part without answers, in this process; after an interruption it continues with the next part.

    Raises:
        BatchError: questions are missing or damaged.
        ModelUnavailable: the champion does not answer.
    """
    uri = answers_uri(root, subject, questions)
    missing = [part for part in questions.parts if not is_answered(uri, part)]
    if missing:
        model = open_model(subject.bundle, subject.catalogue)
        for done, part in enumerate(missing, start=1):
            lines = [answer_line(model, line) for line in read_part(questions_uri, part)]
            write_object(f"{uri}/{part.name}.out", b"".join(line + b"\n" for line in lines))
            log(Level.INFO, f"{done} of {len(missing)} parts answered")
    return Answered(uri, len(missing))


def answer_by_transform(
    jobs: SageMakerJobs,
    settings: Settings,
    root: str,
    questions_uri: str,
    questions: QuestionSet,
    subject: Subject,
    log: Log,
) -> Answered:
    """Answer by batch transform, unless every part has answers; a job of the same work that runs or is done is reused.

    Raises:
        JobFailed, EndpointError: the job failed, or AWS refused a call.
        BatchError: the job ended well, and answers are missing.
    """
    uri = answers_uri(root, subject, questions)
    missing = [part for part in questions.parts if not is_answered(uri, part)]
    if not missing:
        return Answered(uri, 0)
    tags = {**parse_tags(settings.training_tags), "recsys/version": subject.version}
    model = model_request(
        EndpointPlan(
            prefix=settings.endpoint_prefix,
            version=subject.version,
            placement=inference_placement(settings),
            model_uri=publish_archive(jobs.s3, archives_uri(settings), subject.bundle, subject.catalogue),
            tags=tags,
        )
    )
    plan = TransformJobPlan(
        placement=inference_placement(settings),
        model_name=model["ModelName"],
        input_uri=f"{questions_uri}/{PARTS}",
        output_uri=uri,
        instance_type=settings.inference_instance_type,
        tags=tags,
    )
    work = json.dumps([plan.work(plan.request({})), questions.checksum], sort_keys=True)
    identity = JobIdentity(
        run_id=hashlib.sha256(work.encode()).hexdigest(),
        asset="batch_recommendations",
        label=f"{settings.endpoint_prefix}-batch-{subject.version}",
        lasting=True,
    )
    with _model(jobs, model):
        finished = jobs.run(plan, identity, log)
        if not all(is_answered(uri, part) for part in missing):
            # The job ended before this call, and its answers have been deleted since.
            log(Level.WARNING, f"{uri} lacks answers of {finished.name}; running the transform again")
            finished = jobs.run(plan, replace(identity, run_id=uuid.uuid4().hex, lasting=False), log)
    if unanswered := [part.name for part in missing if not is_answered(uri, part)]:
        raise BatchError(
            f"transform job {finished.name} ended well, but {uri} lacks answers to {', '.join(unanswered[:3])}",
            remedy="allow its role s3:PutObject there and run the batch again",
        )
    return Answered(uri, len(missing), finished.metadata)


@contextmanager
def _model(jobs: SageMakerJobs, request: dict[str, Any]) -> Iterator[None]:
    """The model of ``request`` exists until the block ends."""
    manager = EndpointManager(jobs.sagemaker)
    manager.ensure_model(request)
    try:
        yield
    finally:
        manager.delete_model(request["ModelName"])


Answer = Callable[[str, str, QuestionSet, Subject, Log], Answered]
"""Answers questions: called with the root of answers, the questions' URI and content, the subject and the log."""


def answerer_of(settings: Settings, open_jobs: Callable[[], SageMakerJobs]) -> Answer:
    """A batch transform where the shop has an inference image, this process otherwise."""
    if not settings.inference_image:
        return answer_here
    return partial(answer_by_transform, open_jobs(), settings)
