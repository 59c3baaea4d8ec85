"""Source for the UCI Online Retail data: one CSV of invoice lines per trading day.

Format: D. Chen, Online Retail, UCI Machine Learning Repository (2015), https://doi.org/10.24432/C5BW33.
"""

from datetime import date
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import cast_where_clean, occurrence_numbers, parse_numbers
from recsys_assets.ingest.files import CSV_SUFFIXES, Folder, SourceFile, daily_files, headers, no_drop, stem_of
from recsys_assets.ingest.source import DayOfEvents, SourceError
from recsys_assets.ingest.tabular import Rows, read_csv, set_aside_rows
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
LAYOUT = f"files YYYY-MM-DD.csv[.gz] with the columns {', '.join(COLUMNS)}"
"""What is looked for, for messages."""

NON_PRODUCT_CODES = ("POST", "M", "D", "DOT", "BANK CHARGES", "PADS", "CRUK", "C2", "AMAZONFEE", "S", "B")
"""Postage, manual entries, discounts, fees, charity, samples and adjustments; ``gift_*`` vouchers are excluded too."""

MISSING_CUSTOMER = "missing customer"
CANCELLATION = "cancellation"
NON_PRODUCT = "non-product stock code"
QUANTITY_NOT_POSITIVE = "quantity not positive"
PRICE_NOT_POSITIVE = "unit price not positive"
RULES = (MISSING_CUSTOMER, CANCELLATION, NON_PRODUCT, QUANTITY_NOT_POSITIVE, PRICE_NOT_POSITIVE)
"""Reasons for setting a line aside, in the order in which they are tried; a line gets the first that applies."""


class OnlineRetailSource:
    """Purchases from daily drops of invoice lines.

    * Each line that no rule of ``RULES`` sets aside is one `purchase`. A cancellation takes nothing back from the
      purchase it cancels. A quantity or price that is no number is left for the quality suite to judge.
    * ``product_id`` is the stock code in capitals: the log writes one product both as 85123A and as 85123a, almost
      always with the same description.
    * ``user_id`` is CustomerID without its ``.0``. InvoiceDate, which has no zone, is read as UTC.
    * ``interaction_id`` is ``<day>-<InvoiceNo>-<stock code in capitals>-<n>``, n counting the lines of one invoice with
      one code in file order: the log does repeat whole lines, and each repetition is a sale.
    * Products: most frequent description among delivered lines (ties: the alphabetically first), median unit price;
      no category. Users: the country they bought from most (ties likewise).
    """

    name: ClassVar[str] = "online_retail"

    def __init__(self, location: str) -> None:
        self._folder = Folder(location)
        self._lines: tuple[tuple[SourceFile, ...], pa.Table] | None = None

    def days(self) -> list[date]:
        """Days that have a file, by name only. Raises `SourceError`."""
        return list(self._files())

    def read_day(self, day: date) -> DayOfEvents:
        """The day's purchases; raises `SourceError` as `Source.read_day` says, and where a column is missing."""
        files = self._files()
        if day not in files:
            raise no_drop(self._folder.uri, day, list(files))
        file = files[day]
        rows = self._read(file)
        reasons = set_aside_reasons(rows.table)
        keep = pc.is_null(reasons)
        lines = as_interactions(rows.table, day).filter(keep)
        refused = pc.invert(keep)
        set_aside = set_aside_rows(
            file.name,
            rows.numbers[refused.to_numpy()].tolist(),
            reasons.filter(refused).to_pylist(),
            rows.table.filter(refused).to_pylist(),
        )
        set_aside = pa.concat_tables([set_aside, rows.malformed])
        return DayOfEvents(cast_where_clean(lines, INTERACTIONS), set_aside, rows.count)

    def products(self) -> pa.Table:
        """Every product on a delivered line, by product_id; all canonical columns. Reads all days."""
        lines = self._delivered_lines()
        names = most_frequent(lines, "product_id", "name")
        prices = medians(lines, "product_id", "price")
        known = pa.table({"product_id": pc.unique(lines["product_id"]).drop_null()})
        products = known.join(names, "product_id").join(prices, "product_id").sort_by("product_id")
        return PRODUCTS.conform(products.append_column("available", pa.repeat(pa.scalar(True), products.num_rows)))

    def users(self) -> pa.Table:
        """Every customer on a delivered line, by user_id; all canonical columns. Reads all days."""
        lines = self._delivered_lines()
        known = pa.table({"user_id": pc.unique(lines["user_id"]).drop_null()})
        return USERS.conform(known.join(most_frequent(lines, "user_id", "location"), "user_id").sort_by("user_id"))

    def _files(self) -> dict[date, SourceFile]:
        files, _ = self._folder.entries()
        found = daily_files(self._folder, files, CSV_SUFFIXES)
        known = set(found.values())
        stray = [file for file in files if stem_of(file.name, CSV_SUFFIXES) is not None and file not in known]
        if stray:
            raise SourceError(
                f"{self._folder.label(stray[0].name)}: does not say its day; name every drop YYYY-MM-DD.csv or .csv.gz"
            )
        if not found:
            raise SourceError(f"{self._folder.uri}: no drops; looked for {LAYOUT}")
        return found

    def _read(self, file: SourceFile) -> Rows:
        rows = read_csv(self._folder, file)
        label = self._folder.label(file.name)
        absent = [column for column in COLUMNS if column not in rows.table.column_names]
        if absent:
            raise SourceError(
                f"{label}: column(s) missing: {', '.join(absent)}; the rules of this source need all of "
                f"{', '.join(COLUMNS)}; deliver the file again with them"
            )
        if not rows.count:
            raise SourceError(f"{label}: a header but no rows; deliver the rows, or delete the file if there were none")
        return rows

    def _delivered_lines(self) -> pa.Table:
        """user_id, location, product_id, name, price of every delivered line of all days, kept until a file changes."""
        files = tuple(self._files().values())
        if self._lines is None or self._lines[0] != files:
            parts = []
            for file in files:
                table = self._read(file).table
                parts.append(table.filter(pc.is_null(set_aside_reasons(table))))
            lines = pa.concat_tables([part.select(COLUMNS) for part in parts])
            description = pc.utf8_trim_whitespace(pc.replace_substring_regex(lines["Description"], r"\s+", " "))
            columns = {
                "user_id": _user_id(lines),
                "location": lines["Country"],
                "product_id": _product_id(lines),
                "name": pc.if_else(pc.equal(description, ""), None, description),
                "price": parse_numbers(lines["UnitPrice"]),
            }
            self._lines = (files, pa.table(columns))
        return self._lines[1]


