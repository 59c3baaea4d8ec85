"""The settings object: read once from the environment and ``recsys.toml``, then passed to all code.

Everything that somebody who runs the project may want to change without touching code is here; constants of one
algorithm are its parameters, and secrets are not settings.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lambda_api.atomic_files import write_text
from lambda_api.errors import RecsysError

PREFIX = "RECSYS_"
FILE_NAME = "recsys.toml"
DEFAULT_FIRST_DAY = date(2020, 1, 1)
"""First daily partition when neither the environment nor ``recsys.toml`` says otherwise."""


class SettingsError(RecsysError, ValueError):
    """A setting is unknown, malformed or contradicts another; the message names it and the remedy."""


class Settings(BaseModel):
    """Everything configurable. Field ``x`` is the variable ``RECSYS_X`` or the key ``x`` of ``recsys.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path(".recsys"), description="Folder that holds everything in the embedded default.")
    target: Literal["local", "aws"] = Field(default="local", description="Where state, models and training live.")
    data: str | None = Field(
        default=None, description="The shop's data: folder, file or s3:// prefix. None: synthetic shop."
    )
    mapping: str | None = Field(default=None, description="A mapping.toml elsewhere than beside the data.")
    source: str = Field(default="auto", description="Kind of source, or auto to recognise it from its layout.")
    lake_uri: str = Field(default="", description="Root of the data lake. Default: <home>/lake.")
    models_uri: str = Field(default="", description="Root of stored bundles. Default: <home>/models.")
    catalogue_uri: str = Field(default="", description="Root of published catalogues. Default: <home>/catalogue.")
    pages_url: str = Field(
        default="", description="Address of the server of the folders reports and data_docs of the home, for Dagster."
    )
    table_prefix: str = Field(default="recsys-", description="Prefix of DynamoDB table names (target aws).")
    first_day: date | None = Field(default=None, description="First daily partition (UTC).")
    validation_start: datetime | None = Field(default=None, description="Start of the validation window (UTC).")
    test_start: datetime | None = Field(default=None, description="Start of the test window (UTC).")
    validation_days: int = Field(default=7, ge=1, le=365, description="Days to validate on.")
    test_days: int = Field(default=7, ge=1, le=365, description="Days to test on: the newest ones.")
    validation_share: float = Field(
        default=0.075, gt=0, lt=0.5, description="Share of interactions to validate on, where the days would hold more."
    )
    test_share: float = Field(
        default=0.075, gt=0, lt=0.5, description="Share of interactions to test on, where the days would hold more."
    )
    allow_repeats: bool = Field(
        default=False, description="Whether products bought before may be recommended, unless a request says otherwise."
    )
    max_per_category: int | None = Field(
        default=None, ge=1, le=100, description="Most products of one category in a list, where others can fill it."
    )
    max_per_brand: int | None = Field(default=None, ge=1, le=100, description="Most products of one brand, likewise.")
    freshness: float = Field(
        default=0.0, ge=0, le=10, description="How much further up new products stand. 1: as far as the whole list."
    )
    fresh_days: float = Field(default=14.0, gt=0, le=3_650, description="Days after which freshness counts half.")
    new_products: bool = Field(
        default=True, description="Whether the last place may go to a product that came after the model."
    )
    models: str = Field(
        default="",
        description="Models to train and compare with popularity and item_knn, separated by commas, such as "
        "ease,hybrid. Empty: all.",
    )
    k: int = Field(default=10, ge=1, le=100, description="Length of lists in evaluation.")
    seed: int = Field(default=0, ge=0, description="Seed of everything random.")
    parameters: Literal["defaults", "tuned"] = Field(
        default="defaults", description="Hyper-parameters that trainings use: defaults, or what `recsys tune` found."
    )
    exploration_share: float = Field(
        default=0.0, ge=0, le=0.5, description="Share of places filled at random, for learning."
    )
    shop_name: str = Field(default="", max_length=60, description="Name on the shop page. Empty: from the data's name.")
    currency: str = Field(
        default="", pattern=r"^([A-Z]{3})?$", description="Currency of prices, ISO 4217. Empty: the data's, or no sign."
    )
    prediction_cache_s: float = Field(
        default=30.0, ge=0, le=3_600, description="Seconds that a list is given again for the same question. 0: off."
    )
    inference_log: bool = Field(default=True, description="Whether every list shown is logged, for evaluation.")
    alerts: str = Field(default="", description="Where alerts go: SNS topic ARN or https:// address. Empty: the log.")
    event_stream: str = Field(default="", description="Kinesis stream of lists and feedback (target aws). Empty: none.")
    event_delivery: str = Field(
        default="", description="Firehose of lists and feedback, where there is no event_stream (target aws)."
    )
    events: Literal["export", "stream", "both"] = Field(
        default="export",
        description="Which log trainings learn from: the shop's export, the event stream of the API, or both joined.",
    )
    rollout: Literal["off", "canary", "blue-green", "shadow", "immediate"] = Field(
        default="off",
        description="How a better model reaches shoppers: off: at once; else by a rollout of that kind, which decides.",
    )
    rollout_verdict: Literal["experiment", "interleaving", "guardrails"] = Field(
        default="experiment",
        description="What decides a canary: half of the shoppers; in small shops interleaved lists, or guardrails.",
    )
    rollout_approval_hours: float = Field(
        default=0.0, ge=0, le=168, description="Hours that a person has to approve a rollout's last step. 0: not asked."
    )
    rollout_machine_arn: str = Field(
        default="", description="State machine of rollouts (target aws). Empty: a rollout runs where it is started."
    )
    training_machine_arn: str = Field(
        default="", description="State machine of trainings (target aws), which `recsys run --daily` starts."
    )
    topic_arn: str = Field(default="", description="SNS topic of notices to people (target aws). Empty: none.")
    shadow_queue_url: str = Field(default="", description="SQS queue of the shadow model (target aws). Empty: none.")
    training_image: str = Field(
        default="", description="ECR image of SageMaker training jobs (target aws). Empty: trained where the step runs."
    )
    training_role_arn: str = Field(default="", description="Execution role of SageMaker training jobs.")
    training_instance_type: str = Field(default="ml.m5.xlarge", description="Instance type of training jobs.")
    training_uri: str = Field(default="", description="S3 prefix of training jobs' files, in the region of the jobs.")
    training_spot: bool = Field(default=True, description="Whether training jobs run on spot capacity.")
    training_volume_gb: int = Field(default=30, ge=1, le=16_384, description="Disk of a job.")
    training_max_runtime_s: int = Field(default=14_400, ge=60, le=2_419_200, description="Longest run of a job.")
    training_max_wait_s: int = Field(
        default=28_800, ge=60, le=2_419_200, description="Longest run of a spot job and its waiting, together."
    )
    training_subnets: str = Field(default="", description="Subnets of jobs, separated by commas. Empty: no VPC.")
    training_security_groups: str = Field(default="", description="Security groups of jobs in a VPC, likewise.")
    training_kms_key: str = Field(default="", description="KMS key of jobs' volumes and output. Empty: AWS's own.")
    training_tags: str = Field(default="", description="Tags of jobs and endpoints: name=value, separated by commas.")
    inference_image: str = Field(
        default="", description="ECR image of endpoints and batch transforms. Empty: batches run where the step runs."
    )
    inference_instance_type: str = Field(default="ml.m5.large", description="Instance type of batch transforms.")
    endpoint_prefix: str = Field(default="recsys", description="First part of endpoints' names: recsys-<environment>.")
    features_glue_job: str = Field(
        default="", description="Glue job of feature tables (target aws). Empty: computed where the step runs."
    )

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("validation_start", "test_start")
    @classmethod
    def _utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        values = dict(values)
        home = Path(values.get("home") or ".recsys").expanduser().resolve()
        local = values.get("target", "local") != "aws"
        for name, folder in (("lake_uri", "lake"), ("models_uri", "models"), ("catalogue_uri", "catalogue")):
            if not values.get(name):
                values[name] = str(home / folder) if local else ""
        data = values.get("data")
        if data and "://" not in str(data):
            values["data"] = str(Path(str(data)).expanduser().resolve())
        elif not data:
            values["data"] = None
        return values

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if problems := list(self._contradictions()):
            raise ValueError("; ".join(problems))
        return self

    def _contradictions(self) -> Iterator[str]:
        """What is wrong between several settings, and the remedy."""
        on_aws, jobs_on_s3 = self.target == "aws", self.training_uri.startswith("s3://")
        for name in ("lake_uri", "models_uri", "catalogue_uri") if on_aws else ():
            if not getattr(self, name).startswith("s3://"):
                yield f"{PREFIX}{name.upper()} must be an s3:// URI when {PREFIX}TARGET is aws"
        if self.training_image and not on_aws:
            yield f"{PREFIX}TRAINING_IMAGE needs {PREFIX}TARGET=aws: jobs read and write S3"
        if self.training_image and not self.training_role_arn:
            yield f"{PREFIX}TRAINING_IMAGE needs {PREFIX}TRAINING_ROLE_ARN: the role jobs run under"
        if self.training_image and not jobs_on_s3:
            yield f"{PREFIX}TRAINING_IMAGE needs {PREFIX}TRAINING_URI: an s3:// prefix for jobs' files"
        if self.inference_image and not (on_aws and self.training_role_arn and jobs_on_s3):
            yield (
                f"{PREFIX}INFERENCE_IMAGE needs {PREFIX}TARGET=aws, {PREFIX}TRAINING_ROLE_ARN (the role containers run "
                f"under) and {PREFIX}TRAINING_URI (an s3:// prefix for their files)"
            )
        if bool(split_list(self.training_subnets)) != bool(split_list(self.training_security_groups)):
            yield f"{PREFIX}TRAINING_SUBNETS and {PREFIX}TRAINING_SECURITY_GROUPS go together: set both or neither"
        if self.training_spot and self.training_max_wait_s < self.training_max_runtime_s:
            yield (
                f"{PREFIX}TRAINING_MAX_WAIT_S ({self.training_max_wait_s}) counts running and waiting, so it must be "
                f"at least {PREFIX}TRAINING_MAX_RUNTIME_S ({self.training_max_runtime_s}); or set "
                f"{PREFIX}TRAINING_SPOT=false"
            )
        for name in ("training_instance_type", "inference_instance_type"):
            if not getattr(self, name).startswith("ml."):
                yield f"{PREFIX}{name.upper()} must start with ml., such as ml.m5.xlarge"
        try:
            parse_tags(self.training_tags)
        except ValueError as error:
            yield f"{PREFIX}TRAINING_TAGS: {error}"
        if (self.validation_start is None) != (self.test_start is None):
            yield f"{PREFIX}VALIDATION_START and {PREFIX}TEST_START go together: set both or neither"
        if self.validation_start and self.test_start and self.validation_start >= self.test_start:
            yield f"{PREFIX}VALIDATION_START must be before {PREFIX}TEST_START"
        if self.validation_share + self.test_share >= 0.8:
            yield f"{PREFIX}VALIDATION_SHARE and {PREFIX}TEST_SHARE leave less than a fifth to train on"
        if self.source == "synthetic" and self.data:
            yield f"{PREFIX}SOURCE=synthetic contradicts {PREFIX}DATA={self.data}: unset one of them"
        if self.source not in ("auto", "synthetic") and not self.data:
            yield f"{PREFIX}SOURCE={self.source} needs {PREFIX}DATA to say where the data is"

    @property
    def partitions_start(self) -> date:
        """First daily partition."""
        return self.first_day or DEFAULT_FIRST_DAY


