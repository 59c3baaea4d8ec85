"""A progress bar for every model that is tuned."""

from collections.abc import Callable
from typing import Protocol

from recsys_assets.tuning.search import OnTrial, Trial, TrialState


class Display(Protocol):
    """Where progress is shown. Every method may be called often."""

    def step(self, description: str, total: int) -> "Callable[[int, str], None]":
        """Begin a step of ``total`` parts; call the answer with how many are done and a word on the newest."""

    def note(self, text: str) -> None:
        """Say something that stays."""


class TuningProgress:
    """A bar for every model in turn; a model that is out of time fills its bar when the next one begins.

    Args:
        record: hears of every trial as well.
    """

    def __init__(self, display: Display, record: OnTrial | None = None) -> None:
        self._display = display
        self._record = record
        self._end: Callable[[], None] | None = None

    def next_model(self, name: str, most: int) -> OnTrial:
        """Begin the bar of ``name``, which gets at most ``most`` trials; returns who hears of them."""
        self.end()
        advance = self._display.step(f"{'tuning' if most > 1 else 'trying'} {name}", most)
        best = float("-inf")

        def on_trial(trial: Trial, most: int) -> None:
            nonlocal best
            if self._record is not None:
                self._record(trial, most)
            if trial.state is TrialState.FINISHED:
                best = max(best, trial.score)
            advance(trial.number + 1, f"best {best:.4f}")

        self._end = lambda: advance(most, "" if best < 0 else f"best {best:.4f}")
        return on_trial

    def end(self) -> None:
        """Fill the last bar."""
        if self._end is not None:
            self._end()
