"""Lists for everybody, made by jobs: the same as made here, and what goes wrong says what to do."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from lambda_api.serving.question import Question
from lambda_api.settings import Settings
from recsys_assets.sagemaker.client import PipesSageMakerClient
from recsys_assets.sagemaker.errors import JobFailed, JobRefused
from recsys_assets.sagemaker.job import Hardware, JobPlaces, bucket_and_key, create_request
from recsys_assets.sagemaker.kinds import PROCESSING, TRANSFORM
from recsys_assets.sagemaker.processing_job import ProcessingJobPlan
from recsys_deploy.batch import assets as batch_assets
from recsys_deploy.batch import results
from recsys_deploy.batch.answering import Answered, answer_by_transform
from recsys_deploy.batch.run import questions_place, questions_plan
from recsys_deploy.batch.transform_job import TransformJobPlan
from tests.sagemaker.batch_shop import BatchShop, ask, hush, lists_of, subject
from tests.sagemaker.fake_sagemaker import CREDENTIALS, FakeSageMaker, Script, violations
from tests.sagemaker.jobs import BUCKET, PLACEMENT, ROOT, jobs_on, log_of

pytestmark = pytest.mark.slow

TRANSFORM_PLAN = TransformJobPlan(PLACEMENT, "model", f"{ROOT}/questions/parts", f"{ROOT}/answers")
PROCESSING_PLAN = ProcessingJobPlan(PLACEMENT, "some.module", outputs={"questions": f"{ROOT}/questions"})


def on_aws(settings: Settings, s3: Any, **changes: Any) -> Settings:
    """Settings of jobs, which read a copy of the lake from S3; everything else stays here."""
    folder = Path(settings.lake_uri)
    for file in folder.rglob("part-0.parquet"):
        s3.upload_file(str(file), BUCKET, f"lake/{file.relative_to(folder).as_posix()}")
    return settings_of_jobs(settings, **changes)


def settings_of_jobs(settings: Settings, **changes: Any) -> Settings:
    jobs = {
        "lake_uri": f"s3://{BUCKET}/lake", "models_uri": f"s3://{BUCKET}/bundles",
        "training_image": PLACEMENT.image, "inference_image": PLACEMENT.image,
        "training_role_arn": PLACEMENT.role_arn, "training_uri": ROOT, "target": "aws",
    }  # fmt: skip
    return Settings.model_construct(**{**settings.model_dump(), **jobs, **changes})


@pytest.fixture
def arrow_s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": CREDENTIALS["region_name"],
    }.items():
        monkeypatch.setenv(name, value)


def materialise(shop: BatchShop, settings: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    resources = {
        "settings": settings, "lake": shop.lake, "registry": shop.registry, "bundles": shop.bundles,
        "serving": shop.serving,
    }  # fmt: skip
    return dg.materialize(
        [batch_assets.batch_questions, batch_assets.batch_recommendations],
        instance=instance,
        resources=resources,
        raise_on_error=False,
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_lists_made_by_jobs_are_the_lists_made_here(
    shop: BatchShop, service: FakeSageMaker, s3: Any, arrow_s3: None, instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert materialise(shop, shop.settings, instance).success
    here = lists_of(shop)
    monkeypatch.setattr(batch_assets, "open_jobs", lambda: jobs_on(service))
    monkeypatch.setattr(batch_assets, "open_client", lambda s: PipesSageMakerClient(jobs_on(service), JobPlaces(ROOT)))
    result = materialise(shop, on_aws(shop.settings, s3), instance)
    assert result.success, log_of(instance, result)
    assert lists_of(shop).equals(here)
    [processing], [transform] = service.of_kind(PROCESSING), service.of_kind(TRANSFORM)
    assert (processing.status, transform.status) == ("Completed", "Completed")
    made = {
        event.asset_key.to_user_string(): {n: v.value for n, v in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }
    asked, told = made["batch_questions"], made["batch_recommendations"]
    assert asked["processing_job"] == processing.name and asked["processing_seconds"] > 0
    assert told["transform_job"] == transform.name and told["billable_seconds"] > 0
    assert told["shoppers"] == told["records"] == asked["dagster/row_count"] == len(set(here["user_id"].to_pylist()))
    assert told["bad_lines"] == 0
    assert "shoppers in 1 parts" in log_of(instance, result), "the program's own words"
    assert service.models == {}, "the model of a transform is not kept"
    again = materialise(shop, on_aws(shop.settings, s3), instance)
    assert again.success
    assert len(service.of_kind(TRANSFORM)) == 1, "what is answered is not asked again"


def transform(shop: BatchShop, service: FakeSageMaker, s3: Any, **changes: Any) -> Any:
    """Questions to S3, then answers by the service."""
    local = ask(shop, per_part=10_000)
    for file in Path(questions_place(shop.settings)).rglob("*.json*"):
        name = file.relative_to(questions_place(shop.settings)).as_posix()
        s3.upload_file(str(file), BUCKET, f"training/batch/questions/{name}")
    away, jobs = f"{ROOT}/batch", jobs_on(service, **changes)
    return answer_by_transform(
        jobs, settings_of_jobs(shop.settings), away, f"{away}/questions", local, subject(shop), hush
    )


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (Script(fails="ClientError: 404: See job logs"), "the job is set up wrongly"),
        (Script(fails="AlgorithmError: the container did not pass the ping health check"), "its log says more"),
        (Script(fails="ClientError: AccessDenied: s3:GetObject on the archive"), "RECSYS_TRAINING_ROLE_ARN"),
        (Script(ends="Stopped"), "somebody stopped the job; run it again"),
    ],
    ids=["refused", "no ping", "no right", "stopped"],
)
def test_a_transform_that_fails_says_why_and_the_next_run_starts_another(
    shop: BatchShop, service: FakeSageMaker, s3: Any, arrow_s3: None, script: Script, told: str
) -> None:
    service.scripts.append(script)
    with pytest.raises(JobFailed, match=told):
        transform(shop, service, s3)
    service.scripts.append(Script(fails="ClientError: another one"))
    with pytest.raises(JobFailed, match="another one"):
        transform(shop, service, s3)
    assert len(service.of_kind(TRANSFORM)) == 2


@pytest.mark.parametrize("below", [lambda prefix: "", lambda prefix: prefix, lambda prefix: prefix.rpartition("/")[2]])
def test_answers_of_many_requests_are_read_wherever_the_service_puts_them(
    shop: BatchShop, service: FakeSageMaker, s3: Any, arrow_s3: None, monkeypatch: pytest.MonkeyPatch, below: Any
) -> None:
    # So many requests that the service assembles a file from several answers.
    monkeypatch.setattr("tests.sagemaker.fake_instances.MEGABYTE", 200)
    service.answers_below = below
    answered = transform(shop, service, s3)
    bucket, prefix = bucket_and_key(answered.uri)
    [item] = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    content = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
    assert item["Key"].endswith("part-00000.jsonl.out") and b"\n\n" in content, "a newline after every record"
    questions = ask(shop, per_part=10_000)
    tally = results.check_answers(questions_place(shop.settings), questions, answered.uri)
    assert (tally.bad, tally.shoppers) == (0, questions.shoppers)
    assert transform(shop, service, s3) == Answered(answered.uri, 0)


def test_answers_that_were_deleted_are_asked_for_again(
    shop: BatchShop, service: FakeSageMaker, s3: Any, arrow_s3: None
) -> None:
    first = transform(shop, service, s3)
    assert transform(shop, service, s3) == Answered(first.uri, 0)
    bucket, prefix = bucket_and_key(first.uri)
    for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        s3.delete_object(Bucket=bucket, Key=item["Key"])
    again = transform(shop, service, s3)
    assert (again.uri, again.parts_answered) == (first.uri, 1)
    assert len(service.of_kind(TRANSFORM)) == 2
    assert service.models == {}


def test_an_archive_that_was_deleted_fails_the_transform_and_not_the_lists(
    shop: BatchShop, service: FakeSageMaker, s3: Any, arrow_s3: None
) -> None:
    create = service._create

    def forgetful(kind: Any, request: Any) -> Any:
        for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="archives/")["Contents"]:
            s3.delete_object(Bucket=BUCKET, Key=item["Key"])
        return create(kind, request)

    service._create = forgetful  # type: ignore[method-assign]
    with pytest.raises(JobFailed, match=r"Could not find model data at s3://.*run it again, which uploads it"):
        transform(shop, service, s3)
    assert not shop.lake.has_table(results.TABLE)


def test_a_processing_job_that_fails_hands_on_the_programs_reason(
    shop: BatchShop, service: FakeSageMaker, s3: Any, arrow_s3: None
) -> None:
    settings = on_aws(shop.settings, s3, lake_uri=f"s3://{BUCKET}/nothing")
    plan = questions_plan(settings)
    client = PipesSageMakerClient(jobs_on(service), JobPlaces(ROOT))

    @dg.asset
    def small_questions(context: dg.AssetExecutionContext) -> None:
        client.run(context=context, plan=plan, label="questions")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([small_questions], instance=instance, raise_on_error=False)
    data = result.failure_data_for_node("small_questions")
    assert data is not None and data.user_failure_data is not None
    assert "holds no days; materialise the asset 'interactions' first" in str(data.user_failure_data.description)
    assert "the program failed; its log says more" in str(data.user_failure_data.description)


def test_a_processing_job_is_told_the_rules_of_the_shop(shop: BatchShop, s3: Any) -> None:
    rules = {"max_per_category": 100, "max_per_brand": 100, "freshness": 9.87654321, "fresh_days": 3_333.333}
    wanted = {**rules, "new_products": False, "allow_repeats": True}
    settings = on_aws(shop.settings, s3).model_copy(update=wanted)
    arguments = questions_plan(settings).arguments
    told = arguments[arguments.index("--like") + 1]
    assert Question.read_json(told.encode()) == Question.template(settings, settings.k)
    assert all(len(argument) <= 256 for argument in arguments), "AppSpecification.ContainerArguments"


def test_requests_are_ones_that_the_service_model_takes() -> None:
    model = boto3.client("sagemaker", **CREDENTIALS).meta.service_model
    whole = dataclasses.replace(PLACEMENT, subnets=("subnet-1",), security_groups=("sg-1",), kms_key="k")
    for plan in (TRANSFORM_PLAN, PROCESSING_PLAN):
        for placement in (PLACEMENT, whole):
            request = create_request(dataclasses.replace(plan, placement=placement), "name", {"A": "b"}, {"t": "v"})
            shape = model.operation_model(f"Create{plan.kind.operation}").input_shape
            assert set(request) <= set(shape.members)
            assert set(shape.required_members) <= set(request)
            assert list(violations(request, shape)) == []


@pytest.mark.parametrize(
    ("plan", "changes", "told"),
    [
        (TRANSFORM_PLAN, {"input_uri": "here"}, "input: 'here' is not an s3://"),
        (TRANSFORM_PLAN, {"instance_type": "m5"}, "RECSYS_INFERENCE_INSTANCE_TYPE"),
        (TRANSFORM_PLAN, {"output_uri": f"{ROOT}/questions/parts/out"}, "output lies below input"),
        (PROCESSING_PLAN, {"outputs": {}}, "no outputs"),
        (PROCESSING_PLAN, {"inputs": {f"i{n}": ROOT for n in range(11)}}, "11 inputs"),
        (PROCESSING_PLAN, {"arguments": ("a",) * 101}, "101 arguments"),
        (PROCESSING_PLAN, {"hardware": Hardware(max_runtime_s=10 * 86_400)}, "9 days"),
        (PROCESSING_PLAN, {"tags": {"aws:x": "y"}}, "not AWS's own"),
    ],
)
def test_what_sagemaker_would_refuse_is_refused_here(plan: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(JobRefused, match=told):
        create_request(dataclasses.replace(plan, **changes), "name")


def test_a_context_that_is_too_long_for_a_processing_job_is_refused() -> None:
    with pytest.raises(JobRefused, match="a processing job takes 256"):
        create_request(PROCESSING_PLAN, "name", {"LONG": "x" * 257})
