"""Training jobs end to end: Dagster, the client, a service that runs the real program, S3 between them."""

import io
import json
import os
import signal
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR

from lambda_api.recommender.bundle import BundleError, read_bundle
from recsys_assets.models.zoo import make_trainer
from recsys_assets.training.local_launcher import SubprocessLauncher
from recsys_assets.training.sagemaker_launcher import download_model
from tests.models.test_ncf import shop
from tests.patience import wait_until
from tests.sagemaker.fake_sagemaker import FakeSageMaker, Script
from tests.sagemaker.jobs import (
    BUCKET,
    LONG,
    failure_of,
    launcher_on,
    log_of,
    materialise,
    metadata_of,
)
from tests.training.processes import is_alive
from tests.training.shop import TINY_NCF, fit_of

pytestmark = pytest.mark.slow

MARK = 123.456
"""A loss no training has."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def has_checkpoint(tree: Path) -> bool:
    return bool(list((tree / "checkpoints").glob("checkpoint-*.npz")))


def test_a_job_leaves_what_a_process_here_leaves_and_says_more(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    service.scripts.append(Script(fails="CapacityError: Unable to provision requested ML compute capacity."))
    result = materialise(launcher_on(service, tmp_path / "aws"), fit_of(), instance)
    assert result.success, failure_of(result)
    here = materialise(SubprocessLauncher(tmp_path / "here"), fit_of(), instance)
    bundles = [read_bundle(tmp_path / place / fit_of().label / "model") for place in ("aws", "here")]
    first, second = (bundle.recommender.recommend(shop().histories(), 10) for bundle in bundles)
    assert (first.products == second.products).all()
    assert (first.scores == second.scores).all()
    told = metadata_of(result)
    assert metadata_of(here).keys() <= told.keys()
    _, name = service.jobs
    assert (told["training_job"], told["attempts"]) == (name, 2), "lack of capacity passes"
    assert name in told["training_job_page"]
    assert told["billable_seconds"] == told["training_seconds"] // 2
    assert told["estimated_cost_usd"] == pytest.approx(told["billable_seconds"] / 3600 * 0.23, abs=1e-4)
    log = log_of(instance, result)
    assert "Launching requested ML instances" in log
    assert "training popularity on" in log, "the program's own words"
    request = service.jobs[name].request
    assert {"Key": "dagster/run-id", "Value": result.run_id} in request["Tags"]
    assert all(isinstance(value, str) for value in request["HyperParameters"].values())
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert all(key.startswith(f"training/runs/{result.run_id}/popularity-20240301-0/") for key in keys)


def test_a_spot_job_goes_on_from_its_checkpoint_on_another_instance(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    def mark_history(tree: Path) -> None:
        """Only a training that reads this checkpoint can know of this loss."""
        newest = max((tree / "checkpoints").glob("checkpoint-*.npz"))
        with np.load(newest) as file:
            arrays = dict(file)
        state = json.loads(arrays["state"].tobytes())
        state["history"][0]["final_loss"] = MARK
        arrays["state"] = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
        np.savez(newest, **arrays)

    service.scripts.append(Script(spot_interruption=has_checkpoint, before_restart=mark_history))
    parameters = {"epochs": 12, "patience": 0}
    fit = fit_of("ncf", **parameters)
    result = materialise(launcher_on(service, tmp_path), fit, instance)
    assert result.success, failure_of(result)
    [job] = service.jobs.values()
    assert job.starts == 2
    log = log_of(instance, result)
    assert "spot capacity was reclaimed" in log
    assert log.count("training ncf on") == 2, "both starts are heard"
    curve = metadata_of(result)["loss_curve"]
    assert [row["epoch"] for row in curve] == list(range(1, 13))
    assert curve[0]["final_loss"] == MARK
    whole = make_trainer("ncf", {**TINY_NCF, **parameters}).fit(shop())
    resumed = read_bundle(tmp_path / fit.label / "model").recommender
    expected, actual = (model.recommend(shop().histories(), 10) for model in (whole, resumed))
    assert (actual.products == expected.products).all()
    assert (actual.scores == expected.scores).all()
    left = s3.list_objects_v2(Bucket=BUCKET, Prefix="training/checkpoints/").get("Contents", [])
    assert left == [], "the next training would download them"


def test_interrupting_the_run_stops_the_job_and_keeps_its_checkpoint(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    def interrupt() -> None:
        wait_until(lambda: service.jobs, "the job exists")
        [job] = service.jobs.values()
        wait_until(lambda: job.pids and has_checkpoint(service.root / name_of(service) / "1"), "it trains")
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    result = materialise(launcher_on(service, tmp_path), fit_of("ncf", **LONG), instance)
    assert not result.success
    [job] = service.jobs.values()
    assert (job.status, service.calls.count("StopTrainingJob")) == ("Stopped", 1)
    assert not is_alive(job.pids[0])
    kept = s3.list_objects_v2(Bucket=BUCKET, Prefix="training/checkpoints/ncf-20240301/")["Contents"]
    assert kept, "the next run goes on from it"


def name_of(service: FakeSageMaker) -> str:
    [name] = service.jobs
    return name


def test_a_restarted_orchestrator_follows_the_job_it_finds(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    class Killed(BaseException):
        """The orchestrator's process died: nobody cleans up."""

    looks = 0

    def die_at_the_third_look(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise Killed
        time.sleep(seconds)

    run_id = "0d1f7a1e-6f0e-4c43-9a53-6a8a3c1f5b77"
    assert not materialise(
        launcher_on(service, tmp_path, sleep=die_at_the_third_look), fit_of(), instance, run_id
    ).success
    [job] = service.jobs.values()
    assert job.status != "Stopped"
    with dg.DagsterInstance.ephemeral() as restarted:
        result = materialise(launcher_on(service, tmp_path), fit_of(), restarted, run_id)
        assert result.success, failure_of(result)
        assert "exists already" in log_of(restarted, result)
    assert len(service.jobs) == job.starts == 1
    assert metadata_of(result)["fit_users"] == 80, "what was said before the restart is heard as well"


def test_the_programs_own_failure_is_the_runs_failure_and_not_repeated(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = materialise(
        launcher_on(service, tmp_path), replace(fit_of(), as_of=datetime(1999, 1, 1, tzinfo=UTC)), instance
    )
    reason = failure_of(result)
    assert "AlgorithmError: NothingToLearn: popularity has nothing to learn from" in reason
    assert "the program failed" in reason
    assert len(service.jobs) == 1


def test_a_job_without_rights_on_s3_says_which(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """The container reads its context from a bucket it cannot see."""
    service.scripts.append(Script(environment={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}))
    result = materialise(launcher_on(service, tmp_path), fit_of(), instance)
    assert "AlgorithmError: EndpointConnectionError" in failure_of(result)


def test_a_job_that_reports_nothing_is_no_success(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    service.scripts.append(Script(environment={DAGSTER_PIPES_CONTEXT_ENV_VAR: ""}))
    result = materialise(launcher_on(service, tmp_path), fit_of(), instance)
    assert "ended well but reported nothing; allow its execution role s3:GetObject" in failure_of(result)


def archive_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"no archive", archive_of(some=b"thing")[:-20], archive_of(some=b"thing"), archive_of(**{"../outside": b"x"})],
    ids=["no archive", "cut short", "no bundle", "escaping"],
)
def test_a_damaged_artefact_leaves_the_model_that_was_there(s3: Any, tmp_path: Path, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key="damaged/model.tar.gz", Body=content)
    folder = tmp_path / "fit" / "model"
    folder.mkdir(parents=True)
    (folder / "old").write_text("kept")
    with pytest.raises(BundleError):
        download_model(s3, f"s3://{BUCKET}/damaged/model.tar.gz", folder)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        "fit/model/old"
    ]


def test_attempts_are_limited(service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    service.scripts.extend(Script(fails="CapacityError: no capacity") for _ in range(5))
    result = materialise(launcher_on(service, tmp_path), fit_of(), instance)
    assert "failed after 3 attempts: CapacityError: no capacity. no instance of this type was free" in failure_of(
        result
    )
    assert len(service.jobs) == 3
