"""What only DynamoDB can get wrong: throttling, conflicts, lost replies, pages, stale reads, its form of an item."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ReadTimeoutError
from mypy_boto3_dynamodb import DynamoDBClient

from lambda_api.state.dynamodb_table import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_ATTEMPTS,
    DynamoDbTable,
)
from lambda_api.state.table import Absent, ConditionFailed, Delete, Key, Matches, Put, TableUnavailable
from tests.state.created_table import create_dynamodb_table
from tests.state.tables import Clock, fake_dynamodb

KEY = Key("pointer", "champion")
THROTTLED = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}


def cancelled(*codes: str) -> dict[str, Any]:
    reasons = [{"Code": code, "Message": "x"} for code in codes]
    return {"Error": {"Code": "TransactionCanceledException", "Message": "cancelled"}, "CancellationReasons": reasons}


class Service:
    """Sits between client and simulated service: records every request and fails those it was told to."""

    def __init__(self, client: DynamoDBClient) -> None:
        self.client = client
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[dict[str, Any] | Exception] = []
        self.on_failure: list[Any] = []
        client.meta.events.register("before-call.dynamodb", self._handle)

    def _handle(self, model: Any, params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]] | None:
        self.requests.append((model.name, json.loads(params["body"])))
        if not self.failures:
            return None
        failure = self.failures.pop(0)
        for action in self.on_failure:
            action()
        if isinstance(failure, Exception):
            raise failure
        return AWSResponse("", 400, {}, None), failure

    def names(self) -> list[str]:
        return [name for name, _ in self.requests]


@pytest.fixture
def service() -> Iterator[Service]:
    with fake_dynamodb() as client:
        create_dynamodb_table(client, "state")
        yield Service(client)


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(service: Service, pauses: list[float], clock: Clock) -> DynamoDbTable:
    return DynamoDbTable("state", service.client, clock=clock, sleep=pauses.append, jitter=lambda: 0.5)


@pytest.mark.parametrize(
    "failure",
    [
        THROTTLED,
        {"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}},
        {"Error": {"Code": "TransactionInProgressException", "Message": ""}},
        {"Error": {"Code": "InternalServerError", "Message": ""}},
        cancelled("None", "TransactionConflict"),
        cancelled("ThrottlingError", "None"),
        cancelled("ProvisionedThroughputExceeded", "TransactionConflict"),
    ],
    ids=str,
)
def test_passing_trouble_is_tried_again(
    table: DynamoDbTable, service: Service, pauses: list[float], failure: dict[str, Any]
) -> None:
    service.failures = [failure] * 3
    table.write([Put(KEY, {"n": 1}, condition=Absent()), Put(Key("history", "1"), {})])
    assert service.names() == ["TransactWriteItems"] * 4
    assert pauses == [0.5 * FIRST_PAUSE_S, FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]
    record = table.get(KEY)
    assert record is not None
    assert record.attributes == {"n": 1}


def test_trying_again_ends(table: DynamoDbTable, service: Service, pauses: list[float]) -> None:
    service.failures = [THROTTLED] * 100
    calls = [lambda: table.get(KEY), lambda: table.query("p"), lambda: table.write([Put(KEY, {})])]
    for call in calls:
        service.requests.clear()
        with pytest.raises(TableUnavailable, match=f"table 'state' refused the call {MAX_ATTEMPTS} times"):
            call()
        assert len(service.requests) == MAX_ATTEMPTS
    assert len(pauses) == 3 * (MAX_ATTEMPTS - 1)
    assert max(pauses) <= LONGEST_PAUSE_S
    assert sum(pauses) / 3 == pytest.approx(0.5 * (0.025 + 0.05 + 0.1 + 0.2 + 0.4 + 0.8 + 1.0))


def test_repetitions_are_one_request_to_the_service(table: DynamoDbTable, service: Service, clock: Clock) -> None:
    """Equal token and content, though time passes: DynamoDB then recognises a write whose reply was lost."""

    def a_minute_passes() -> None:
        clock.now += 60

    service.on_failure.append(a_minute_passes)
    service.failures = [{"Error": {"Code": "InternalServerError", "Message": ""}}] * 2
    table.write([Put(KEY, {"n": 1}, condition=Absent(), expires_at=2_000_000_000)])
    table.write([Put(KEY, {"n": 2}, condition=Matches({"n": 1}))])
    first, *repetitions, other = [body for _, body in service.requests]
    assert repetitions == [first, first]
    assert other["ClientRequestToken"] != first["ClientRequestToken"]


def test_a_failed_condition_is_an_answer_even_beside_a_conflict(table: DynamoDbTable, service: Service) -> None:
    service.failures = [cancelled("TransactionConflict", "ConditionalCheckFailed")]
    with pytest.raises(ConditionFailed) as failure:
        table.write([Put(KEY, {}), Put(Key("a", "b"), {}, condition=Absent())])
    assert failure.value.key == Key("a", "b")
    assert service.names() == ["TransactWriteItems"]


@pytest.mark.parametrize(
    "failure", [cancelled("ValidationError"), {"Error": {"Code": "AccessDeniedException", "Message": "no"}}], ids=str
)
def test_other_errors_are_not_hidden(table: DynamoDbTable, service: Service, failure: dict[str, Any]) -> None:
    service.failures = [failure]
    with pytest.raises(ClientError) as raised:
        table.write([Put(KEY, {}, condition=Absent())])
    assert raised.value.response["Error"]["Code"] == failure["Error"]["Code"]
    assert len(service.requests) == 1


def test_an_unreachable_service_is_told_from_a_refusal(table: DynamoDbTable, service: Service) -> None:
    service.failures = [ReadTimeoutError(endpoint_url="http://dynamodb")]
    with pytest.raises(TableUnavailable, match="'state' cannot be reached; a write may have happened"):
        table.write([Put(KEY, {}, condition=Absent())])
    assert len(service.requests) == 1


def test_a_missing_table_is_named_with_the_remedy(service: Service) -> None:
    with pytest.raises(TableUnavailable, match=r"'staging-registry' does not exist .* RECSYS_TABLE_PREFIX"):
        DynamoDbTable("staging-registry", service.client).get(KEY)


def test_every_read_is_strongly_consistent(table: DynamoDbTable, service: Service) -> None:
    table.get(KEY)
    table.query("p", prefix="a", limit=3)
    assert [(name, body["ConsistentRead"]) for name, body in service.requests] == [("GetItem", True), ("Query", True)]


def test_only_writes_that_need_it_pay_for_a_transaction(table: DynamoDbTable, service: Service) -> None:
    table.write([Put(KEY, {"n": 1})])
    table.write([Delete(KEY)])
    table.write([Put(KEY, {"n": 1}, condition=Absent())])
    table.write([Delete(KEY, condition=Matches({}))])
    table.write([Put(KEY, {}), Delete(Key("a", "b"))])
    table.write([])
    assert service.names() == ["PutItem", "DeleteItem", *["TransactWriteItems"] * 3]


def test_pages_are_followed_to_the_end_and_no_further(table: DynamoDbTable, service: Service, clock: Clock) -> None:
    for n in range(12):
        expired = n in (1, 2, 3, 4)
        table.write([Put(Key("p", f"{n:02d}"), {"n": n}, expires_at=int(clock.now) - 1 if expired else None)])
    service.requests.clear()
    assert [record.attributes["n"] for record in table.query("p", limit=4)] == [0, 5, 6, 7]
    # 4 read: 0 and three expired; 3 more wanted: 4 expired, 5, 6; 1 more wanted: 7.
    assert [body["Limit"] for _, body in service.requests] == [4, 3, 1]


def test_items_are_readable_to_other_tools(table: DynamoDbTable, service: Service) -> None:
    table.write([Put(KEY, {"version": "v1.0.0", "revision": 3, "share": 0.5, "on": True}, expires_at=2_000_000_000)])
    item = service.client.get_item(TableName="state", Key={"partition": {"S": "pointer"}, "sort": {"S": "champion"}})[
        "Item"
    ]
    assert item == {
        "partition": {"S": "pointer"},
        "sort": {"S": "champion"},
        "attributes": {
            "M": {
                "version": {"S": "v1.0.0"},
                "revision": {"N": "3"},
                "share": {"M": {"json": {"S": "0.5"}}},
                "on": {"M": {"json": {"S": "true"}}},
            }
        },
        "expires_at": {"N": "2000000000"},
    }


def test_numbers_written_by_other_tools_are_read(table: DynamoDbTable, service: Service) -> None:
    attributes = {"M": {"whole": {"N": "-7"}, "part": {"N": "0.25"}, "flag": {"BOOL": True}}}
    service.client.put_item(
        TableName="state", Item={"partition": {"S": "pointer"}, "sort": {"S": "champion"}, "attributes": attributes}
    )
    record = table.get(KEY)
    assert record is not None
    assert record.attributes == {"whole": -7, "part": 0.25, "flag": True}


def test_tables_expire_records_by_themselves(service: Service) -> None:
    described = service.client.describe_time_to_live(TableName="state")["TimeToLiveDescription"]
    assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
    assert service.client.describe_table(TableName="state")["Table"]["BillingModeSummary"] == {
        "BillingMode": "PAY_PER_REQUEST"
    }
