"""`recsys tune` on SageMaker: one space, the same figures as here, every trial recorded as Optuna's are."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lambda_api.settings import Settings, make_settings
from recsys_assets.models.parameters import NothingToLearn
from recsys_assets.models.zoo import make_trainer
from recsys_assets.sagemaker import container
from recsys_assets.sagemaker.errors import JobFailed, JobRefused
from recsys_assets.sagemaker.job import create_request
from recsys_assets.sagemaker.kinds import TUNING
from recsys_assets.sagemaker.paths import FAILED
from recsys_assets.splits.assets import temporal_splits
from recsys_assets.training.search_spaces import SEARCH_SPACES, OneOf, Real, Whole
from recsys_assets.training.stored_parameters import tuned_parameters
from recsys_assets.tuning import managed_search
from recsys_assets.tuning import trial as trial_program
from recsys_assets.tuning.trial import OBJECTIVE, TrialQuestion, metrics, read_trial, trial_hyperparameters
from recsys_assets.tuning.tuning_job import TuningJobPlan, chosen_values, parameter_ranges
from recsys_deploy.tune.command import TuneOutcome, run_in_terminal
from recsys_deploy.tune.options import Place, TuneError, TuneOptions, choose_place
from tests.sagemaker.fake_sagemaker import CREDENTIALS, FakeSageMaker, Script, violations
from tests.sagemaker.jobs import PLACEMENT, ROOT, jobs_on
from tests.test_tune_command import DAYS, Shop, deliver
from tests.training.shop import AS_OF

pytestmark = pytest.mark.slow

PLAN = TuningJobPlan(
    placement=PLACEMENT,
    fixed={"model": "item_knn"},
    space=SEARCH_SPACES["item_knn"],
    channels={"interactions": f"{ROOT}/in"},
    output_uri=f"{ROOT}/out",
    metrics=metrics(3),
    trials=4,
)


@pytest.fixture(scope="module")
def lake_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with a split."""
    home = tmp_path_factory.mktemp("shop") / "home"
    shop = Shop(make_settings({"home": home, "first_day": "2010-12-01"}))
    deliver(shop.lake, range(DAYS))
    shop.materialise(temporal_splits)
    return home


@pytest.fixture
def tuned(
    lake_folder: Path, tmp_path: Path, service: FakeSageMaker, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[TuneOutcome, Shop, str]]:
    """Runs `recsys tune`, here or on the service, with a registry of its own."""

    def tune(place: Place, **changes: Any) -> tuple[TuneOutcome, Shop, str]:
        settings = Settings.model_construct(
            **{
                **make_settings({"home": tmp_path / place.value}).model_dump(),
                "lake_uri": str(lake_folder / "lake"),
                "training_image": PLACEMENT.image,
                "training_role_arn": PLACEMENT.role_arn,
                "training_uri": ROOT,
            }
        )
        monkeypatch.setattr("recsys_assets.sagemaker.client.open_jobs", lambda: jobs_on(service))
        shop = Shop(settings)
        options = TuneOptions(
            **{"models": ("item_knn",), "trials": 4, "minutes": 10, "seed": 0, **changes}, place=place
        )
        said = io.StringIO()
        console = Console(file=said, width=300)
        outcome = run_in_terminal(options, ("popularity", "item_knn"), settings, shop.lake, shop.registry, console)
        return outcome, shop, said.getvalue()

    return tune


def test_trials_on_sagemaker_are_recorded_as_trials_here_are(
    tuned: Callable[..., tuple[TuneOutcome, Shop, str]], service: FakeSageMaker, s3: Any
) -> None:
    away, shop, said = tuned(Place.SAGEMAKER)
    here, laptop, _ = tuned(Place.HERE, trials=1)
    assert away.tuning.left_out == {}
    result = away.tuning.found["item_knn"]
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3]
    first, by_hand = result.trials[0], here.tuning.found["item_knn"].trials[0]
    assert first.parameters == by_hand.parameters
    assert first.fold_scores == by_hand.fold_scores
    assert len(service.of_kind(TUNING)) == 1
    for trial in result.trials:
        assert make_trainer("item_knn", trial.parameters).parameters() == trial.parameters
    assert result.best.score == max(trial.score for trial in result.trials) >= first.score
    runs, mine = shop.registry.list_runs(), laptop.registry.list_runs()
    assert len(runs) == 4
    [theirs] = [run for run in runs if run.id == mine[0].id]
    assert dataclasses.replace(theirs, started_at=mine[0].started_at, duration_s=mine[0].duration_s) == mine[0]
    found = tuned_parameters(shop.registry, "item_knn", away.end, allow_repeats=False)
    assert found is not None and found.score == result.best.score
    assert "started tuning job" in said


def test_asked_again_it_finds_the_jobs_done_and_a_failed_one_is_begun_anew(
    tuned: Callable[..., tuple[TuneOutcome, Shop, str]], service: FakeSageMaker, s3: Any
) -> None:
    service.scripts.extend([Script(), Script(fails="ClientError: No S3 objects found")])
    with pytest.raises(JobFailed, match="repeating it changes nothing"):
        tuned(Place.SAGEMAKER, trials=2)
    first, _, _ = tuned(Place.SAGEMAKER, trials=2)
    jobs = set(service.jobs)
    again, shop, said = tuned(Place.SAGEMAKER, trials=2, minutes=99)
    assert set(service.jobs) == jobs
    assert again.tuning.found["item_knn"].trials == first.tuning.found["item_knn"].trials
    assert len(shop.registry.list_runs()) == 2
    assert "exists already (Completed)" in said
    other, _, _ = tuned(Place.SAGEMAKER, trials=2, seed=1)
    assert other.tuning.found["item_knn"].trials[1] != first.tuning.found["item_knn"].trials[1]


