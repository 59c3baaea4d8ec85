"""Popular products, overall and by category, as last published: the answer without a model.

One record of the table ``serving`` per list; category names are hashed into keys. Entries carry all that a product card
needs, so this answer does not need the catalogue. Popularity is computed by ``recsys_assets``, and
``lambda_api.serving.baseline`` decides when the lists are shown.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from lambda_api.state.addressing import MalformedRecord, check_text, digest
from lambda_api.state.batches import transactions
from lambda_api.state.table import Delete, Key, Put, Table, Write

MAX_ENTRIES = 200
_PARTITION = "popular"
_OVERALL = Key(_PARTITION, "overall")
_CATEGORY = "category#"
_MAX_LIST_BYTES = 350 * 1024  # of DynamoDB's 400 KB per record
_COLUMNS = 7


@dataclass(frozen=True, slots=True)
class PopularEntry:
    """A product, its score (higher is more popular) and the fields of cards and filters."""

    product_id: str
    score: float
    name: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    available: bool = True


class PopularProducts:
    """Published lists in the table ``serving``."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def publish(
        self, overall: Sequence[PopularEntry], by_category: Mapping[str, Sequence[PopularEntry]], published_at: int
    ) -> None:
        """Replace all lists; lists of other categories are removed. May be repeated.

        At most 200 entries of each list are kept, fewer where they would not fit into a record. Each list is replaced
        atomically, one after the other, the overall list last.

        Args:
            overall, by_category: best first.
            published_at: seconds since 1970 UTC.

        Raises:
            ValueError: an empty product id or category, or a number that is not finite; some lists may have been
                replaced.
            TableUnavailable: the table failed; some lists may have been replaced. Publish again.
        """
        writes: list[Put] = []
        for category, entries in by_category.items():
            check_text("category", category)
            key = Key(_PARTITION, _CATEGORY + digest(category))
            writes.append(_put(key, entries, {"category": category, "published_at": published_at}))
        writes.append(_put(_OVERALL, overall, {"published_at": published_at}))
        keep = {write.key for write in writes}
        stale = [record.key for record in self._table.query(_PARTITION, prefix=_CATEGORY) if record.key not in keep]
        sized: list[tuple[list[Write], int]] = [([Delete(key)], 0) for key in stale]
        sized += [([write], len(json.dumps(write.attributes["entries"]))) for write in writes]
        for batch in transactions(sized):
            self._table.write(batch)

    def overall(self) -> tuple[PopularEntry, ...]:
        """The overall list, best first; empty before the first publication.

        Raises:
            MalformedRecord: the record was written by other means.
            TableUnavailable: the table could not be asked.
        """
        return self._list(_OVERALL)

    def of_category(self, name: str) -> tuple[PopularEntry, ...]:
        """A category's list, best first; empty for an unknown category. Raises as `overall`."""
        return self._list(Key(_PARTITION, _CATEGORY + digest(name)))

    def published_at(self) -> int | None:
        """When the lists were published, in seconds since 1970 UTC; ``None`` before the first time."""
        record = self._table.get(_OVERALL)
        return None if record is None else record.attributes.get("published_at")

    def _list(self, key: Key) -> tuple[PopularEntry, ...]:
        record = self._table.get(key)
        if record is None:
            return ()
        try:
            rows: list[list[Any]] = record.attributes["entries"]
            if any(len(row) != _COLUMNS or not isinstance(row[0], str) for row in rows):
                raise ValueError(f"every entry must be a list of {_COLUMNS} values that starts with a product id")
            return tuple(PopularEntry(*row) for row in rows)
        except (KeyError, ValueError, TypeError) as error:
            raise MalformedRecord(key, f"{type(error).__name__}: {error}") from error


def _put(key: Key, entries: Sequence[PopularEntry], attributes: dict[str, Any]) -> Put:
    rows: list[list[Any]] = []
    size = 0
    for entry in entries[:MAX_ENTRIES]:
        check_text("product_id", entry.product_id)
        product_id, score, name, category, brand, price, available = astuple(entry)
        # float() converts numpy scalars.
        row = [
            product_id,
            float(score),
            name,
            category,
            brand,
            None if price is None else float(price),
            bool(available),
        ]
        size += len(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if size > _MAX_LIST_BYTES:
            break
        rows.append(row)
    return Put(key, {**attributes, "entries": rows})
