"""Tables to test with: every adapter behind one opening function, an in-memory model of the port, a clock to turn."""

import copy
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import boto3
from moto import mock_aws
from mypy_boto3_dynamodb import DynamoDBClient

from lambda_api.state.dynamodb_table import DynamoDbTable
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Absent, Condition, ConditionFailed, Key, Matches, Put, Record, Table, Write
from tests.state.created_table import create_dynamodb_table

ADAPTERS = ("sqlite", "dynamodb")


class Clock:
    """Seconds since 1970 that stand still until moved."""

    def __init__(self, now: float = 1_700_000_000.25) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@contextmanager
def fake_dynamodb() -> Iterator[DynamoDBClient]:
    """A client of an empty simulated DynamoDB; no credentials, no network."""
    fake = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-west-1"}
    with mock.patch.dict("os.environ", fake), mock_aws():
        yield boto3.client("dynamodb")


@contextmanager
def open_adapter(adapter: str, folder: Path, client: DynamoDBClient, clock: Clock | None = None) -> Iterator[Table]:
    """An empty table of the named adapter: a file in ``folder``, or a new table of ``client``."""
    clock = clock or Clock()
    if adapter == "sqlite":
        table = SqliteTable(folder / "state.sqlite3", "state", clock=clock)
        yield table
        table.close()
    else:
        name = f"state-{uuid.uuid4().hex}"
        create_dynamodb_table(client, name)
        yield DynamoDbTable(name, client, clock=clock)


class ModelTable:
    """The port in a dict: what the adapters are compared with. Slow, single-threaded and obvious."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.items: dict[Key, Put] = {}

    def get(self, key: Key) -> Record | None:
        item = self.items.get(key)
        if item is None or (item.expires_at is not None and item.expires_at <= self.clock()):
            return None
        return Record(key, copy.deepcopy(dict(item.attributes)))

    def write(self, writes: Sequence[Write]) -> None:
        for write in writes:
            found = self.get(write.key)
            if not _holds(write.condition, found):
                raise ConditionFailed(write.key, None if found is None else found.attributes)
        for write in writes:
            if isinstance(write, Put):
                self.items[write.key] = copy.deepcopy(write)
            else:
                self.items.pop(write.key, None)

    def query(
        self, partition: str, *, prefix: str = "", newest_first: bool = False, limit: int | None = None
    ) -> list[Record]:
        keys = [key for key in self.items if key.partition == partition and key.sort.startswith(prefix)]
        keys.sort(key=lambda key: key.sort.encode(), reverse=newest_first)
        live = [record for key in keys if (record := self.get(key)) is not None]
        return live if limit is None else live[:limit]


def _holds(condition: Condition | None, found: Record | None) -> bool:
    if condition is None:
        return True
    if isinstance(condition, Absent):
        return found is None
    assert isinstance(condition, Matches)
    return found is not None and all(
        name in found.attributes and same(found.attributes[name], value) for name, value in condition.attributes.items()
    )


def same(left: object, right: object) -> bool:
    """Equality of type and value, all the way down: ``1``, ``1.0`` and ``True`` differ, as do ``0.0`` and ``-0.0``."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return left.hex() == right.hex()
    return left == right


class CountingTable:
    """Passes calls on to a table and counts them; ``fail`` is raised instead while it is set."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.calls: list[str] = []
        self.fail: Exception | None = None

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if self.fail is not None:
            raise self.fail

    def get(self, key: Key) -> Record | None:
        self._count("get")
        return self.table.get(key)

    def write(self, writes: Sequence[Write]) -> None:
        self._count("write")
        self.table.write(writes)

    def query(
        self, partition: str, *, prefix: str = "", newest_first: bool = False, limit: int | None = None
    ) -> list[Record]:
        self._count("query")
        return self.table.query(partition, prefix=prefix, newest_first=newest_first, limit=limit)


ODD_IDS = [
    "user_123",
    "a/b#c~seed",
    "~seed",
    " ",
    "\x00",
    "\x1f",
    "Zoë 漢字 🛒",
    "e\u0301",  # not the same id as "\u00e9"
    "\u00e9",
    "x" * 1_000,
    "🛒" * 1_000,
    "\x01" * 1_000,
    "../../etc/passwd",
    "'; DROP TABLE records; --",
]
"""Ids that shops and browsers may send."""
