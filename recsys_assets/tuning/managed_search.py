"""The search on SageMaker: the defaults as one training job, all other trials as a tuning job.

Jobs are named by their content (data, code revision, space, seed, budget). A repeated search finds them done and reads
their trials.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from recsys_assets.aws_errors import error_code, translate_aws_errors
from recsys_assets.models.zoo import make_trainer
from recsys_assets.sagemaker.errors import JobFailed, JobRefused
from recsys_assets.sagemaker.job import Hardware, JobIdentity, JobPlaces, JobPlan, Placement, bucket_and_key
from recsys_assets.sagemaker.jobs import FinishedJob, Log, SageMakerJobs, Session, no_session
from recsys_assets.sagemaker.training_job import TrainingJobPlan
from recsys_assets.training.search_spaces import SearchSpace
from recsys_assets.training.train import INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL
from recsys_assets.tuning.search import Budget, OnTrial, Trial, TrialState, TuningResult
from recsys_assets.tuning.trial import TrialQuestion, metrics, trial_hyperparameters
from recsys_assets.tuning.tuning_job import SHORTEST_S, TuningJobPlan, chosen_values

TRIAL: Final = ("python", "-m", "recsys_assets.tuning.trial")
_FOLD: Final = re.compile(r"fold_(\d+)_ndcg")
_REFUSAL: Final = re.compile(r"AlgorithmError: ValueError: ([^\n]*)")
_STATES: Final = {"Completed": TrialState.FINISHED, "Stopped": TrialState.PRUNED, "Failed": TrialState.FAILED}


@dataclass(frozen=True)
class ManagedSearch:
    """Searches on one log, run as SageMaker jobs.

    Attributes:
        interactions, products: canonical tables for the trials; all before ``question.end``.
        settled: model -> hyper-parameters that are never varied.
        parallel: trials of a tuning job at the same time.
        log: receives the progress of jobs.
    """

    jobs: SageMakerJobs
    places: JobPlaces
    placement: Placement
    hardware: Hardware
    interactions: pa.Table = field(repr=False)
    products: pa.Table = field(repr=False)
    question: TrialQuestion
    settled: Callable[[str], Mapping[str, Any]]
    git_revision: str
    parallel: int
    log: Log
    tags: Mapping[str, str] = field(default_factory=dict)

    def search(self, model: str, budget: Budget, seed: int, space: SearchSpace, on_trial: OnTrial) -> TuningResult:
        """As `recsys_assets.tuning.search.tune`, with values chosen by SageMaker.

        Raises:
            ValueError: the model refuses the data with its defaults.
            JobFailed: a job failed otherwise, or AWS refused a call.
        """
        most = budget.trials if space else 1
        first = self._defaults(model, most)
        on_trial(first, most)
        trials = {0: first}
        if most > 1:
            trials |= self._others(model, budget, seed, space, lambda trial: on_trial(trial, most))
        return TuningResult.of([trials[number] for number in sorted(trials)], budget, space)

    @cached_property
    def channels(self) -> dict[str, str]:
        """Input channels, uploaded once and named by their content."""
        tables = {INTERACTIONS_CHANNEL: self.interactions, PRODUCTS_CHANNEL: self.products}
        with translate_aws_errors(f"s3:PutObject below {self.places.root}", JobFailed.of):
            return {name: upload_once(self.jobs.s3, table, self.places.shared(name)) for name, table in tables.items()}

    def _defaults(self, model: str, most: int) -> Trial:
        plan = TrainingJobPlan(
            placement=self.placement,
            hyperparameters=self._fixed(model, {}),
            channels=self.channels,
            output_uri=self.places.shared("trials"),
            # Short, and somebody waits for it.
            hardware=replace(self.hardware, spot=False),
            tags={**self.tags, "recsys/model": model},
            program=TRIAL,
            metrics=metrics(self.question.folds),
        )
        try:
            finished = self._run(plan, model, "defaults")
        except JobFailed as failure:
            if refusal := _REFUSAL.search(failure.reason):
                raise ValueError(refusal[1]) from failure
            raise
        return read_job_as_trial(finished.description, 0, model, self.settled(model))

    def _others(
        self, model: str, budget: Budget, seed: int, space: SearchSpace, on_trial: Callable[[Trial], None]
    ) -> dict[int, Trial]:
        plan = TuningJobPlan(
            placement=self.placement,
            fixed=self._fixed(model, space),
            space=space,
            channels=self.channels,
            output_uri=self.places.shared("trials"),
            metrics=metrics(self.question.folds),
            trials=budget.trials - 1,
            parallel=min(self.parallel, budget.trials - 1),
            seconds=max(SHORTEST_S, int(budget.seconds or 24 * 3600)),
            seed=seed,
            hardware=self.hardware,
            tags={**self.tags, "recsys/model": model},
        )
        trials: dict[int, Trial] = {}

        @contextmanager
        def watched(name: str) -> Iterator[Session]:
            def look(description: Mapping[str, Any], ended: bool) -> None:
                for number, summary in enumerate(self._summaries(name), start=1):
                    if number in trials or summary["TrainingJobStatus"] not in _STATES:
                        continue
                    job = self.jobs.sagemaker.describe_training_job(TrainingJobName=summary["TrainingJobName"])
                    chosen = chosen_values(space, summary["TunedHyperParameters"])
                    trials[number] = read_job_as_trial(job, number, model, {**self.settled(model), **chosen})
                    on_trial(trials[number])

            yield Session(look=look)

        self._run(plan, model, "tune", watched)
        return trials

    def _summaries(self, name: str) -> list[dict[str, Any]]:
        pages = self.jobs.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
        )
        found = [summary for page in pages for summary in page["TrainingJobSummaries"]]
        return sorted(found, key=lambda one: (one["CreationTime"], one["TrainingJobName"]))

    def _fixed(self, model: str, space: Mapping[str, Any]) -> dict[str, str]:
        settled = {name: value for name, value in self.settled(model).items() if name not in space}
        return trial_hyperparameters(model, settled, self.question, self.git_revision)

    def _run(
        self,
        plan: JobPlan,
        model: str,
        what: str,
        open_session: Callable[[str], AbstractContextManager[Session]] = no_session,
    ) -> FinishedJob:
        # Of the work alone: hardware, time limit and parallelism do not change its result.
        digest = hashlib.sha256(json.dumps(plan.work(plan.request({})), sort_keys=True).encode()).hexdigest()
        identity = JobIdentity(run_id=digest, asset=model, label=f"{what}-{model}", lasting=True)
        try:
            return self.jobs.run(plan, identity, self.log, open_session)
        except JobRefused as refusal:
            # A ``ValueError`` here would be taken for the model refusing the data.
            raise JobFailed(str(refusal)) from refusal


def read_job_as_trial(job: Mapping[str, Any], number: int, model: str, parameters: Mapping[str, Any]) -> Trial:
    """A described training job that has ended, as a trial with ``parameters`` beside the model's defaults.

    AWS stores metrics as 32-bit numbers, so scores equal those of a local search to seven digits.
    """
    state, problem = _STATES[job["TrainingJobStatus"]], ""
    scores = {
        int(match[1]): float(metric["Value"])
        for metric in job.get("FinalMetricDataList", [])
        if (match := _FOLD.fullmatch(metric["MetricName"]))
    }
    if state is TrialState.FINISHED and not scores:
        state, problem = TrialState.FAILED, "the trial ended well and printed no score"
    if job["TrainingJobStatus"] == "Failed":
        problem = str(job.get("FailureReason", "")).split("\n", 1)[0]
    try:
        parameters = make_trainer(model, parameters).parameters()
    except ValueError:
        parameters = dict(parameters)  # refused by the model; recorded as tried, like in a local search
    return Trial(
        model=model,
        number=number,
        parameters=parameters,
        fold_scores=dict(sorted(scores.items(), reverse=True)),  # in the order of a local search
        state=state,
        started_at=job.get("TrainingStartTime") or job["CreationTime"],
        seconds=float(job.get("TrainingTimeInSeconds") or 0),
        problem=problem,
    )


def upload_once(s3: Any, table: pa.Table, prefix_uri: str) -> str:
    """Upload ``table`` below ``prefix_uri`` to a folder named by its content, unless it exists; returns the folder."""
    with tempfile.TemporaryFile() as file:
        pq.write_table(table, file, compression="zstd")
        file.seek(0)
        uri = f"{prefix_uri}/{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}"
        bucket, prefix = bucket_and_key(uri)
        key = f"{prefix}/part-0.parquet"
        try:
            s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) not in ("404", "NoSuchKey"):
                raise
            file.seek(0)
            s3.upload_fileobj(file, bucket, key)
    return uri
