"""Limits of records and their encoding as text, shared by both table adapters.

Two values are *equal* when their canonical JSON is: ``1``, ``1.0`` and ``True`` are three different values, ``None`` is
not "missing", and the order of a dict's keys does not matter. JSON text carries every finite float64 exactly (Python
writes the shortest digits that read back to the same number, and reads correctly rounded).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_api.state.table import Absent, Attributes, Condition, Delete, Key, Matches, Put, Write

MAX_WRITES = 100
MAX_CONDITION_ATTRIBUTES = 100
MAX_PARTITION_BYTES = 2048
MAX_SORT_BYTES = 1024
MAX_RECORD_BYTES = 400 * 1024
MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
"""DynamoDB's limits (its developer guide, "Quotas"), honoured by every adapter.

``MAX_CONDITION_ATTRIBUTES`` keeps a condition within DynamoDB's 4 KB expressions.
"""

_ATTRIBUTE_OVERHEAD = 16  # upper bound of what DynamoDB counts per attribute besides name and value
_RECORD_OVERHEAD = 64  # and per record: names of key columns, attribute map, expiry

_SCALARS = (str, int, float, bool, type(None))

EncodedAttributes = dict[str, str]
"""Canonical JSON text of every top-level attribute, by name."""


@dataclass(frozen=True, slots=True)
class EncodedWrite:
    """A checked write. ``attributes`` is ``None`` for a delete; ``matches`` is ``None`` unless it must match."""

    key: Key
    attributes: EncodedAttributes | None
    expires_at: int | None
    must_be_absent: bool
    matches: EncodedAttributes | None

    def holds(self, found: Attributes | None) -> bool:
        """Whether this write's condition holds for the live record's attributes (``None``: no live record)."""
        if self.must_be_absent:
            return found is None
        if self.matches is None:
            return True
        if found is None or not self.matches.keys() <= found.keys():
            return False
        return all(canonical_json(found[name]) == text for name, text in self.matches.items())


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and without spaces.

    Raises:
        ValueError: NaN, infinity, a type that JSON lacks, a key that is not a string, or invalid Unicode.
    """
    try:
        if not isinstance(value, _SCALARS):
            _check_containers(value)
        text = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        text.encode()
    except RecursionError as error:
        raise ValueError("value is nested too deeply (or contains itself)") from error
    except TypeError as error:
        raise ValueError(f"{error}; convert it to str, int, float, bool, None, list or dict") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"text is not valid Unicode: {error.reason}") from error
    except ValueError as error:
        raise ValueError("NaN or infinity is not a number that JSON can hold; leave it out or store None") from error
    return text


def encode_attributes(attributes: Attributes) -> EncodedAttributes:
    """Every attribute as canonical JSON. Raises ``ValueError`` naming the attribute at fault."""
    encoded = {}
    for name, value in attributes.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"attribute name {name!r} must be a non-empty string")
        _utf8(name, "attribute name")
        try:
            encoded[name] = canonical_json(value)
        except ValueError as error:
            raise ValueError(f"attribute {name!r} cannot be stored: {error}") from error
    return encoded


def encode_writes(writes: Sequence[Write]) -> list[EncodedWrite]:
    """Validate and encode a transaction.

    Raises:
        ValueError: too many writes, two on one key, a bad key, a value that is not JSON-able, or too many bytes.
    """
    if len(writes) > MAX_WRITES:
        raise ValueError(f"{len(writes)} writes in one transaction; at most {MAX_WRITES} are allowed: split them")
    seen: set[Key] = set()
    encoded, total = [], 0
    for write in writes:
        if write.key in seen:
            raise ValueError(f"two writes on {_name(write.key)} in one transaction; merge them into one")
        seen.add(write.key)
        item, size = _encode_write(write)
        encoded.append(item)
        total += size
    if total > MAX_TRANSACTION_BYTES:
        raise ValueError(f"transaction of {total} bytes; at most {MAX_TRANSACTION_BYTES} are allowed: split it")
    return encoded


def check_key(key: Key) -> None:
    """Raises ``ValueError`` unless both parts are non-empty valid Unicode within DynamoDB's key lengths."""
    check_partition(key.partition)
    size = _utf8(key.sort, "sort key")
    if not 1 <= size <= MAX_SORT_BYTES:
        raise ValueError(f"sort key of {size} bytes in partition {key.partition!r}; 1 to {MAX_SORT_BYTES} are possible")


def check_partition(partition: str) -> None:
    """Raises ``ValueError`` unless the partition key is non-empty valid Unicode of possible length."""
    size = _utf8(partition, "partition key")
    if not 1 <= size <= MAX_PARTITION_BYTES:
        raise ValueError(f"partition key of {size} bytes; 1 to {MAX_PARTITION_BYTES} are possible")


def check_query(partition: str, prefix: str, limit: int | None) -> None:
    """Raises ``ValueError`` when a query's partition, prefix or limit is impossible."""
    check_partition(partition)
    if _utf8(prefix, "prefix") > MAX_SORT_BYTES:
        raise ValueError(f"prefix is longer than the {MAX_SORT_BYTES} bytes a sort key can have")
    if limit is not None and limit < 0:
        raise ValueError(f"limit must not be negative, is {limit}")


def _encode_write(write: Write) -> tuple[EncodedWrite, int]:
    check_key(write.key)
    must_be_absent, matches = _encode_condition(write.key, write.condition)
    if isinstance(write, Delete):
        return EncodedWrite(write.key, None, None, must_be_absent, matches), 0
    expires_at = _check_expiry(write)
    attributes = encode_attributes(write.attributes)
    size = _RECORD_OVERHEAD + len(write.key.partition.encode()) + len(write.key.sort.encode())
    size += sum(_ATTRIBUTE_OVERHEAD + len(name.encode()) + len(text.encode()) for name, text in attributes.items())
    if size > MAX_RECORD_BYTES:
        raise ValueError(
            f"record {_name(write.key)} has {size} bytes; at most {MAX_RECORD_BYTES} are allowed: "
            "store the content as a file and its address here"
        )
    return EncodedWrite(write.key, attributes, expires_at, must_be_absent, matches), size


def _encode_condition(key: Key, condition: Condition | None) -> tuple[bool, EncodedAttributes | None]:
    if isinstance(condition, Matches):
        if len(condition.attributes) > MAX_CONDITION_ATTRIBUTES:
            raise ValueError(
                f"condition at {_name(key)} compares {len(condition.attributes)} attributes; "
                f"at most {MAX_CONDITION_ATTRIBUTES} are allowed: compare a revision number instead"
            )
        return False, encode_attributes(condition.attributes)
    return isinstance(condition, Absent), None


def _check_expiry(write: Put) -> int | None:
    expires_at = write.expires_at
    # SQLite's integers end at 2**63; larger times are a mistake in units.
    if expires_at is not None and (type(expires_at) is not int or not 0 <= expires_at < 2**53):
        raise ValueError(f"expires_at of {_name(write.key)} must be whole seconds since 1970, is {expires_at!r}")
    return expires_at


def _check_containers(value: Any) -> None:
    """Raises ``ValueError`` for a mapping that is not a dict, and for a dict key that is not text.

    JSON would convert such keys; everything else that JSON cannot hold is found by writing it.
    """
    if isinstance(value, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{type(value).__name__} is not a dict; convert it")
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"dict key {name!r} must be a string")
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for member in value:
        if not isinstance(member, _SCALARS):
            _check_containers(member)


def _utf8(text: str, what: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {text!r} is not valid Unicode: {error.reason}") from error


def _name(key: Key) -> str:
    return f"{key.partition}/{key.sort}"
