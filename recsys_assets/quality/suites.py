"""The rules of the canonical tables. Each rule is an expectation, a quarantine reason and an asset check.

Great Expectations is imported only when a suite is built, so check specs can be made without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from lambda_api.ids_rule import ID_RULE
from lambda_api.interactions import INTERACTION_LABELS
from recsys_assets.schema import INTERACTIONS
from recsys_assets.verdict import ROW_TOLERANCE, Severity

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

Scope = Literal["row", "batch"]

NULL_TOLERANCE = 0.20
"""Share of purchases that may lack a price or quantity when the delivery has that column: gifts and vouchers have none,
a broken export loses most of them."""

RATING_RANGE = (0.0, 10.0)
"""Covers one to five stars, half stars and ten-point scales."""

AGE_RANGE = (0, 120)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        check: name of the asset check and quarantine reason, ``<column>_<property>``.
        column: canonical column that examples show; the empty string when the rule is about the table.
        scope: ``row`` rules quarantine the rows that fail; ``batch`` rules are about the delivery as a whole.
        expectation: class name in ``great_expectations.expectations``.
        arguments: its keyword arguments.
        description: what must hold, as a sentence.
        remedy: what to do where it does not.
        severity: ``critical`` blocks everything downstream, ``warning`` and ``info`` only show.
        tolerance: share of checked rows that may fail (0 for rules about the table).
    """

    check: str
    column: str
    scope: Scope
    expectation: str
    arguments: Mapping[str, Any]
    description: str
    remedy: str
    severity: Severity = "critical"
    tolerance: float = 0.0

    @property
    def checked_column(self) -> str:
        """Column of the checked frame that the expectation looks at; the empty string for rules about the table."""
        return str(self.arguments.get("column", ""))

    @property
    def by_row(self) -> bool:
        """Whether the rule reports row numbers."""
        return self.expectation.startswith("ExpectColumnValues")


def _fact(
    check: str, column: str, description: str, remedy: str,
    scope: Scope = "row", severity: Severity = "critical", tolerance: float = ROW_TOLERANCE,
) -> Rule:  # fmt: skip
    """A rule on the row check of the same name (null: the rule does not apply to the row)."""
    arguments = {"column": check, "value_set": [True]}
    expectation = "ExpectColumnValuesToBeInSet"
    return Rule(check, column, scope, expectation, arguments, description, remedy, severity, tolerance)


def _exists(column: str) -> Rule:
    remedy = f"add the column {column} to the file, or map the shop's own name for it in the source"
    description = f"The column {column} exists."
    return Rule(f"{column}_exists", column, "batch", "ExpectColumnToExist", {"column": column}, description, remedy)


def _not_null(column: str, remedy: str, tolerance: float = ROW_TOLERANCE) -> Rule:
    return Rule(
        f"{column}_not_null", column, "row", "ExpectColumnValuesToNotBeNull", {"column": column},
        f"Every row has a {column}.", remedy, tolerance=tolerance,
    )  # fmt: skip


def _between(column: str, name: str, low: float, high: float | None, remedy: str, **options: Any) -> Rule:
    limits = f"is {low:g} or more" if high is None else f"lies between {low:g} and {high:g}"
    return Rule(
        f"{column}_{name}", column, "row", "ExpectColumnValuesToBeBetween",
        {"column": column, "min_value": low, "max_value": high}, f"{column} {limits}.", remedy, **options,
    )  # fmt: skip


def _unique(column: str) -> Rule:
    return Rule(
        f"{column}_unique", column, "row", "ExpectColumnValuesToBeUnique", {"column": column},
        f"A {column} stands in one row.", "keep one row for each id",
    )  # fmt: skip


def _has_rows(check: str, remedy: str) -> Rule:
    counted = "ExpectTableRowCountToBeBetween"
    return Rule(check, "", "batch", counted, {"min_value": 1}, "There is at least one row.", remedy)


_LABELS = ", ".join(INTERACTION_LABELS)
_RETURNS = "returns and corrections are no interactions: set them aside in mapping.toml"

