"""The mapping from a shop's own files to the canonical tables: what ``mapping.toml`` holds.

A mapping is recognised from headers (``detection``), or read from ``mapping.toml`` beside the data, which a person may
edit. ``mapped_source`` applies it.
"""

import json
import tomllib
from collections.abc import Mapping as Dictionary
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lambda_api.interactions import INTERACTION_LABELS
from recsys_assets.ingest.source import SourceError
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS, TableContract

FILE_NAME: Final = "mapping.toml"

CANONICAL: Final = "canonical"
"""Preset of files whose columns have their canonical names."""

GENERIC: Final = "columns"
"""Preset of a mapping that was made from usual column names."""

IGNORE: Final = "ignore"
"""Canonical event name for events that are no interactions; they are set aside."""

CONTRACTS: Final[Dictionary[str, TableContract]] = {"interactions": INTERACTIONS, "products": PRODUCTS, "users": USERS}

_COMMENT = """\
# How recsys reads these files. `recsys check` wrote it; edit it, and every command uses it.
# [interactions.columns]: canonical column = the file's column, or a list of columns of which the first with a value
# counts. [interactions.event_names]: the shop's name = view, add_to_cart, purchase, rating or ignore.
# [[interactions.set_aside]]: rows to leave out, such as guests, returns and test orders.
"""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SetAside(_Model):
    """Rows to leave out. A row is set aside when any of the given conditions holds for its value in ``column``.

    Attributes:
        reason: shown with each such row.
        column: a canonical column, or a column of the file.
        missing: the value is missing.
        values: the value is one of these, in any case.
        pattern: the value contains this regular expression (RE2).
        not_positive: the value is a number and 0 or less.
    """

    reason: str
    column: str
    missing: bool = False
    values: tuple[str, ...] = ()
    pattern: str = ""
    not_positive: bool = False


class TableMapping(_Model):
    """How one canonical table is read.

    Attributes:
        files: patterns of file names such as ``orders*.csv``; empty for products and users that are derived from the
            rows of the interactions.
        header: column names of files that have no header.
        delimiter: character, or several, between the fields of a CSV file.
        quotes: whether fields may be quoted.
        encoding: name that Python knows, such as ``utf-8``, ``cp1252`` or ``utf-16``.
        decimal: decimal sign of numbers.
        day_first: whether 05/06/2024 is 5 June; needed only for such dates.
        timezone: zone of times that have none.
        columns: canonical column -> column of the file, or several, of which the first with a value counts.
        constants: canonical column -> value of every row.
        event_names: name of an event in the file -> canonical interaction type or ``ignore``; any case.
        other_events: what happens to events with another name: ``keep`` leaves them to validation.
        required: columns that every file must have.
        order: column, or several separated by ``|``, that is equal for the lines of one order; part of generated ids.
        fill_from_first_line: whether a value that a line lacks is that of the first line of its order.
        items: nested column, or pattern of columns, that holds the items of an event or order; each item is a row.
        item_pattern: regular expression with named groups, for items that are text.
        set_aside: rows to leave out.
    """

    files: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    delimiter: str = ","
    quotes: bool = True
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    day_first: bool | None = None
    timezone: str = "UTC"
    columns: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    constants: dict[str, str] = Field(default_factory=dict)
    event_names: dict[str, str] = Field(default_factory=dict)
    other_events: Literal["keep", "ignore"] = "keep"
    required: tuple[str, ...] = ()
    order: str = ""
    fill_from_first_line: bool = False
    items: str = ""
    item_pattern: str = ""
    set_aside: tuple[SetAside, ...] = ()

    @field_validator("columns", mode="before")
    @classmethod
    def _lists(cls, columns: dict[str, Any]) -> dict[str, Any]:
        return {name: (column,) if isinstance(column, str) else tuple(column) for name, column in columns.items()}

    @field_validator("event_names")
    @classmethod
    def _known_types(cls, names: dict[str, str]) -> dict[str, str]:
        allowed = (*INTERACTION_LABELS, IGNORE)
        for name, kind in names.items():
            if kind not in allowed:
                raise ValueError(f"{name} = {kind!r}: choose one of {', '.join(allowed)}")
        return names


