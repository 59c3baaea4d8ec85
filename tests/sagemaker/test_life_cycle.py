"""One life cycle for every kind of job: trouble with AWS, restarts, interruptions, attempts, accounts."""

import dataclasses
import time
from typing import Any

import pytest

from recsys_assets.sagemaker.errors import JobFailed
from recsys_assets.sagemaker.job import JobIdentity, JobPlan
from recsys_assets.sagemaker.jobs import Level, Patience
from recsys_assets.sagemaker.kinds import PROCESSING, TRAINING, TUNING
from recsys_assets.sagemaker.processing_job import ProcessingJobPlan
from recsys_assets.sagemaker.training_job import TrainingJobPlan
from recsys_assets.training.search_spaces import Real
from recsys_assets.tuning.trial import metrics
from recsys_assets.tuning.tuning_job import TuningJobPlan
from recsys_deploy.batch.transform_job import TransformJobPlan
from tests.patience import wait_until
from tests.sagemaker.fake_sagemaker import TIMEOUT, FakeSageMaker, Script
from tests.sagemaker.jobs import PLACEMENT, ROOT, jobs_on

PLANS: list[JobPlan] = [
    TrainingJobPlan(PLACEMENT, {"model": "ncf"}, {"in": f"{ROOT}/in"}, f"{ROOT}/out", f"{ROOT}/checkpoints"),
    ProcessingJobPlan(PLACEMENT, "some.module", ("--k", "10"), outputs={"made": f"{ROOT}/made"}),
    TuningJobPlan(PLACEMENT, {"k": "1"}, {"b": Real(0, 1)}, {"in": f"{ROOT}/in"}, f"{ROOT}/out", metrics(1), 3),
    TransformJobPlan(PLACEMENT, "model", f"{ROOT}/in", f"{ROOT}/out"),
]
OTHER_WORK: list[JobPlan] = [
    dataclasses.replace(PLANS[0], hyperparameters={"model": "ease"}),  # type: ignore[type-var]
    dataclasses.replace(PLANS[1], arguments=("--k", "11")),  # type: ignore[type-var]
    dataclasses.replace(PLANS[2], seed=1),  # type: ignore[type-var]
    dataclasses.replace(PLANS[3], input_uri=f"{ROOT}/else"),  # type: ignore[type-var]
]
IDENTITY = JobIdentity("0d1f7a1e-6f0e-4c43-9a53-6a8a3c1f5b77", "asset", "a-rather-long-label-of-a-job")
every_kind = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.kind.noun.replace(" ", "-"))


@pytest.fixture(autouse=True)
def model(service: FakeSageMaker, s3: Any) -> None:
    """What a transform needs to be there."""
    service.models["model"] = {}


