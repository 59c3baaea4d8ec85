"""What a person may choose that needs no AWS to be named.

Put choices here that the command line offers. Keep what follows from them out.
"""

from enum import StrEnum


class Promotion(StrEnum):
    """Whether a model that was brought becomes champion in the environment."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"