class Mapping(_Model):
    """How a shop's files are read.

    Attributes:
        preset: name of the recognised format; some formats also need code (``presets``).
        currency: ISO code of the prices; for display only.
        interactions, products, users: the tables. ``products`` and ``users`` may be derived from the interactions.
    """

    preset: str = CANONICAL
    currency: str = ""
    interactions: TableMapping
    products: TableMapping = TableMapping()
    users: TableMapping = TableMapping()

    def with_columns(self, columns: Dictionary[str, str]) -> "Mapping":
        """This mapping with other columns of the interactions: canonical name -> column of the file.

        Raises:
            SourceError: a name is not a canonical column.
        """
        unknown = sorted(set(columns) - set(INTERACTIONS.schema.names))
        if unknown:
            raise SourceError(
                f"{unknown[0]!r} is no column of interactions; the columns are {', '.join(INTERACTIONS.schema.names)}"
            )
        changed = {**self.interactions.columns, **{name: (column,) for name, column in columns.items()}}
        kept = {name: value for name, value in self.interactions.constants.items() if name not in columns}
        table = self.interactions.model_copy(update={"columns": changed, "constants": kept})
        return self.model_copy(update={"interactions": table})


def parse_mapping(text: str, label: str) -> Mapping:
    """The mapping in the TOML ``text``.

    Raises:
        SourceError: no TOML, an unknown key or column, or a value that is not allowed; the message names it.
    """
    try:
        mapping = Mapping.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{label}: not readable as TOML ({error})", remedy="repair the line") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SourceError(f"{label}: {key}: {first['msg']}", remedy="see docs/data.md for the keys") from error
    for name, contract in CONTRACTS.items():
        table: TableMapping = getattr(mapping, name)
        for column in (*table.columns, *table.constants):
            if column not in contract.schema.names:
                raise SourceError(
                    f"{label}: [{name}.columns] {column}: no such canonical column",
                    remedy=f"use one of {', '.join(contract.schema.names)}",
                )
        for column in sorted(set(table.columns) & set(table.constants)):
            line = f"{column} = {_toml(_single(table.columns[column]))}"
            constant = f"{column} = {_toml(table.constants[column])}"
            raise SourceError(
                f"{label}: {column} has two sources: {line} under [{name}.columns] and {constant} under "
                f"[{name}.constants]",
                remedy=f"delete {constant} to use the file's column, or {line} to give every row the same value",
            )
    return mapping


def format_mapping(mapping: Mapping) -> str:
    """``mapping`` as the text of a ``mapping.toml``; `parse_mapping` gives the same mapping back."""
    lines = [_COMMENT, f"preset = {_toml(mapping.preset)}"]
    if mapping.currency:
        lines.append(f"currency = {_toml(mapping.currency)}")
    for name in CONTRACTS:
        fields = getattr(mapping, name).model_dump(exclude_defaults=True)
        rules = fields.pop("set_aside", ())
        tables = {key: fields.pop(key) for key in ("columns", "constants", "event_names") if key in fields}
        if fields or tables or rules:
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in fields.items())]
        for key, table in tables.items():
            lines += ["", f"[{name}.{key}]", *(f"{_key(k)} = {_toml(_single(v))}" for k, v in table.items())]
        for rule in rules:
            shown = {key: value for key, value in rule.items() if value}
            lines += ["", f"[[{name}.set_aside]]", *(f"{key} = {_toml(value)}" for key, value in shown.items())]
    return "\n".join(lines) + "\n"


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _toml(name)


def _toml(value: Any) -> str:
    """A value in TOML. A JSON string is a TOML string."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
