"""A table of DynamoDB, where there is no Terraform to create it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def create_dynamodb_table(client: "DynamoDBClient", name: str) -> None:
    """Create a table for `DynamoDbTable`, as Terraform does in an account.

    On-demand billing, ``partition`` and ``sort`` as string keys, time to live on ``expires_at``. Raises
    ``ClientError`` (``ResourceInUseException``) when there is one already.
    """
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "partition", "KeyType": "HASH"}, {"AttributeName": "sort", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "partition", "AttributeType": "S"},
            {"AttributeName": "sort", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    client.get_waiter("table_exists").wait(TableName=name)
    client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"})