INTERACTION_RULES: tuple[Rule, ...] = (
    _has_rows("rows_present", "deliver the day's file again; delete it if the shop was closed"),
    *(_exists(column) for column in INTERACTIONS.required),
    _not_null("interaction_id", "give every event an id that is unique and stable when the file is delivered again"),
    _not_null("user_id", "a model cannot learn from events without a user: set them aside in mapping.toml"),
    _not_null("product_id", "fill in the product, or remove events that are about no product"),
    _not_null("interaction_type", f"fill in one of: {_LABELS}"),
    _fact("timestamp_given", "timestamp", "Every row has a timestamp.", "fill in when the event happened, in UTC"),
    _fact(
        "timestamp_readable", "timestamp", "Timestamps are ISO 8601 text, unix seconds or milliseconds.",
        "write them like 2011-12-09T12:50:00Z",
    ),
    *(
        _fact(f"{column}_readable", column, f"{column} is a finite number.", "write plain numbers with a decimal point")
        for column in ("rating", "price", "quantity")
    ),
    _fact(
        "timestamp_on_day", "timestamp", "The event happened on the day it is filed under (UTC).",
        "deliver it with its own UTC day; check the time zone of the export",
    ),
    _fact(
        "timestamp_not_in_future", "timestamp", "The event lies in the past.",
        "check the clock and the time zone of the system that wrote it",
    ),
    Rule(
        "interaction_type_known", "interaction_type", "row", "ExpectColumnValuesToBeInSet",
        {"column": "interaction_type", "value_set": list(INTERACTION_LABELS)},
        f"interaction_type is one of: {_LABELS}.", f"map the shop's own name to one of: {_LABELS}",
        tolerance=ROW_TOLERANCE,
    ),
    *(_between(column, "non_negative", 0, None, _RETURNS, tolerance=ROW_TOLERANCE) for column in ("price", "quantity")),
    _between("rating", "in_range", *RATING_RANGE, "map the shop's scale to it", tolerance=ROW_TOLERANCE),
    _fact("rating_given", "rating", "A rating event says the rating.", "fill it in, or file the event as another type"),
    *(
        _fact(
            f"{column}_null_share", column, f"Where {many} are delivered, most purchases have one.",
            f"find out why the export lost {many}; drop the whole column if the shop does not know them",
            scope="batch", tolerance=NULL_TOLERANCE,
        )
        for column, many in (("price", "prices"), ("quantity", "quantities"))
    ),
    _fact(
        "interaction_id_unique", "interaction_id", "An id stands for one event of the day.",
        "remove the repeated lines; of exact copies the first is kept, of different rows with one id none is",
    ),
    _fact(
        "interaction_id_new", "interaction_id", "The id is not already used on another day.",
        "the event was delivered before under another day: remove it here, or correct and re-materialise that day",
    ),
    *(
        _fact(
            f"{column}_valid", column, f"{column} {ID_RULE}.",
            "correct the ids in the export; tabs, line ends and NUL are control characters",
        )
        for column in ("user_id", "product_id")
    ),
    *(
        _fact(
            f"{one}_id_known", f"{one}_id", f"The {one} is in the {one}s table.",
            f"deliver the {file} first and materialise the asset {one}s, or correct the ids",
        )
        for one, file in (("user", "users"), ("product", "catalogue"))
    ),
)  # fmt: skip
"""Rules of one day of interactions, in the order in which reasons are listed."""


# Products and users have no quarantine: every row of the file is in the table. So no critical rule tolerates a failing
# row: a repeated key, for example, would multiply rows in every later join.
PRODUCT_RULES: tuple[Rule, ...] = (
    _has_rows("products_present", "deliver the catalogue"),
    _not_null("product_id", "fill in the id, or remove the row", tolerance=0.0),
    _unique("product_id"),
    _between("price", "non_negative", 0, None, "correct the price, or leave it empty"),
    _not_null("available", "fill in true or false; a product that is merely listed is available", tolerance=0.0),
)
"""Rules of the catalogue."""

USER_RULES: tuple[Rule, ...] = (
    _has_rows("users_present", "deliver the users; a list of the ids in the events is enough"),
    _not_null("user_id", "fill in the id, or remove the row", tolerance=0.0),
    _unique("user_id"),
    _between("age", "in_range", *AGE_RANGE, "leave unknown ages empty", severity="warning"),
    _fact(
        "join_date_not_in_future", "join_date", "Nobody joined in the future.", "check the date format of the export",
        severity="warning", tolerance=0.0,
    ),
)  # fmt: skip
"""Rules of the users."""

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {"interactions": INTERACTION_RULES, "products": PRODUCT_RULES, "users": USER_RULES}
)
"""Rules by canonical table."""


@lru_cache(maxsize=8)
def build_suite(table: str) -> "ExpectationSuite":
    """The table's rules as a Great Expectations suite; built once per process.

    Each expectation carries ``meta = {"check", "scope", "column"}``: results come back in another order and without
    defaulted arguments, so ``meta["check"]`` is the only way to tell which rule they belong to.
    """
    import great_expectations as gx
    import great_expectations.expectations as gxe

    expectations = []
    for rule in RULES[table]:
        tolerance = {"mostly": 1 - rule.tolerance} if rule.by_row else {}
        expectations.append(
            getattr(gxe, rule.expectation)(
                **rule.arguments,
                **tolerance,
                severity=rule.severity,
                description=f"{rule.check}: {rule.description}",
                meta={"check": rule.check, "scope": rule.scope, "column": rule.column},
            )
        )
    return gx.ExpectationSuite(name=table, expectations=expectations)
