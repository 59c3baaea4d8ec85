"""Requests to stop: signals, and the end of the parent process."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from recsys_assets.models.resumable import TrainingInterrupted

_SECONDS_BETWEEN_LOOKS = 0.5


class StopRequest:
    """Whether this process has been asked to stop.

    The first signal sets the flag. Inside `at_checkpoints` nothing else happens, because the trainer looks at the flag
    between two batches and saves its state; outside, `TrainingInterrupted` is raised on the spot. Further signals
    change nothing: Ctrl-C reaches a child twice, from the terminal and from Dagster.
    """

    def __init__(self) -> None:
        self._requested = False
        self._deferred = False

    def __call__(self) -> bool:
        return self._requested

    @contextmanager
    def at_checkpoints(self) -> Iterator[None]:
        """Leave stopping to the code inside, which asks this object often; stop at the end if it did not.

        Raises:
            TrainingInterrupted: on entry or on leaving, when stopping has been requested.
        """
        self._raise_if_requested()
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self._raise_if_requested()

    def listen(self) -> None:
        """Take over SIGTERM (SageMaker, Docker, systemd) and SIGINT (Dagster's Pipes client, Ctrl-C)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def follow_parent(self) -> None:
        """Request a stop when the parent process ends, even when it was killed and could send no signal."""
        parent = os.getppid()

        def watch() -> None:
            while os.getppid() == parent:
                pause.wait(_SECONDS_BETWEEN_LOOKS)
            os.kill(os.getpid(), signal.SIGTERM)

        pause = threading.Event()
        threading.Thread(target=watch, name="follow-parent", daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            return
        self._requested = True
        if not self._deferred:
            self._raise_if_requested()

    def _raise_if_requested(self) -> None:
        if self._requested:
            raise TrainingInterrupted("told to stop")
