"""Source for the Amazon-reviews files of UCSD (2014, 2018, 2023): reviews as JSON lines, and product metadata.

Formats: J. McAuley et al., https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/ and
https://amazon-reviews-2023.github.io/.
"""

import ast
import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import cast_where_clean, occurrence_numbers
from recsys_assets.ingest.files import Folder, SourceFile, decode_utf8, no_drop, stem_of
from recsys_assets.ingest.source import DayOfEvents, SourceError
from recsys_assets.ingest.tabular import NO_ROWS_SET_ASIDE, EventsByDay, set_aside_rows, with_ids_of_events
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
LAYOUT = "reviews as .json or .jsonl[.gz], one object per line, and metadata in files whose name begins with meta"
"""What is looked for, for messages."""

_EVENT_FIELDS = {
    "user_id": ("reviewerID", "user_id"),
    "product_id": ("parent_asin", "asin"),
    "timestamp": ("unixReviewTime", "timestamp"),
    "rating": ("overall", "rating"),
}
_AMOUNT = re.compile(r"^\$?\s*(\d[\d,]*(?:\.\d+)?)(?:\s*-\s*\$?\s*[\d,.]+)?$")


class AmazonReviewsSource:
    """Ratings from review files, products from metadata files.

    * Each review is one `rating`; ``interaction_id`` is ``<user>-<product>-<time>-<n>``, n counting reviews alike in
      all three. The product is ``parent_asin`` where a release has it, else ``asin``.
    * Lines that are no JSON object are set aside on the first day. A log cut off in its last line is refused.
    * Products: title, price ("$12.99", a number, or the low end of a range; anything else is a missing price), brand
      (``brand`` or ``store``), mean rating and their number where stated. Category is the second level of the category
      path, because the first is the same for a whole file; else the first; else the main category. Of lines for one
      product the first counts. Products that only reviews name have no more than their id.
    * Users are those who reviewed; the files tell nothing about them.

    The reviews are parsed once and kept until the files change.
    """

    name: ClassVar[str] = "amazon_reviews"

    def __init__(self, location: str) -> None:
        self._folder = Folder(location)
        self._log: tuple[tuple[SourceFile, ...], EventsByDay] | None = None

    def days(self) -> list[date]:
        """UTC days that have reviews; parses them. Raises `SourceError`."""
        return self._events().days()

    def read_day(self, day: date) -> DayOfEvents:
        """The day's ratings; raises `SourceError` as `Source.read_day` says."""
        events = self._events()
        if day not in events.bounds:
            raise no_drop(self._folder.uri, day, events.days())
        rows, malformed = events.of(day)
        return DayOfEvents(cast_where_clean(rows, INTERACTIONS), malformed, rows.num_rows + malformed.num_rows)

    def products(self) -> pa.Table:
        """Products of the metadata and of the reviews, by product_id; all canonical columns. Raises `SourceError`."""
        _, metadata = _split(self._folder)
        items = [_product(item) for file in metadata for item in self._metadata(file)]
        known = pa.Table.from_pylist(items, schema=PRODUCTS.schema)
        products = with_ids_of_events(known, "product_id", _column(self._events().rows, "product_id"))
        products = products.drop_columns("available")
        return PRODUCTS.conform(products.append_column("available", pa.repeat(pa.scalar(True), products.num_rows)))

    def users(self) -> pa.Table:
        """Users who wrote a review, by user_id; all canonical columns. Raises `SourceError`."""
        return with_ids_of_events(USERS.schema.empty_table(), "user_id", _column(self._events().rows, "user_id"))

    def _events(self) -> EventsByDay:
        files, _ = _split(self._folder)
        if not files:
            raise SourceError(f"{self._folder.uri}: no reviews; looked for {LAYOUT}")
        if self._log is None or self._log[0] != files:
            parts = [self._read_reviews(file) for file in files]
            rows = _with_interaction_ids(pa.concat_tables([part[0] for part in parts], promote_options="default"))
            malformed = pa.concat_tables([part[1] for part in parts])
            self._log = (files, EventsByDay.cut(rows, malformed, self._folder.label(files[0].name)))
        return self._log[1]

    def _read_reviews(self, file: SourceFile) -> tuple[pa.Table, pa.Table]:
        label = self._folder.label(file.name)
        data = self._folder.read(file)
        columns: dict[str, list[str | None]] = {name: [] for name in _EVENT_FIELDS}
        refused: list[tuple[int, str]] = []
        number = 0
        for number, line in _lines(data, label):
            review = _json_object(line)
            if review is None:
                refused.append((number, line))
                continue
            for name, fields in _EVENT_FIELDS.items():
                columns[name].append(_as_text(_first(review, fields)))
        if not number:
            raise SourceError(f"{label}: no lines; deliver the reviews, or delete the file if there were none")
        if refused and refused[-1][0] == number and not data.endswith(b"\n"):
            raise SourceError(
                f"{label}: ends in the middle of line {number}; the upload broke off, deliver the file again"
            )
        present = {
            name: pa.array(values, pa.string())
            for name, values in columns.items()
            if any(v is not None for v in values)
        }
        malformed = set_aside_rows(
            file.name,
            [n for n, _ in refused],
            ["malformed row: no JSON object"] * len(refused),
            [{"line": t} for _, t in refused],
        )
        return pa.table(present), malformed if refused else NO_ROWS_SET_ASIDE

    def _metadata(self, file: SourceFile) -> Iterator[Mapping[str, Any]]:
        label = self._folder.label(file.name)
        for number, line in _lines(self._folder.read(file), label):
            item = _json_object(line) or _python_object(line)
            if item is None:
                raise SourceError(
                    f"{label}: line {number} is no JSON object ({line[:60]!r}); repair or remove the line"
                )
            if _first(item, _EVENT_FIELDS["product_id"]) is not None:
                yield item


