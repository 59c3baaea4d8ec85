"""Opens a table with the adapter of the settings. Called by composition roots; other code is given a table."""

import time
from collections.abc import Callable

from lambda_api.settings import Settings
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Table

STATE_FILE = "state.sqlite3"


def open_table(
    settings: Settings, name: str, *, patience_s: float | None = None, clock: Callable[[], float] = time.time
) -> Table:
    """The table ``name``: in ``<home>/state.sqlite3`` (target ``local``) or in DynamoDB, prefixed (target ``aws``).

    Opening does not use file or network; the first call does. Open once and keep it: the table holds its connections.

    Args:
        patience_s: about how long a call may wait before `lambda_api.state.table.TableUnavailable`: for another
            process's write (SQLite), or for connection and reply (DynamoDB). Default: 30 s for SQLite, which suits a
            pipeline, and 3 s for DynamoDB. Serving passes less.
        clock: seconds since 1970 UTC, for expiry.
    """
    if settings.target == "local":
        path = settings.home / STATE_FILE
        return SqliteTable(path, name, clock=clock, busy_timeout_s=30.0 if patience_s is None else patience_s)
    # boto3 is slow to import and is not needed with the target ``local``.
    import boto3
    from botocore.config import Config

    from lambda_api.state.dynamodb_table import DynamoDbTable

    # Short limits and one retry: a shopper may be waiting, and the adapter retries transient errors.
    connect_s, read_s = (1.0, 3.0) if patience_s is None else (min(1.0, patience_s), patience_s)
    config = Config(
        connect_timeout=connect_s, read_timeout=read_s, retries={"mode": "standard", "total_max_attempts": 2}
    )
    return DynamoDbTable(f"{settings.table_prefix}{name}", boto3.client("dynamodb", config=config), clock=clock)
