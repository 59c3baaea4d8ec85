"""API keys: create, list, revoke, verify. A key is shown once; the table ``api_keys`` holds its SHA-256.

A key reads ``rk_<id>_<secret>``: 64 random bits that name the record, and 256 random bits of secret. SHA-256 without
salt or stretching is enough for a random secret, since there is no dictionary to try. For rotation without downtime a
name may have several keys: create the second, hand it out, revoke the first. Which route needs which scope is in
``lambda_api.handlers.authorizer``.
"""

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from lambda_api.errors import RecsysError
from lambda_api.state.addressing import MalformedRecord, check_text
from lambda_api.state.table import Absent, ConditionFailed, Key, Matches, Put, Record, Table

SCOPES = ("shop", "operations")
"""``shop``: the routes of a shop page. ``operations``: those, ``/metrics`` and ``/forget``."""

CACHE_S = 30.0
"""Longest time that a revoked key still works; with an authorizer cache of 30 s in front, one minute in all."""
GRACE_S = 900.0
"""While the table is down, a key read this recently stays valid, so that an outage does not close the shop. It also
bounds how long a revocation during the outage has no effect. Expiry is always honoured."""
RETRY_S = 2.0
MAX_CACHED = 1024

_PARTITION = "keys"
_KEY = re.compile(r"rk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NOBODYS_DIGEST = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
log = logging.getLogger(__name__)


class KeysUnavailable(RecsysError):
    """The table of keys cannot be read, and the key is not cached."""


class _Guard(Protocol):
    def call(self, function: Callable[[Key], Record | None], key: Key, /) -> Record | None: ...


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A stored key without its secret. Times are in seconds since 1970 UTC; a daily quota of ``None`` is no limit."""

    key_id: str
    name: str
    scopes: frozenset[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    requests_per_day: int | None


def new_key() -> str:
    """A random key, unknown to any table."""
    return f"rk_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"


def create(
    table: Table,
    name: str,
    scopes: Collection[str] = ("shop",),
    expires_at: int | None = None,
    *,
    requests_per_day: int | None = None,
    key: str | None = None,
    now: int | None = None,
) -> str:
    """Create a key and return it; it cannot be read again.

    Args:
        name: of its user; several keys may share a name.
        scopes: of `SCOPES`.
        expires_at: seconds since 1970 UTC from which it is refused; ``None``: never.
        requests_per_day: quota of a day (UTC), see ``lambda_api.state.key_usage``; ``None``: no limit.
        key: one of `new_key` without a record yet; by default a new one.
        now: seconds since 1970 UTC; by default the clock's.

    Raises:
        ValueError: an empty name, no or unknown scopes, an expiry that is not in the future, a quota below one.
        TableUnavailable: the table failed; create another key.
    """
    created_at = int(time.time()) if now is None else now
    check_text("name", name)
    if isinstance(scopes, str) or not scopes or not set(scopes) <= set(SCOPES):
        raise ValueError(f"scopes must be some of {', '.join(SCOPES)}; are {scopes!r}")
    if expires_at is not None and expires_at <= created_at:
        raise ValueError("expires_at must lie in the future, in seconds since 1970 UTC")
    if requests_per_day is not None and requests_per_day < 1:
        raise ValueError("requests_per_day must be at least 1")
    match = _KEY.fullmatch(key or new_key())
    if match is None:
        raise ValueError("key is not of the form that new_key makes")
    key_id, secret = match.groups()
    attributes = {
        "name": name,
        "scopes": sorted(set(scopes)),
        "digest": _digest(secret),
        "created_at": created_at,
        "expires_at": expires_at,
        "revoked_at": None,
        "requests_per_day": requests_per_day,
    }
    table.write([Put(Key(_PARTITION, key_id), attributes, condition=Absent())])
    return match.group()


def list_keys(table: Table) -> list[StoredKey]:
    """All keys, revoked and expired ones included, oldest first."""
    stored = [_read(record)[0] for record in table.query(_PARTITION)]
    return sorted(stored, key=lambda key: (key.created_at, key.key_id))


def revoke(table: Table, key_id: str, *, now: int | None = None) -> bool:
    """Revoke a key (caches follow within `CACHE_S`); ``False`` if there is none.

    A key revoked before keeps its first revocation time.
    """
    if not re.fullmatch(r"[0-9a-f]{16}", key_id):
        return False
    while True:
        record = table.get(Key(_PARTITION, key_id))
        if record is None:
            return False
        if record.attributes.get("revoked_at") is not None:
            return True
        revoked = {**record.attributes, "revoked_at": int(time.time()) if now is None else now}
        try:
            table.write([Put(record.key, revoked, condition=Matches(record.attributes))])
        except ConditionFailed:
            continue  # changed meanwhile: read it again
        return True


@dataclass(frozen=True, slots=True)
class _Cached:
    key: StoredKey
    digest: str
    read_at: float


class ApiKeys:
    """Verifies keys; caches records of the table for `CACHE_S`.

    While the table cannot be read, cached keys stay valid for `GRACE_S`, and the table is asked for them at most every
    `RETRY_S`.

    Args:
        table: the table ``api_keys``.
        guard: a `lambda_api.serving.guard.Guard`, or another object with its ``call``; by default none.
        clock: monotonic seconds, for the cache.
    """

    def __init__(
        self, table: Table, *, guard: _Guard | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._guard = guard
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._failed_at: float | None = None

    def connect(self) -> None:
        """Read once without the guard's time limit, which a first connection exceeds. Raises ``TableUnavailable``."""
        self._table.get(Key(_PARTITION, "connect"))

    def verify(self, plain: Any, now: float) -> StoredKey | None:
        """The key that ``plain`` is; ``None`` if it is invalid, or expired or revoked at ``now`` (since 1970 UTC).

        Neither logs nor stores ``plain``. An unknown id takes as long as a wrong secret.

        Raises:
            KeysUnavailable: the key cannot be checked.
        """
        match = _KEY.fullmatch(plain) if isinstance(plain, str) else None
        if match is None:
            return None
        key_id, secret = match.groups()
        found = self._find(key_id)
        equal = hmac.compare_digest(_digest(secret), _NOBODYS_DIGEST if found is None else found.digest)
        if found is None or not equal:
            return None
        key = found.key
        if key.revoked_at is not None or (key.expires_at is not None and now >= key.expires_at):
            return None
        return key

    def _find(self, key_id: str) -> _Cached | None:
        at = self._clock()
        with self._lock:
            known = self._cache.get(key_id)
            failed_at = self._failed_at
        if known is not None and at - known.read_at < CACHE_S:
            return known
        recently_failed = failed_at is not None and at - failed_at < RETRY_S
        if known is None or not recently_failed:
            try:
                return self._remember(key_id, self._read(key_id), at)
            except Exception as error:  # noqa: BLE001 - logged; the cached key decides
                log.warning("API key %s not read: %s: %s", key_id, type(error).__name__, error)
                with self._lock:
                    self._failed_at = self._clock()
        if known is None or self._clock() - known.read_at >= GRACE_S:
            raise KeysUnavailable("API keys cannot be read", remedy="try again when the table api_keys is available")
        return known

    def _read(self, key_id: str) -> Record | None:
        key = Key(_PARTITION, key_id)
        return self._table.get(key) if self._guard is None else self._guard.call(self._table.get, key)

    def _remember(self, key_id: str, record: Record | None, at: float) -> _Cached | None:
        # ``at`` was taken before reading, so that a cached record is never older than it says.
        fresh = None if record is None else _Cached(*_read(record), at)
        with self._lock:
            self._failed_at = None
            self._cache.pop(key_id, None)
            if fresh is not None:  # unknown ids are not cached: a flood of them would evict real ones
                self._cache[key_id] = fresh
                if len(self._cache) > MAX_CACHED:
                    self._cache.popitem(last=False)
        return fresh


def _read(record: Record) -> tuple[StoredKey, str]:
    stored = record.attributes
    try:
        digest = stored["digest"]
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("digest is not a SHA-256")
        scopes = frozenset(stored["scopes"])
        times = (stored["created_at"], stored["expires_at"], stored["revoked_at"])
        if any(value is not None and type(value) is not int for value in times):
            raise ValueError("times must be whole seconds")
        quota = stored.get("requests_per_day")
        if quota is not None and (type(quota) is not int or quota < 1):
            raise ValueError("requests_per_day must be a whole number from 1")
        return StoredKey(record.key.sort, stored["name"], scopes, *times, quota), digest
    except (KeyError, ValueError, TypeError) as error:
        raise MalformedRecord(record.key, f"{type(error).__name__}: {error}") from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
