"""Keeps the loaded folder of each variant in service: the last good one stays while a newer one loads or fails."""

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
class FolderRef:
    """Address and checksum of a folder; ``version`` is its name for people."""

    uri: str
    checksum: str
    version: str


@dataclass(frozen=True, slots=True)
class LoadedFolder:
    """A loaded folder in service.

    Attributes:
        value: what the reader returned.
        ref: which folder it is.
        since: start of its service for the variant, seconds since 1970 UTC.
        note: ``None``, or why this is not the folder asked for: ``refused``, ``missing``, ``error`` or ``loading``.
    """

    value: Any
    ref: FolderRef
    since: int
    note: str | None = None


@dataclass(slots=True)
class _Failure:
    error: FolderUnavailable
    retry_at: float


class FolderHost:
    """Loaded folders by checksum, and for every variant the last good one.

    The first folder of a variant is loaded in the caller's thread; later ones in the background, while the previous one
    stays in service. A folder that cannot be used is tried again after ``retry_s``. At most ``keep`` folders are held,
    besides those in service.

    Args:
        noun: the kind of folder in log lines.
        load: fetches, verifies and reads; raises `FolderUnavailable`.
        keep: folders held at once.
        retry_s: pause after a failed attempt.
        clock: monotonic seconds.
        wall: seconds since 1970 UTC.
    """

    def __init__(
        self,
        noun: str,
        load: Callable[[FolderRef], Any],
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
        self._variants: dict[str, LoadedFolder] = {}
        self._failures: dict[str, _Failure] = {}
        self._loading: dict[str, threading.Event] = {}

    def get(self, ref: FolderRef, variant: str) -> LoadedFolder:
        """The folder ``ref``, or the last good one of this variant.

        Raises:
            FolderUnavailable: ``ref`` cannot be used, and the variant has had no good folder before.
        """
        held = self._variants.get(variant)
        if held is not None and held.ref.checksum == ref.checksum:
            return held
        with self._lock:
            if ref.checksum in self._values:
                return self._serve(ref, variant)
            failure = self._failures.get(ref.checksum)
            due = failure is None or self._clock() >= failure.retry_at
            owner = due and self._begin(ref)
        if held is None:
            return self._load_now(ref, variant, owner, failure)
        if owner:
            threading.Thread(target=self._load_quietly, args=(ref,), name=f"load-{self._noun}", daemon=True).start()
        return LoadedFolder(
            held.value, held.ref, held.since, "loading" if due or failure is None else failure.error.cause
        )

    def states(self) -> dict[str, LoadedFolder]:
        """The folder in service for each variant."""
        return dict(self._variants)

    def _begin(self, ref: FolderRef) -> bool:
        if ref.checksum in self._loading:
            return False
        self._loading[ref.checksum] = threading.Event()
        return True

    def _load_now(self, ref: FolderRef, variant: str, owner: bool, failure: _Failure | None) -> LoadedFolder:
        if owner:
            self._run_load(ref)
        else:
            waiting = self._loading.get(ref.checksum)
            if waiting is not None:
                waiting.wait()
        with self._lock:
            if ref.checksum in self._values:
                return self._serve(ref, variant)
            failure = self._failures.get(ref.checksum, failure)
        if failure is None:
            raise FolderUnavailable("error", f"{self._noun} {ref.version} was not loaded; it will be tried again")
        raise FolderUnavailable(failure.error.cause, failure.error.detail)

    def _load_quietly(self, ref: FolderRef) -> None:
        try:
            self._run_load(ref)
        except Exception:
            log.exception("loading %s %s failed unexpectedly", self._noun, ref.version)

    def _run_load(self, ref: FolderRef) -> None:
        """Load, record the outcome and wake the waiting threads."""
        try:
            value = self._load(ref)
        except FolderUnavailable as error:
            log.warning("%s %s is not used (%s): %s", self._noun, ref.version, error.cause, error.detail)
            self._remember(ref, error)
        except Exception as error:
            self._remember(ref, FolderUnavailable("error", f"{type(error).__name__}: {error}"))
            raise
        else:
            with self._lock:
                self._values[ref.checksum] = value
                self._failures.pop(ref.checksum, None)
                self._forget()
        finally:
            with self._lock:
                self._loading.pop(ref.checksum).set()

    def _remember(self, ref: FolderRef, error: FolderUnavailable) -> None:
        with self._lock:
            self._failures[ref.checksum] = _Failure(error, self._clock() + self._retry_s)
            while len(self._failures) > 4 * self._keep:
                self._failures.pop(next(iter(self._failures)))

    def _serve(self, ref: FolderRef, variant: str) -> LoadedFolder:
        self._values.move_to_end(ref.checksum)
        held = LoadedFolder(self._values[ref.checksum], ref, int(self._wall()))
        self._variants[variant] = held
        while len(self._variants) > 4 * self._keep:
            self._variants.pop(next(iter(self._variants)))
        self._forget()
        return held

    def _forget(self) -> None:
        serving = {held.ref.checksum for held in self._variants.values()}
        for checksum in list(self._values)[:-1]:
            if len(self._values) <= self._keep:
                break
            if checksum not in serving:
                del self._values[checksum]
