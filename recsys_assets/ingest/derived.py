"""Products and users that are derived from events, and catalogues completed by them."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import occurrence_numbers, parse_numbers, read_text, valid_ids
from recsys_assets.schema import PRODUCTS, USERS, TableContract, with_column


def products_of_events(events: pa.Table, decimal: str) -> pa.Table:
    """Every product with an event, by id: most frequent name, category and brand, and median price; all available.

    The values are the columns ``products.<name>`` of ``events``; columns without such a source are null.
    """
    return PRODUCTS.conform(_derive(events, PRODUCTS, "products.", decimal, pa.scalar(True)))


def users_of_events(events: pa.Table, decimal: str) -> pa.Table:
    """Every user with an event, by id, with the most frequent ``users.<name>`` values of ``events``."""
    return USERS.conform(_derive(events, USERS, "users.", decimal, None))


def merge_catalogue(listed: pa.Table, other: pa.Table, contract: TableContract) -> pa.Table:
    """``listed`` and the rows of ``other`` whose id it lacks; such products are not available any more."""
    (key,) = contract.required
    unknown = pc.and_(pc.is_valid(other[key]), pc.invert(pc.is_in(other[key], listed[key].combine_chunks())))
    unlisted = first_of_each(other.filter(unknown), key)
    if "available" in unlisted.column_names:
        unlisted = with_column(unlisted, "available", pa.repeat(pa.scalar(False), unlisted.num_rows))
    return pa.concat_tables([listed, unlisted.select(listed.column_names)]).sort_by(key)


def most_frequent(rows: pa.Table, key: str, value: str) -> pa.Table:
    """Per ``key`` its most frequent non-null ``value``, ties by the smallest value; keys without any are left out."""
    present = rows.select([key, value]).drop_null()
    counts = present.group_by([key, value]).aggregate([([], "count_all")])
    ranked = counts.sort_by([(key, "ascending"), ("count_all", "descending"), (value, "ascending")])
    return ranked.select([key, value]).take(pa.array(_starts_of_runs(ranked[key])))


def medians(rows: pa.Table, key: str, value: str) -> pa.Table:
    """Per ``key`` the exact median of its non-null ``value`` (mean of the middle two when even)."""
    ordered = rows.select([key, value]).drop_null().sort_by([(key, "ascending"), (value, "ascending")])
    starts = _starts_of_runs(ordered[key])
    sizes = np.diff(starts, append=ordered.num_rows)
    values = ordered[value].to_numpy()
    middle = (values[starts + (sizes - 1) // 2] + values[starts + sizes // 2]) / 2
    return pa.table({key: ordered[key].take(pa.array(starts)), value: middle})


def _derive(
    events: pa.Table, contract: TableContract, prefix: str, decimal: str, available: pa.Scalar | None
) -> pa.Table:
    (key,) = contract.required
    ids = read_text(events[key])
    known = pc.unique(ids).drop_null()
    known = known.filter(valid_ids(known))
    found = pa.table({key: known})
    for field in contract.schema:
        name = f"{prefix}{field.name}"
        if name not in events.column_names:
            continue
        if pa.types.is_floating(field.type):
            values = medians(pa.table({key: ids, field.name: parse_numbers(events[name], decimal)}), key, field.name)
        else:
            text = pc.replace_substring_regex(read_text(events[name]), r"\s+", " ")
            values = most_frequent(pa.table({key: ids, field.name: text}), key, field.name)
        found = found.join(values, key)
    if available is not None:
        found = found.append_column("available", pa.repeat(available, found.num_rows))
    return found.sort_by(key)


def first_of_each(table: pa.Table, key: str) -> pa.Table:
    """The first row of each value of ``key``."""
    return table.filter(pa.array(occurrence_numbers(table[key]) == 1))


def _starts_of_runs(sorted_keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """First row of each run of equal keys. (Arrow's group_by promises no order of its groups.)"""
    codes = sorted_keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return np.flatnonzero(np.diff(codes, prepend=-1)).astype(np.int64)