class Listener:
    """Hears what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, level: Level, line: str) -> None:
        self.lines.append(f"{level.value}: {line}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@every_kind
def test_what_passes_is_waited_for(service: FakeSageMaker, plan: JobPlan) -> None:
    service.scripts.append(Script(done=True))
    for verb in ("Create", "Describe"):
        service.errors[f"{verb}{plan.kind.operation}"].extend(
            [(400, "ThrottlingException", "Rate exceeded"), (503, "Unavailable", "hm"), (TIMEOUT, "", "")]
        )
    heard = Listener()
    finished = jobs_on(service).run(plan, IDENTITY, heard)
    assert finished.name in service.jobs and len(finished.name) <= plan.kind.name_length
    assert len(service.jobs) == 1
    assert heard.text.count("Rate exceeded") == heard.text.count("Read timeout") == 2


@every_kind
def test_a_job_that_ended_well_is_accounted_for(service: FakeSageMaker, plan: JobPlan) -> None:
    service.scripts.append(Script(done=True))
    told = jobs_on(service).run(plan, IDENTITY, Listener()).metadata
    noun = plan.kind.noun.replace(" ", "_")
    assert told[noun] in told[f"{noun}_page"] and told[noun] in told[f"{noun}_log"]
    assert told["instance_type"].startswith("ml.") and told["attempts"] == 1
    if plan.kind != TUNING:  # its seconds are those of its trials
        seconds = told[f"{noun.removesuffix('_job')}_seconds"]
        assert 3600 <= seconds < 3700
        price = {"ml.m5.xlarge": 0.23, "ml.m5.large": 0.115}[told["instance_type"]]
        assert told["estimated_cost_usd"] == pytest.approx(told["billable_seconds"] / 3600 * price, abs=1e-3)


@every_kind
@pytest.mark.parametrize(
    ("verb", "code", "told"),
    [
        ("Create", "ExpiredTokenException", "sign in again"),
        ("Create", "AccessDeniedException", "and iam:PassRole on arn:aws:iam::123456789012:role/training"),
        ("Create", "ResourceLimitExceeded", "ask for a higher quota"),
        ("Create", "ValidationException", "correct the setting that the message names"),
        ("Describe", "AccessDeniedException", "allow sagemaker:Describe.* to the identity that runs this"),
        ("Describe", "ExpiredTokenException", "may still be running and billed"),
    ],
)
def test_a_refusal_ends_the_wait_and_says_what_to_do(
    service: FakeSageMaker, plan: JobPlan, verb: str, code: str, told: str
) -> None:
    service.scripts.append(Script(never_starts=True))
    action = plan.kind.action(verb)
    service.errors[action.removeprefix("sagemaker:")].append((400, code, "no"))
    with pytest.raises(JobFailed, match=told) as failure:
        jobs_on(service).run(plan, IDENTITY, Listener())
    assert str(failure.value).startswith(action) and not failure.value.retryable
    assert service.calls.count(action.removeprefix("sagemaker:")) == 1, "repeating it changes nothing"
    if verb == "Describe":
        [name] = service.jobs
        assert plan.kind.by_hand("stop", name) in str(failure.value)


@every_kind
def test_an_interruption_stops_the_job(service: FakeSageMaker, plan: JobPlan) -> None:
    service.scripts.append(Script(never_starts=True))

    def interrupt(seconds: float) -> None:
        if "Stopping" not in {job.status for job in service.jobs.values()}:
            raise KeyboardInterrupt
        time.sleep(seconds)

    heard = Listener()
    with pytest.raises(KeyboardInterrupt):
        jobs_on(service, sleep=interrupt).run(plan, IDENTITY, heard)
    [job] = service.jobs.values()
    wait_until(lambda: job.status == "Stopped", "the job ended")
    assert f"warning: interrupted: stopping {plan.kind.noun} {job.name}" in heard.lines


@every_kind
def test_a_caller_that_died_finds_its_job(service: FakeSageMaker, plan: JobPlan) -> None:
    class Killed(BaseException):
        """Nobody cleans up."""

    def die(seconds: float) -> None:
        raise Killed

    service.scripts.append(Script(never_starts=True))
    with pytest.raises(Killed):
        jobs_on(service, sleep=die).run(plan, IDENTITY, Listener())
    [job] = service.jobs.values()

    def let_it_end(seconds: float) -> None:
        job.started = time.time() - 5
        job.end("Completed")

    heard = Listener()
    assert jobs_on(service, sleep=let_it_end).run(plan, IDENTITY, heard).name == job.name
    assert "exists already (InProgress); following it" in heard.text
    assert len(service.jobs) == 1


@pytest.mark.parametrize(("plan", "other"), list(zip(PLANS, OTHER_WORK, strict=True)), ids=lambda p: p.kind.call)
def test_a_job_of_other_work_is_not_taken_for_it(service: FakeSageMaker, plan: JobPlan, other: JobPlan) -> None:
    service.scripts.append(Script(done=True))
    jobs_on(service).run(plan, IDENTITY, Listener())
    with pytest.raises(JobFailed, match=r"exists already and does other work \(.*; start a new run instead of"):
        jobs_on(service).run(other, IDENTITY, Listener())


@every_kind
def test_lack_of_capacity_is_tried_again_and_a_defect_is_not(service: FakeSageMaker, plan: JobPlan) -> None:
    service.scripts.extend(
        [Script(fails="CapacityError: none"), Script(fails="InternalServerError"), Script(done=True)]
    )
    heard = Listener()
    assert jobs_on(service).run(plan, IDENTITY, heard).attempts == 3
    assert "SageMaker failed on its side; next attempt" in heard.text
    assert [name[-2:] for name in service.jobs] == ["-1", "-2", "-3"]
    assert len({name[:-1] for name in service.jobs}) == 1
    defect = dataclasses.replace(IDENTITY, label="defect")
    service.scripts.append(Script(fails="AlgorithmError: ValueError: x, exit code: 1"))
    with pytest.raises(JobFailed, match="the program failed; its log says more") as failure:
        jobs_on(service).run(plan, defect, Listener())
    assert failure.value.reason == "AlgorithmError: ValueError: x, exit code: 1"
    assert len(service.jobs) == 4


@every_kind
def test_lasting_work_is_found_done_and_begun_anew_after_it_ended_badly(service: FakeSageMaker, plan: JobPlan) -> None:
    lasting = dataclasses.replace(IDENTITY, lasting=True)
    service.scripts.extend([Script(fails="ClientError: no"), Script(done=True)])
    with pytest.raises(JobFailed):
        jobs_on(service).run(plan, lasting, Listener())
    with pytest.raises(JobFailed):
        jobs_on(service).run(plan, IDENTITY, Listener())
    done = jobs_on(service).run(plan, lasting, Listener()).name
    heard = Listener()
    assert jobs_on(service).run(plan, lasting, heard).name == done
    assert len(service.jobs) == 2
    assert "failed earlier (ClientError: no); starting another" in heard.text


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan.kind != TUNING], ids=lambda plan: plan.kind.call)
def test_a_job_that_never_starts_is_given_up_and_stopped(service: FakeSageMaker, plan: JobPlan) -> None:
    service.scripts.append(Script(never_starts=True))
    patience = Patience(between_looks=0.05, start=0.2, stop=30, unavailable=1)
    where = "still Starting: Launching requested ML instances" if plan.kind == TRAINING else "still Starting"
    told = rf"has not started within 0 s \({where}.* choose another RECSYS_TRAINING_INSTANCE_TYPE"
    with pytest.raises(JobFailed, match=told):
        jobs_on(service, patience=patience).run(plan, IDENTITY, Listener())
    [job] = service.jobs.values()
    assert job.status == "Stopped"


def test_a_tuning_that_used_up_its_time_is_a_success_with_what_it_found(service: FakeSageMaker) -> None:
    plan = dataclasses.replace(PLANS[2], seconds=120)  # type: ignore[type-var]
    service.scripts.append(Script(never_starts=True))

    def time_is_up(seconds: float) -> None:
        [tuning] = service.of_kind(TUNING)
        trial = dataclasses.replace(tuning, kind=TRAINING, name="trial", tuning=tuning, status="Completed")
        service.jobs["trial"] = trial
        tuning.created = time.time() - 121
        tuning.end("Stopped")

    finished = jobs_on(service, sleep=time_is_up).run(plan, IDENTITY, Listener())
    assert finished.description["TrainingJobStatusCounters"]["Completed"] == 1


def test_a_processing_job_that_ran_into_its_limit_is_not_somebodys_doing(service: FakeSageMaker) -> None:
    service.scripts.append(Script(never_starts=True))

    def limit(seconds: float) -> None:
        [job] = service.of_kind(PROCESSING)
        job.started = time.time() - job.request["StoppingCondition"]["MaxRuntimeInSeconds"] - 1
        job.end("Stopped")

    with pytest.raises(JobFailed, match=r"raise RECSYS_TRAINING_MAX_RUNTIME_S \(now 14400\)"):
        jobs_on(service, sleep=limit).run(PLANS[1], IDENTITY, Listener())
