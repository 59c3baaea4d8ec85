"""Choices of the command line, importable without boto3."""

from enum import StrEnum


class Promotion(StrEnum):
    """Whether an uploaded model becomes champion in the environment."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"
