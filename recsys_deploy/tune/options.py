"""What a tuning is asked to do, and the error for what it cannot do.

Put options and their checks here. Keep heavy imports out: the command line reads this module at every start.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class TuneError(Exception):
    """The shop cannot be tuned as asked. The message names the option or the data, the rule and the remedy."""


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """A tuning, as asked for.

    Attributes:
        models: names of models the graph trains; ``None`` for all that suit the size of the log.
        trials: per model, the defaults among them.
        minutes: for all models together; each model's defaults are judged in any case.
        seed: of the search.
    """

    models: tuple[str, ...] | None
    trials: int
    minutes: float
    seed: int


def parse_models(text: str | None, known: Sequence[str]) -> tuple[str, ...] | None:
    """Names separated by commas, each once, in the order of ``known``; ``None`` for no choice.

    Raises:
        TuneError: a name is not among ``known``, or there is none.
    """
    if text is None:
        return None
    named = {name.strip() for name in text.split(",")} - {""}
    unknown = sorted(named - set(known))
    if unknown or not named:
        wrong = f"the graph trains no {', '.join(unknown)}" if unknown else "no model is named"
        raise TuneError(f"--models {text!r}: {wrong}; choose from {', '.join(known)}")
    return tuple(name for name in known if name in named)
