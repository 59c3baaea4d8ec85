"""The rule for ids: one meaning for ingest, which calls `normalise_id`, and for the API's models."""

import re

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from lambda_api.handlers.models import Identifier
from lambda_api.ids_rule import ID_PATTERN, MAX_ID_LENGTH, normalise_id

API = TypeAdapter(Identifier)


def accepted(text: str) -> str | None:
    try:
        return normalise_id(text)
    except ValueError:
        return None


@given(st.text(max_size=20) | st.text(alphabet=" \t\n\x00\x85\xa0\u2028ab", max_size=6))
@example("x" * MAX_ID_LENGTH)
@example("x" * (MAX_ID_LENGTH + 1))
@example(" " + "x" * MAX_ID_LENGTH + "\n")
@example("\x85")
@example("\ud800")
def test_ingest_and_api_accept_the_same_ids(text: str) -> None:
    try:
        by_api = API.validate_python(text, strict=True)
    except ValidationError:
        by_api = None
    assert by_api == accepted(text)


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\x00b", "\x7f", "a\x9fb", "", "  ", "\u00a0"])
def test_control_characters_and_blanks_are_refused(text: str) -> None:
    assert accepted(text) is None


@given(st.text(max_size=8).filter(lambda text: "\x00" not in text and text == text.strip()))
def test_duckdb_reads_the_pattern_as_python_does(text: str) -> None:
    found = duckdb.execute("SELECT regexp_full_match(?, ?)", [text, ID_PATTERN]).fetchone()
    assert found == (re.fullmatch(ID_PATTERN, text) is not None,)
