"""API keys: made, listed, revoked and verified. A key is shown once; the table ``api_keys`` holds its SHA-256.

Put what concerns a key itself here. Keep which route needs which scope in ``lambda_api.handlers.authorizer``.

A key reads ``rk_<id>_<secret>``: 64 random bits that name the record, and 256 random bits that are the secret. SHA-256
without salt or stretching is enough for a secret nobody chose: there is no dictionary of 2**256 entries. Rotation
needs no downtime: a name may have any number of keys, so create the second, hand it out, revoke the first.
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

from lambda_api.state.addressing import MalformedRecord, check_text
from lambda_api.state.table import Absent, ConditionFailed, Key, Matches, Put, Record, Table

SCOPES = ("shop", "operations")
"""``shop``: what a shop page calls. ``operations``: that, and ``/metrics``."""

CACHE_S = 30.0
"""A revoked key works this long at most; with an authorizer cache of up to 30 s in front, a minute in all."""
GRACE_S = 900.0
"""While the table is down, a key read so lately stays valid: a quarter of an hour bridges an outage of the store
without closing the shop, and bounds how long a revocation that nobody can read stays without effect. Expiry holds."""
RETRY_S = 2.0
MAX_CACHED = 1024

_PARTITION = "keys"
_KEY = re.compile(r"rk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NOBODYS_DIGEST = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
log = logging.getLogger(__name__)


class _Guard(Protocol):
    def call(self, function: Callable[[Key], Record | None], key: Key, /) -> Record | None: ...


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it may be shown: everything but the secret. Times are in seconds since 1970 UTC."""

    key_id: str
    name: str
    scopes: frozenset[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """Whose key it was, and what it may do."""

    key_id: str
    name: str
    scopes: frozenset[str]


def create(
    table: Table,
    name: str,
    scopes: Collection[str] = ("shop",),
    expires_at: int | None = None,
    *,
    now: int | None = None,
) -> str:
    """Make a key and return it: the only time it can be read.

    Args:
        name: who uses it; several keys may share a name.
        scopes: of `SCOPES`.
        expires_at: seconds since 1970 UTC from which it is refused; ``None``: never.
        now: seconds since 1970 UTC; by default the clock's.

    Raises:
        ValueError: an empty name, no or unknown scopes, an expiry that is not in the future.
        TableUnavailable: the table failed; nobody knows the key, so create another.
    """
    created_at = int(time.time()) if now is None else now
    check_text("name", name)
    if isinstance(scopes, str) or not scopes or not set(scopes) <= set(SCOPES):
        raise ValueError(f"scopes must be some of {', '.join(SCOPES)}; are {scopes!r}")
    if expires_at is not None and expires_at <= created_at:
        raise ValueError("expires_at must lie in the future, in seconds since 1970 UTC")
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    attributes = {
        "name": name,
        "scopes": sorted(set(scopes)),
        "digest": _digest(secret),
        "created_at": created_at,
        "expires_at": expires_at,
        "revoked_at": None,
    }
    table.write([Put(Key(_PARTITION, key_id), attributes, condition=Absent())])
    return f"rk_{key_id}_{secret}"


def list_keys(table: Table) -> list[StoredKey]:
    """Every key ever made, revoked and expired ones too, oldest first."""
    stored = [_read(record)[0] for record in table.query(_PARTITION)]
    return sorted(stored, key=lambda key: (key.created_at, key.key_id))


def revoke(table: Table, key_id: str, *, now: int | None = None) -> bool:
    """Refuse this key from now on (within `CACHE_S` where it is cached); ``False`` if there is no such key.

    A key revoked before keeps the time of that.
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
            continue  # somebody changed it in between: look again
        return True


@dataclass(frozen=True, slots=True)
class _Cached:
    key: StoredKey
    digest: str
    read_at: float


class ApiKeys:
    """Verifies keys, remembering what the table said for `CACHE_S`.

    While the table cannot be read, a key read within the last `GRACE_S` stays as valid as it was; a key not read so
    lately is refused. The table is then asked again at most every `RETRY_S` for keys that are remembered.

    Args:
        table: the table ``api_keys``.
        guard: a `lambda_api.serving.guard.Guard`, or anything with its ``call``; by default none.
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

    def verify(self, plain: Any, now: float) -> KeyIdentity | None:
        """Whose key ``plain`` is, or ``None`` if it is none, or expired or revoked at ``now`` (since 1970 UTC).

        Never raises, and never logs or keeps ``plain``. An id nobody has costs the same reading, digest and
        constant-time comparison as a wrong secret.
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
        return KeyIdentity(key.key_id, key.name, key.scopes)

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
            except Exception as error:  # noqa: BLE001 - whatever the store has, nobody may be let in or out by it
                log.warning("API key %s not read: %s: %s", key_id, type(error).__name__, error)
                with self._lock:
                    self._failed_at = self._clock()
        return known if known is not None and self._clock() - known.read_at < GRACE_S else None

    def _read(self, key_id: str) -> Record | None:
        key = Key(_PARTITION, key_id)
        return self._table.get(key) if self._guard is None else self._guard.call(self._table.get, key)

    def _remember(self, key_id: str, record: Record | None, at: float) -> _Cached | None:
        # A key is remembered from before it was asked for, so that the answer is never older than it claims.
        fresh = None if record is None else _Cached(*_read(record), at)
        with self._lock:
            self._failed_at = None
            self._cache.pop(key_id, None)
            if fresh is not None:  # ids nobody has are not kept: a flood of them would push out real ones
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
        return StoredKey(record.key.sort, stored["name"], scopes, *times), digest
    except (KeyError, ValueError, TypeError) as error:
        raise MalformedRecord(record.key, f"{type(error).__name__}: {error}") from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
