"""Which models a command tries: those named with ``--models``, or all but the slow ones on a large log."""

from collections.abc import Sequence
from typing import Final

from lambda_api.errors import RecsysError

SLOW_MODELS: Final = ("ncf", "two_tower")
SMALL_LOG_EVENTS: Final = 20_000
"""Up to so many past events the slow models are tried without being named."""


class UnknownModel(RecsysError):
    """``--models`` names no model, or one that the command cannot try; the message says which there are."""


def parse_models(text: str | None, known: Sequence[str]) -> tuple[str, ...] | None:
    """Names separated by commas, each once, in the order of ``known``; ``None`` for no choice.

    Raises:
        UnknownModel: a name is not among ``known``, or there is none.
    """
    if text is None:
        return None
    named = {name.strip() for name in text.split(",")} - {""}
    unknown = sorted(named - set(known))
    if unknown or not named:
        wrong = f"cannot try {', '.join(unknown)}" if unknown else "no model is named"
        raise UnknownModel(f"--models {text!r}: {wrong}", remedy=f"choose from {', '.join(known)}")
    return tuple(name for name in known if name in named)


def models_to_try(
    named: tuple[str, ...] | None, known: Sequence[str], past_events: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models to try on a log of this size, and those of ``known`` left out for being slow."""
    if named is not None:
        return named, ()
    slow = tuple(name for name in known if name in SLOW_MODELS) if past_events > SMALL_LOG_EVENTS else ()
    return tuple(name for name in known if name not in slow), slow
