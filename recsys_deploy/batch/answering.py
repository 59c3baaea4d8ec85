"""Answers to a set of questions: by the champion in this process, or by a SageMaker batch transform of it.

Put who answers, where answers lie, and not doing twice what is done, here. Keep questions, the request of a transform
(``transform_job``) and what becomes of answers (``results``) out.

Answers lie in ``<root>/answers/<bundle>-<catalogue>-<questions>/<part>.out``, named by what they are answers of and to:
what is there already is not asked again. Both ways run ``lambda_api.handlers.inference_server``.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow.fs as pa_fs

from lambda_api.handlers.inference_app import answer_line, open_model
from lambda_api.settings import Settings, parse_tags
from recsys_assets.batch.errors import BatchError
from recsys_assets.batch.questions import PARTS, Part, QuestionSet, read_part
from recsys_assets.lake import open_filesystem
from recsys_assets.sagemaker.job import JobIdentity, Placement
from recsys_assets.sagemaker.jobs import Level, Log, SageMakerJobs
from recsys_assets.sagemaker.settings import placement_of
from recsys_deploy.batch.transform_job import TransformJobPlan
from recsys_deploy.endpoints.archive import archives_uri, publish_archive
from recsys_deploy.endpoints.manager import EndpointManager
from recsys_deploy.endpoints.requests import EndpointPlan, model_request
from recsys_deploy.subject import Subject


@dataclass(frozen=True, slots=True)
class Answered:
    """Where answers lie; how many parts were answered now; what is known of the job that did, if one did."""

    uri: str
    parts_answered: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


def answers_uri(root: str, subject: Subject, questions: QuestionSet) -> str:
    """Where the answers of ``subject`` to ``questions`` lie."""
    name = "-".join(part[:16] for part in (subject.bundle_checksum, subject.catalogue_checksum, questions.checksum))
    return f"{root.rstrip('/')}/answers/{name}"


def answer_here(root: str, questions_uri: str, questions: QuestionSet, subject: Subject, log: Log) -> Answered:
    """Answer every part that is not answered yet, in this process; cut short, it goes on with the next part.

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
            _write_whole(f"{uri}/{part.name}.out", b"".join(line + b"\n" for line in lines))
            log(Level.INFO, f"{done} of {len(missing)} parts answered")
    return Answered(uri, len(missing))


@dataclass(frozen=True)
class Transformer:
    """Answers by batch transform.

    Attributes:
        placement: image, role, network and key of the inference container.
        instance_type: of its one instance.
        prefix: of names, such as ``recsys-dev``.
        archives: ``s3://`` prefix of model archives.
    """

    jobs: SageMakerJobs
    placement: Placement
    instance_type: str
    prefix: str
    archives: str
    tags: Mapping[str, str] = field(default_factory=dict)

    def answer(self, root: str, questions_uri: str, questions: QuestionSet, subject: Subject, log: Log) -> Answered:
        """Answer all parts, unless all are answered; a job of the same work that runs or ran well is taken up.

        Raises:
            JobFailed, EndpointError: the job failed, or AWS refused a call.
        """
        uri = answers_uri(root, subject, questions)
        missing = [part for part in questions.parts if not is_answered(uri, part)]
        if not missing:
            return Answered(uri, 0)
        tags = {**self.tags, "recsys/version": subject.version}
        model = model_request(
            EndpointPlan(
                prefix=self.prefix,
                version=subject.version,
                image=self.placement.image,
                role_arn=self.placement.role_arn,
                model_uri=publish_archive(self.jobs.s3, self.archives, subject.bundle, subject.catalogue),
                subnets=self.placement.subnets,
                security_groups=self.placement.security_groups,
                tags=tags,
            )
        )
        manager = EndpointManager(self.jobs.sagemaker)
        manager.ensure_model(model)
        plan = TransformJobPlan(
            placement=self.placement,
            model_name=model["ModelName"],
            input_uri=f"{questions_uri}/{PARTS}",
            output_uri=uri,
            instance_type=self.instance_type,
            tags=tags,
        )
        work = json.dumps([plan.work(plan.request({})), questions.checksum], sort_keys=True)
        identity = JobIdentity(
            run_id=hashlib.sha256(work.encode()).hexdigest(),
            asset="batch_recommendations",
            label=f"{self.prefix}-batch-{subject.version}",
            lasting=True,
        )
        try:
            finished = self.jobs.run(plan, identity, log)
            if not all(is_answered(uri, part) for part in missing):
                # The job ended well before this call, and its answers were deleted since.
                log(Level.WARNING, f"{uri} lacks answers of {finished.name}; asking again")
                again = replace(identity, run_id=uuid.uuid4().hex, lasting=False)
                finished = self.jobs.run(plan, again, log)
        finally:
            manager.delete_model(model["ModelName"])
        if unanswered := [part.name for part in missing if not is_answered(uri, part)]:
            raise BatchError(
                f"transform job {finished.name} ended well and {uri} lacks answers to {', '.join(unanswered[:3])}; "
                "allow its role s3:PutObject there and run the batch again"
            )
        return Answered(uri, len(missing), finished.metadata)


Answer = Callable[[str, str, QuestionSet, Subject, Log], Answered]
"""Root, where the questions are, the questions, who answers, and who hears of it."""


def answerer_of(settings: Settings, open_jobs: Callable[[], SageMakerJobs]) -> Answer:
    """A batch transform where the shop runs on AWS and names an inference image, this process otherwise."""
    if not settings.inference_image:
        return answer_here
    return Transformer(
        open_jobs(),
        replace(placement_of(settings), image=settings.inference_image),
        settings.inference_instance_type,
        settings.endpoint_prefix,
        archives_uri(settings),
        parse_tags(settings.training_tags),
    ).answer


def is_answered(uri: str, part: Part) -> bool:
    """Whether every line of ``part`` has one in its file of answers."""
    filesystem, path = open_filesystem(f"{uri}/{part.name}.out")
    if filesystem.get_file_info(path).type != pa_fs.FileType.File:
        return False
    with filesystem.open_input_stream(path) as stream:
        return len(stream.read().splitlines()) == part.shoppers


def _write_whole(uri: str, content: bytes) -> None:
    """Write an object at once; a local file beside its place first, so that half a file is never there."""
    filesystem, path = open_filesystem(uri)
    filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
    remote = "://" in uri
    with filesystem.open_output_stream(path if remote else f"{path}.partial") as target:
        target.write(content)
    if not remote:
        filesystem.move(f"{path}.partial", path)
