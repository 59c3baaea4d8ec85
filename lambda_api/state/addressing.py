"""How ids of any content and length become keys, and what is said of a stored record that cannot be read.

Put here what every store above the table port shares. Keep rules about values in ``lambda_api.state.encoding``.
"""

import hashlib
from typing import Any

from lambda_api.errors import RecsysError
from lambda_api.state.table import Key


class MalformedRecord(RecsysError):
    """A record was found, but is not what this code writes; the message names its key and the fault."""

    def __init__(self, key: Key, fault: str) -> None:
        super().__init__(f"record {key.partition}/{key.sort} cannot be read: {fault}; publish or write it anew")
        self.key = key


def digest(text: str) -> str:
    """SHA-256 of an id's UTF-8 bytes, 64 hexadecimal digits: a key part for any id.

    Ids come from shops and browsers: slashes, spaces, 1,000 characters, any script. DynamoDB keys end at 1,024 or 2,048
    bytes; a digest is always short, never contains a separator of ours, and two ids never meet. Records repeat the id
    as an attribute where people need to read it. Text that is not valid Unicode has a digest too (lone surrogates in
    their three-byte form), so that looking up such an id finds nothing instead of failing.
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