def fits(folder: Folder) -> bool:
    """Whether ``folder`` looks like daily drops of this shop."""
    files, _ = folder.entries()
    return any(
        {"InvoiceNo", "StockCode"} <= header for header in headers(folder, daily_files(folder, files, CSV_SUFFIXES))
    )


def set_aside_reasons(lines: pa.Table) -> pa.ChunkedArray:
    """For each invoice line the first of ``RULES`` that excludes it, or null."""
    code = pc.utf8_upper(pc.utf8_trim_whitespace(lines["StockCode"]))
    applies = {
        MISSING_CUSTOMER: pc.is_null(_user_id(lines)),
        CANCELLATION: pc.starts_with(pc.utf8_upper(lines["InvoiceNo"]), "C"),
        NON_PRODUCT: pc.or_(pc.is_in(code, pa.array(NON_PRODUCT_CODES)), pc.starts_with(code, "GIFT_")),
        QUANTITY_NOT_POSITIVE: pc.less_equal(parse_numbers(lines["Quantity"]), 0),
        PRICE_NOT_POSITIVE: pc.less_equal(parse_numbers(lines["UnitPrice"]), 0),
    }
    reasons: pa.ChunkedArray = pa.chunked_array([pa.nulls(lines.num_rows, pa.string())])
    for rule in reversed(RULES):
        reasons = pc.if_else(pc.fill_null(applies[rule], False), rule, reasons)
    return reasons


def as_interactions(lines: pa.Table, day: date) -> pa.Table:
    """Invoice lines of one file as canonical interactions, values still text."""
    product = _product_id(lines)
    key = pc.binary_join_element_wise(lines["InvoiceNo"], product, "-", null_handling="replace", null_replacement="")
    occurrence = pa.array(occurrence_numbers(key)).cast(pa.string())
    return pa.table(
        {
            "interaction_id": pc.binary_join_element_wise(
                day.isoformat(), lines["InvoiceNo"], product, occurrence, "-"
            ),
            "user_id": _user_id(lines),
            "product_id": product,
            "interaction_type": pa.repeat(pa.scalar("purchase"), lines.num_rows),
            "timestamp": lines["InvoiceDate"],
            "price": lines["UnitPrice"],
            "quantity": lines["Quantity"],
        }
    )


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


def _starts_of_runs(sorted_keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """First row of each run of equal keys. (Arrow's group_by promises no order of its groups.)"""
    codes = sorted_keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return np.flatnonzero(np.diff(codes, prepend=-1)).astype(np.int64)


def _user_id(lines: pa.Table) -> pa.ChunkedArray:
    customer = pc.replace_substring_regex(pc.utf8_trim_whitespace(lines["CustomerID"]), r"\.0+$", "")
    return pc.if_else(pc.equal(customer, ""), None, customer)


def _product_id(lines: pa.Table) -> pa.ChunkedArray:
    code = pc.utf8_upper(pc.utf8_trim_whitespace(lines["StockCode"]))
    return pc.if_else(pc.equal(code, ""), None, code)