def test_a_model_that_refuses_the_data_is_left_out_and_the_others_go_on(
    tuned: Callable[..., tuple[TuneOutcome, Shop, str]], service: FakeSageMaker, s3: Any
) -> None:
    refusal = "AlgorithmError: ValueError: nothing was ever bought\n\nTraceback, exit code: 1"
    service.scripts.append(Script(fails=refusal))
    outcome, _, _ = tuned(Place.SAGEMAKER, trials=1, models=("item_knn", "popularity"))
    assert outcome.tuning.left_out == {"item_knn": "nothing was ever bought"}
    assert list(outcome.tuning.found) == ["popularity"]


def test_trials_that_fail_or_are_stopped_early_are_kept_as_such(
    tuned: Callable[..., tuple[TuneOutcome, Shop, str]], service: FakeSageMaker, s3: Any
) -> None:
    early = Script(stops_early=lambda log: OBJECTIVE in log)
    service.scripts.extend(
        [Script(), Script(), early, Script(fails="AlgorithmError: ValueError: l2 too small, exit code: 1"), Script()]
    )
    outcome, shop, _ = tuned(Place.SAGEMAKER)
    states = [trial.state.value for trial in outcome.tuning.found["item_knn"].trials]
    assert states[0] == states[3] == "finished"
    assert states[2] == "failed"
    # A trial that was quick enough to end before it was stopped is finished.
    assert states[1] in ("pruned", "finished")
    assert "l2 too small" in outcome.tuning.found["item_knn"].trials[2].problem
    assert len(shop.registry.list_runs()) == 4


@pytest.mark.parametrize("model", sorted(SEARCH_SPACES))
def test_every_space_is_one_that_the_service_model_takes(model: str) -> None:
    plan = dataclasses.replace(PLAN, space=SEARCH_SPACES[model], placement=dataclasses.replace(
        PLACEMENT, subnets=("subnet-1",), security_groups=("sg-1",), kms_key="k"))  # fmt: skip
    shape = boto3.client("sagemaker", **CREDENTIALS).meta.service_model.operation_model(
        "CreateHyperParameterTuningJob"
    ).input_shape  # fmt: skip
    request = create_request(plan, "tune-1", {"A": "b"})
    assert list(violations(request, shape)) == []
    assert request["TrainingJobDefinition"]["Environment"] == {"SAGEMAKER_PROGRAM": "trial", "A": "b"}


@given(st.floats(0.1, 50.0), st.integers(7, 63), st.sampled_from([0, 1, 2]))
def test_what_a_trial_was_given_is_read_back(real: float, whole: int, choice: int) -> None:
    space = {"a": Real(0.1, 50.0, log=True), "b": Whole(7, 63), "c": OneOf(({"x": 1.0}, "days", None))}
    ranges = parameter_ranges(space)
    tuned = {"a": repr(real), "b": str(whole), "c": ranges["CategoricalParameterRanges"][0]["Values"][choice]}
    assert chosen_values(space, {**tuned, "_tuning_objective_metric": "x"}) == {
        "a": real, "b": whole, "c": ({"x": 1.0}, "days", None)[choice],
    }  # fmt: skip


@pytest.mark.parametrize("tuned", [{}, {"a": "51"}, {"a": "many"}])
def test_a_value_outside_the_space_is_no_trial(tuned: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="outside of Real"):
        chosen_values({"a": Real(0.1, 50.0)}, tuned)


def test_a_trial_reads_what_it_is_given() -> None:
    question = TrialQuestion(AS_OF, folds=3, k=20, allow_repeats=True)
    trainer, read = read_trial(trial_hyperparameters("item_knn", {"b": 0.25}, question, "abc"))
    assert (trainer.parameters()["b"], read) == (0.25, question)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"space": {}}, "0 parameters to vary"),
        ({"trials": 0}, "1 of 0 trials at a time"),
        ({"parallel": 5}, "5 of 4 trials at a time"),
        ({"seconds": 60}, "a tuning job takes 120"),
        ({"metrics": {}}, "no metric validation_ndcg"),
        ({"space": {"a": OneOf(tuple(range(31)))}}, "31 choices"),
        ({"channels": {}}, "no input channels"),
    ],
)
def test_what_sagemaker_would_refuse_of_a_tuning_is_refused_here(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(JobRefused, match=told):
        create_request(dataclasses.replace(PLAN, **changes), "tune-1")


def test_where_trials_run_is_a_choice_of_settings(tmp_path: Path) -> None:
    here = make_settings({"home": tmp_path})
    away = Settings.model_construct(**{**here.model_dump(), "target": "aws", "training_image": "image"})
    assert (choose_place(None, here), choose_place(None, away)) == (Place.HERE, Place.SAGEMAKER)
    assert choose_place(Place.HERE, away) is Place.HERE
    with pytest.raises(TuneError, match="RECSYS_TRAINING_IMAGE"):
        choose_place(Place.SAGEMAKER, here)


def test_a_container_refuses_a_program_it_does_not_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "serve")
    assert container.main() == 2
    assert "expected one of train, trial" in capsys.readouterr().err


def test_a_refusal_of_any_class_is_recognised_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(paths: Any) -> None:
        raise NothingToLearn("popularity has nothing to learn from")

    monkeypatch.setattr(trial_program, "run_trial", refuse)
    assert trial_program.main(["train", "--root", str(tmp_path)]) == FAILED
    reason = f"AlgorithmError: {(tmp_path / 'output' / 'failure').read_text()}, exit code: 1"
    found = managed_search._REFUSAL.search(reason)
    assert found is not None and found[1] == "popularity has nothing to learn from"