def fits(folder: Folder) -> bool:
    """Whether ``folder`` looks like review files."""
    return bool(_split(folder)[0])


def parse_price(value: object) -> float | None:
    """A price from a number, "$1,299.00" or a range (its low end); ``None`` for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    match = _AMOUNT.match(value.strip()) if isinstance(value, str) else None
    return float(match[1].replace(",", "")) if match else None


def parse_category(item: Mapping[str, Any]) -> str | None:
    """Second level of the item's category path, else its first, else its main category."""
    path = _first(item, ("categories", "category")) or []
    if isinstance(path, list) and path and isinstance(path[0], list):
        path = path[0]
    levels = [_clean(level) for level in path] if isinstance(path, list) else [_clean(path)]
    named = [level for level in levels if level]
    return (named[1] if len(named) > 1 else named[0]) if named else _clean(_first(item, ("main_category", "main_cat")))


def _product(item: Mapping[str, Any]) -> dict[str, Any]:
    rating, reviews = item.get("average_rating"), item.get("rating_number")
    return {
        "product_id": _as_text(_first(item, _EVENT_FIELDS["product_id"])),
        "name": _clean(item.get("title")),
        "category": parse_category(item),
        "brand": _clean(_first(item, ("brand", "store"))),
        "price": parse_price(item.get("price")),
        "rating": float(rating) if isinstance(rating, (int, float)) else None,
        "num_reviews": int(reviews) if isinstance(reviews, (int, float)) else None,
    }


def _split(folder: Folder) -> tuple[tuple[SourceFile, ...], tuple[SourceFile, ...]]:
    """The folder's review files and its metadata files."""
    files = [file for file in folder.entries()[0] if stem_of(file.name, SUFFIXES) is not None]
    metadata = tuple(file for file in files if file.name.lower().startswith("meta"))
    return tuple(file for file in files if file not in metadata), metadata


def _with_interaction_ids(rows: pa.Table) -> pa.Table:
    parts = [_column(rows, name) for name in ("user_id", "product_id", "timestamp")]
    key = pc.binary_join_element_wise(*parts, "-")
    occurrence = pa.array(occurrence_numbers(key)).cast(pa.string())
    rows = rows.append_column("interaction_id", pc.binary_join_element_wise(key, occurrence, "-"))
    return rows.append_column("interaction_type", pa.repeat(pa.scalar("rating"), rows.num_rows))


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    return rows[name] if name in rows.column_names else pa.chunked_array([pa.nulls(rows.num_rows, pa.string())])


def _lines(data: bytes, label: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1 in the file."""
    text = decode_utf8(data, label)
    if text.lstrip()[:1] == "[":
        raise SourceError(f"{label}: is one JSON array; write one object per line")
    # Only \n ends a line of JSON: str.splitlines would also cut at U+2028 inside a title.
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _python_object(line: str) -> dict[str, Any] | None:
    """The metadata of the 2014 release is written as Python literals, not JSON."""
    try:
        found = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError):
        return None
    return found if isinstance(found, dict) else None


def _first(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _clean(value: object) -> str | None:
    return (" ".join(html.unescape(value).split()) or None) if isinstance(value, str) else None
