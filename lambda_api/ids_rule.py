"""The rule for ids of shoppers, products, events and requests: what ingest accepts, the API serves and accepts back."""

import re
from typing import Final

MAX_ID_LENGTH: Final = 512
"""Characters (code points) of an id."""

_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f"

ID_PATTERN: Final = rf"^[^{_CONTROLS}]*[^{_CONTROLS}\s][^{_CONTROLS}]*$"
"""No control characters (NUL, tab and line breaks are some), and not only white space.

In the common syntax of Python, JSON Schema, Rust and RE2 (DuckDB). Length and trimming are apart: `MAX_ID_LENGTH`, and
white space around an id is removed before it is checked.
"""

ID_RULE: Final = f"must have 1 to {MAX_ID_LENGTH} characters, none of them a control character"

_ID: Final = re.compile(ID_PATTERN)


def normalise_id(text: str) -> str:
    """``text`` without white space around it. Raises ``ValueError`` with `ID_RULE` if it is not an id."""
    found = text.strip()
    if len(found) > MAX_ID_LENGTH or not _ID.fullmatch(found):
        raise ValueError(ID_RULE)
    try:
        found.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return found
