"""Which table adapter the settings ask for. Composition roots call this; everything else is handed a table.

Put the choice of adapter and the connection's time limits here. Keep adapters in their own modules.
"""

from lambda_api.settings import Settings
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Table

STATE_FILE = "state.sqlite3"


def open_table(settings: Settings, name: str) -> Table:
    """The table ``name``: in ``<home>/state.sqlite3`` (target ``local``) or in DynamoDB, prefixed (target ``aws``).

    Opening touches neither file nor network; the first call on the table does. Open once and keep it: the table
    holds its connections.
    """
    if settings.target == "local":
        return SqliteTable(settings.home / STATE_FILE, name)
    # boto3 takes a tenth of a second to import and is not installed with the embedded default.
    import boto3
    from botocore.config import Config

    from lambda_api.state.dynamodb_table import DynamoDbTable

    # Short limits and one retry: a shopper is waiting, and the adapter repeats what is worth repeating.
    config = Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2})
    return DynamoDbTable(f"{settings.table_prefix}{name}", boto3.client("dynamodb", config=config))
