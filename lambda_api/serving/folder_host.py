"""Which loaded folder answers for which variant: swapped without making anybody wait, and kept when the next is bad.

Put holding, swapping and forgetting here, for any kind of folder. Keep fetching (``folder_fetch``) and what is loaded
(``bundle_host``) out.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lambda_api.serving.folder_fetch import FolderUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A folder by content: ``version`` is what people call it."""

    uri: str
    checksum: str
    version: str


@dataclass(frozen=True, slots=True)
class Held:
    """A loaded folder in service.

    Attributes:
        value: what its reader made of it.
        wanted: which one it is; not the one asked for where ``note`` says why.
        since: when it began to answer for its slot, seconds since 1970 UTC.
        note: ``None``, or what keeps the one asked for away: ``refused``, ``missing``, ``error``; ``loading`` while it
            is on its way.
    """

    value: Any
    wanted: Wanted
    since: int
    note: str | None = None


@dataclass(slots=True)
class _Failure:
    error: FolderUnavailable
    retry_at: float


class FolderHost:
    """Loaded folders by checksum, and for every slot (a variant's name) the last one that was good.

    The first folder of a slot is loaded in the caller's thread; a later one in the background, while the one before
    keeps answering. A folder that cannot be used is not tried again before ``retry_s`` have passed. At most ``keep``
    are held, besides those that answer for a slot.

    Args:
        noun: for log lines.
        load: fetches, verifies and reads; raises `FolderUnavailable`.
        keep: folders held at once.
        retry_s: pause after a failed attempt.
        clock: monotonic seconds.
        wall: seconds since 1970 UTC.
    """

    def __init__(
        self,
        noun: str,
        load: Callable[[Wanted], Any],
        *,
        keep: int = 4,
        retry_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._noun = noun
        self._load = load
        self._keep = keep
        self._retry_s = retry_s
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._values: OrderedDict[str, Any] = OrderedDict()
        self._slots: dict[str, Held] = {}
        self._failures: dict[str, _Failure] = {}
        self._loading: dict[str, threading.Event] = {}

    def get(self, wanted: Wanted, slot: str) -> Held:
        """What answers for ``slot``: the folder wanted, or the last good one of this slot.

        Raises:
            FolderUnavailable: the one wanted cannot be used, and the slot has had none before.
        """
        held = self._slots.get(slot)
        if held is not None and held.wanted.checksum == wanted.checksum:
            return held
        with self._lock:
            if wanted.checksum in self._values:
                return self._serve(wanted, slot)
            failure = self._failures.get(wanted.checksum)
            due = failure is None or self._clock() >= failure.retry_at
            owner = due and self._begin(wanted)
        if held is None:
            return self._load_now(wanted, slot, owner, failure)
        if owner:
            threading.Thread(target=self._load_quietly, args=(wanted,), name=f"load-{self._noun}", daemon=True).start()
        return Held(held.value, held.wanted, held.since, "loading" if due or failure is None else failure.error.cause)

    def states(self) -> dict[str, Held]:
        """What answers for each slot."""
        return dict(self._slots)

    def _begin(self, wanted: Wanted) -> bool:
        if wanted.checksum in self._loading:
            return False
        self._loading[wanted.checksum] = threading.Event()
        return True

    def _load_now(self, wanted: Wanted, slot: str, owner: bool, failure: _Failure | None) -> Held:
        if owner:
            self._run_load(wanted)
        else:
            waiting = self._loading.get(wanted.checksum)
            if waiting is not None:
                waiting.wait()
        with self._lock:
            if wanted.checksum in self._values:
                return self._serve(wanted, slot)
            failure = self._failures.get(wanted.checksum, failure)
        if failure is None:
            raise FolderUnavailable("error", f"{self._noun} {wanted.version} was not loaded; it will be tried again")
        raise FolderUnavailable(failure.error.cause, failure.error.detail)

    def _load_quietly(self, wanted: Wanted) -> None:
        try:
            self._run_load(wanted)
        except Exception:
            log.exception("loading %s %s failed unexpectedly", self._noun, wanted.version)

    def _run_load(self, wanted: Wanted) -> None:
        """Load; record the outcome; wake whoever waits for it."""
        try:
            value = self._load(wanted)
        except FolderUnavailable as error:
            log.warning("%s %s is not used (%s): %s", self._noun, wanted.version, error.cause, error.detail)
            self._remember(wanted, error)
        except Exception as error:
            self._remember(wanted, FolderUnavailable("error", f"{type(error).__name__}: {error}"))
            raise
        else:
            with self._lock:
                self._values[wanted.checksum] = value
                self._failures.pop(wanted.checksum, None)
                self._forget()
        finally:
            with self._lock:
                self._loading.pop(wanted.checksum).set()

    def _remember(self, wanted: Wanted, error: FolderUnavailable) -> None:
        with self._lock:
            self._failures[wanted.checksum] = _Failure(error, self._clock() + self._retry_s)
            while len(self._failures) > 4 * self._keep:
                self._failures.pop(next(iter(self._failures)))

    def _serve(self, wanted: Wanted, slot: str) -> Held:
        self._values.move_to_end(wanted.checksum)
        held = Held(self._values[wanted.checksum], wanted, int(self._wall()))
        self._slots[slot] = held
        while len(self._slots) > 4 * self._keep:
            self._slots.pop(next(iter(self._slots)))
        self._forget()
        return held

    def _forget(self) -> None:
        serving = {held.wanted.checksum for held in self._slots.values()}
        for checksum in list(self._values)[:-1]:
            if len(self._values) <= self._keep:
                break
            if checksum not in serving:
                del self._values[checksum]
