"""Settings: precedence, errors that name the setting, and the round trip through ``recsys.toml``."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from lambda_api.settings import Settings, SettingsError, make_settings, read_settings, write_settings


def test_defaults_live_under_home(tmp_path: Path) -> None:
    settings = read_settings({"RECSYS_HOME": str(tmp_path)})
    assert settings.lake_uri == str(tmp_path / "lake")
    assert settings.models_uri == str(tmp_path / "models")
    assert settings.catalogue_uri == str(tmp_path / "catalogue")
    assert settings.target == "local"
    assert settings.data is None


def test_environment_overrides_the_file_which_overrides_defaults(tmp_path: Path) -> None:
    (tmp_path / "recsys.toml").write_text('seed = 7\nk = 20\nfirst_day = "2011-01-02"\n')
    settings = read_settings({"RECSYS_HOME": str(tmp_path), "RECSYS_K": "5"})
    assert (settings.seed, settings.k, settings.first_day) == (7, 5, date(2011, 1, 2))


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"RECSYS_HOM": "x"}, "did you mean RECSYS_HOME"),
        ({"RECSYS_K": "ten"}, "RECSYS_K"),
        ({"RECSYS_TARGET": "azure"}, "RECSYS_TARGET"),
        ({"RECSYS_TARGET": "aws"}, "RECSYS_LAKE_URI must be an s3:// URI"),
        ({"RECSYS_TARGET": "aws", "RECSYS_LAKE_URI": "s3://b/lake"}, "RECSYS_MODELS_URI must be an s3:// URI"),
        (
            {"RECSYS_TARGET": "aws", "RECSYS_LAKE_URI": "s3://b/lake", "RECSYS_MODELS_URI": "s3://b/models"},
            "RECSYS_CATALOGUE_URI must be an s3:// URI",
        ),
        ({"RECSYS_SOURCE": "movielens"}, "RECSYS_DATA"),
        ({"RECSYS_SOURCE": "synthetic", "RECSYS_DATA": "/tmp/x"}, "contradicts RECSYS_DATA"),
        ({"RECSYS_TEST_START": "2011-11-20"}, "RECSYS_VALIDATION_START and RECSYS_TEST_START go together"),
        (
            {"RECSYS_TEST_START": "2011-11-01", "RECSYS_VALIDATION_START": "2011-11-20"},
            "RECSYS_VALIDATION_START must be before",
        ),
        ({"RECSYS_TEST_SHARE": "0.45", "RECSYS_VALIDATION_SHARE": "0.45"}, "less than a fifth"),
        ({"RECSYS_SEED": "-1"}, "RECSYS_SEED"),
        ({"RECSYS_ALLOW_REPEATS": "perhaps"}, "RECSYS_ALLOW_REPEATS"),
    ],
)
def test_wrong_settings_are_errors_that_name_them(tmp_path: Path, environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named.replace("(", r"\(")):
        read_settings({"RECSYS_HOME": str(tmp_path), **environment})


def test_unknown_key_in_the_file_names_key_and_file(tmp_path: Path) -> None:
    (tmp_path / "recsys.toml").write_text("sed = 7\n")
    with pytest.raises(SettingsError, match=r"recsys\.toml sed; did you mean seed"):
        read_settings({"RECSYS_HOME": str(tmp_path)})


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "recsys.toml").write_text("seed = = 7\n")
    with pytest.raises(SettingsError, match=r"recsys\.toml is not valid TOML"):
        read_settings({"RECSYS_HOME": str(tmp_path)})


def test_written_settings_read_back_equal(tmp_path: Path) -> None:
    settings = make_settings(
        {
            "home": tmp_path,
            "data": str(tmp_path / 'odd "name"'),
            "first_day": "2011-01-02",
            "validation_start": "2011-11-01",
            "test_start": "2011-11-20T00:00:00+02:00",
            "allow_repeats": True,
            "test_share": 0.1,
            "k": 20,
        }
    )
    assert settings.test_start == datetime(2011, 11, 19, 22, tzinfo=UTC)
    write_settings(settings)
    write_settings(settings)
    assert read_settings({"RECSYS_HOME": str(tmp_path)}) == settings


def test_settings_cannot_be_changed_after_reading(tmp_path: Path) -> None:
    settings = read_settings({"RECSYS_HOME": str(tmp_path)})
    with pytest.raises(ValueError, match="frozen"):
        settings.k = 3  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
