"""The canonical tables: their columns, Arrow types and required columns."""

from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.interactions import InteractionType

TIMESTAMP = pa.timestamp("us", tz="UTC")
CLOCK_SKEW = timedelta(minutes=5)
"""How far an event may lie in the future: clocks of shops differ by a little."""


@dataclass(frozen=True, slots=True)
class TableContract:
    """A canonical table: its full Arrow schema and the columns a source must always provide."""

    name: str
    schema: pa.Schema
    required: tuple[str, ...]

    def conform(self, table: pa.Table) -> pa.Table:
        """``table`` with exactly the contract's columns and types; missing optional columns become null.

        Raises:
            ValueError: a required column is missing, or a column cannot be cast (the message names it).
        """
        absent = [name for name in self.required if name not in table.column_names]
        if absent:
            raise ValueError(f"{self.name}: required column(s) missing: {', '.join(absent)}")
        columns = []
        for field in self.schema:
            if field.name not in table.column_names:
                columns.append(pa.nulls(table.num_rows, type=field.type))
                continue
            try:
                columns.append(table[field.name].cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise ValueError(f"{self.name}.{field.name}: cannot become {field.type}: {error}") from error
        return pa.table(columns, schema=self.schema)


INTERACTIONS = TableContract(
    name="interactions",
    schema=pa.schema(
        [
            pa.field("interaction_id", pa.string()),
            pa.field("user_id", pa.string()),
            pa.field("product_id", pa.string()),
            pa.field("interaction_type", pa.string()),
            pa.field("timestamp", TIMESTAMP),
            pa.field("rating", pa.float64()),
            pa.field("price", pa.float64()),
            pa.field("quantity", pa.float64()),
            pa.field("request_id", pa.string()),
            pa.field("variant", pa.string()),
        ]
    ),
    required=("interaction_id", "user_id", "product_id", "interaction_type", "timestamp"),
)

PRODUCTS = TableContract(
    name="products",
    schema=pa.schema(
        [
            pa.field("product_id", pa.string()),
            pa.field("name", pa.string()),
            pa.field("category", pa.string()),
            pa.field("brand", pa.string()),
            pa.field("price", pa.float64()),
            pa.field("rating", pa.float64()),
            pa.field("num_reviews", pa.int64()),
            pa.field("available", pa.bool_()),
            pa.field("image_url", pa.string()),
        ]
    ),
    required=("product_id",),
)

USERS = TableContract(
    name="users",
    schema=pa.schema(
        [
            pa.field("user_id", pa.string()),
            pa.field("age", pa.int64()),
            pa.field("gender", pa.string()),
            pa.field("location", pa.string()),
            pa.field("join_date", pa.date32()),
        ]
    ),
    required=("user_id",),
)


def with_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """``table`` with the column in place of the one of this name, or as its last."""
    place = table.schema.get_field_index(name)
    return table.append_column(name, column) if place < 0 else table.set_column(place, name, column)


SET_ASIDE_SCHEMA = pa.schema(
    [
        pa.field("source_file", pa.string()),
        pa.field("source_row", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
    ]
)
"""Rows that a source or a row rule excluded: file, row number, reason, and the row as JSON text.

Interactions that fail a row-level rule have their day as ``source_file`` when the original file is not known.
"""


def relevant_types(interactions: pa.Table) -> frozenset[InteractionType]:
    """The interaction type that counts as a hit in evaluation: the strongest type in the log.

    Purchases if there are any; else ratings (those from ``minimum_rating`` up count); else additions to the cart; else
    views. Pass the whole log, not one window, so that all windows of a shop are evaluated with the same type.

    Raises:
        ValueError: the log is empty.
    """
    held = set(pc.unique(interactions["interaction_type"]).to_pylist())
    for kind in (InteractionType.PURCHASE, InteractionType.RATING, InteractionType.ADD_TO_CART, InteractionType.VIEW):
        if kind.label in held:
            return frozenset({kind})
    raise ValueError("there are no interactions to evaluate on")
