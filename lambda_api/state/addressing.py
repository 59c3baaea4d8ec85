"""Keys for ids of any content and length, and the error for records that cannot be read."""

import hashlib
from typing import Any

from lambda_api.errors import RecsysError
from lambda_api.state.table import Key


class MalformedRecord(RecsysError):
    """A record does not have the form that this code writes; the message names its key and the fault."""

    def __init__(self, key: Key, fault: str) -> None:
        super().__init__(f"record {key.partition}/{key.sort} cannot be read: {fault}; publish or write it again")
        self.key = key


def digest(text: str) -> str:
    """SHA-256 of an id's UTF-8 bytes as 64 hexadecimal digits: a key part for any id.

    DynamoDB keys are limited to 1,024 or 2,048 bytes; a digest is short, contains no separators and is unique. Records
    repeat the id as an attribute where people need to read it. Text that is not valid Unicode (lone surrogates) has a
    digest too, so that looking up such an id finds nothing instead of failing.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_text(what: str, value: Any) -> None:
    """Raises ``ValueError`` unless ``value`` is non-empty text that UTF-8 can hold."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} must be a non-empty string, is {value!r:.100}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {value!r:.100} is not valid Unicode: {error.reason}") from error
