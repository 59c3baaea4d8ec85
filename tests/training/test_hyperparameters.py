"""Strings become a typed, checked job, and everything that is wrong is named."""

from datetime import UTC, datetime

import pytest

from recsys_assets.models.ncf import Ncf
from recsys_assets.models.zoo import TRAINERS, make_trainer
from recsys_assets.sagemaker.paths import JobError
from recsys_assets.training.hyperparameters import as_text, read_job

JOB = {"model": "ncf", "as_of": "2024-03-01T00:00:00+00:00"}


def test_strings_take_the_types_of_the_trainers_fields() -> None:
    texts = {
        "mlp_layers": "[64, 32]",
        "learning_rate": "1e-3",
        "epochs": "7",
        "sampling": "popularity",
        "popularity_half_life_days": "null",
        "type_weights": '{"purchase": 1}',
    }
    job = read_job({**JOB, **texts})
    assert job.trainer == Ncf(
        mlp_layers=(64, 32),
        learning_rate=0.001,
        epochs=7,
        sampling="popularity",
        popularity_half_life_days=None,
        type_weights={"purchase": 1.0},
    )
    assert job.as_of == datetime(2024, 3, 1, tzinfo=UTC)
    assert job.git_revision is None


def test_as_of_is_converted_to_utc() -> None:
    job = read_job({**JOB, "as_of": "2024-03-01T02:00:00+02:00", "git_revision": "abc"})
    assert job.as_of == datetime(2024, 3, 1, tzinfo=UTC)
    assert job.as_of.utcoffset() == datetime.now(UTC).utcoffset()
    assert job.git_revision == "abc"


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_survives_the_way_through_text(name: str) -> None:
    trainer = make_trainer(name)
    texts = {key: as_text(value) for key, value in trainer.parameters().items()}
    assert read_job({**JOB, "model": name, **texts}).trainer == trainer


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"epoch": "3"}, r"unknown hyper-parameter epoch: .*model ncf has .*epochs"),
        ({"epochs": "three"}, "hyper-parameter epochs is 'three'"),
        ({"epochs": "2.5"}, "hyper-parameter epochs is '2.5'"),
        ({"epochs": "0"}, "hyper-parameters of ncf: epochs must be"),
        ({"mlp_layers": "64,32"}, "mlp_layers is '64,32'.*as JSON"),
        ({"sampling": "hard"}, "sampling is 'hard'.*'uniform' or 'popularity'"),
        ({"type_weights": '{"wish": 1}'}, "unknown interaction type 'wish'"),
        ({"model": "deep"}, "model is 'deep'; expected one of: popularity"),
        ({"as_of": "yesterday"}, "as_of is 'yesterday'"),
        ({"as_of": "2024-03-01T00:00:00"}, "without a time zone"),
    ],
)
def test_wrong_values_are_named(texts: dict[str, str], message: str) -> None:
    with pytest.raises(JobError, match=message):
        read_job({**JOB, **texts})


@pytest.mark.parametrize("name", JOB)
def test_missing_job_settings_are_named(name: str) -> None:
    with pytest.raises(JobError, match=f"{name} is missing"):
        read_job({key: value for key, value in JOB.items() if key != name})


def test_what_the_platform_adds_is_not_ours() -> None:
    added = {"sagemaker_program": "train.py", "sagemaker_region": "eu-west-1", "_tuning_objective_metric": "loss"}
    assert read_job({**JOB, **added}).trainer == Ncf()