def split_list(text: str) -> tuple[str, ...]:
    """The parts between commas, stripped; empty ones are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_tags(text: str) -> dict[str, str]:
    """Tags in ``name=value,name=value``. Raises ``ValueError`` naming the malformed part."""
    tags: dict[str, str] = {}
    for part in split_list(text):
        name, equals, value = part.partition("=")
        if not equals or not 0 < len(name) <= 128 or len(value) > 256 or name.lower().startswith("aws:"):
            raise ValueError(
                f"{part[:60]!r} is not name=value (128 and 256 characters at most, not starting with aws:)"
            )
        tags[name] = value
    return tags


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read settings from ``RECSYS_*`` variables, then ``recsys.toml`` in the home folder, then defaults.

    Args:
        environment: variables to read; by default those of this process.

    Raises:
        SettingsError: an unknown or malformed setting, or two that contradict each other.
    """
    variables = os.environ if environment is None else environment
    given = {name[len(PREFIX) :].lower(): value for name, value in variables.items() if name.startswith(PREFIX)}
    _refuse_unknown(given, "environment variable", lambda name: PREFIX + name.upper())
    home = Path(given.get("home") or ".recsys").expanduser().resolve()
    file = home / FILE_NAME
    stored: dict[str, Any] = {}
    if file.is_file():
        try:
            stored = tomllib.loads(file.read_text())
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{file} is not valid TOML: {error}") from error
        _refuse_unknown(stored, f"key in {file}", lambda name: name)
    return make_settings({**stored, **given, "home": home})


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Validate ``values`` (field name -> value). Raises `SettingsError` naming all settings at fault."""
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            name = PREFIX + str(problem["loc"][0]).upper() + ": " if problem["loc"] else ""
            problems.append(name + problem["msg"].removeprefix("Value error, "))
        raise SettingsError("; ".join(problems)) from error


def write_settings(settings: Settings) -> Path:
    """Store the settings that differ from the defaults in ``recsys.toml`` of the home folder; returns the file."""
    derived = ("home", "target", "lake_uri", "models_uri", "catalogue_uri")
    defaults = Settings(**{name: getattr(settings, name) for name in derived}).model_dump(mode="json")
    lines = ["# Written by `recsys`. Environment variables RECSYS_<NAME> override what stands here."]
    for name, value in settings.model_dump(mode="json", exclude={"home"}, exclude_none=True).items():
        if value != defaults[name]:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")  # a subset of TOML
    return write_text(settings.home / FILE_NAME, "\n".join(lines) + "\n")


@lru_cache(maxsize=1)
def current_settings() -> Settings:
    """This process's settings, read on first use. For composition roots only; pass them to other code."""
    return read_settings()


def _refuse_unknown(names: Mapping[str, Any], where: str, spell: Any) -> None:
    for name in names:
        if name not in Settings.model_fields:
            close = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f"; did you mean {spell(close[0])}?" if close else ""
            known = ", ".join(spell(field) for field in Settings.model_fields)
            raise SettingsError(f"unknown {where} {spell(name)}{hint} Known: {known}")
