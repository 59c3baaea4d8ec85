"""The table port on Amazon DynamoDB.

An item is ``{partition: S, sort: S, attributes: M, expires_at: N?}``; the map keeps attribute names apart from ours.
Within it texts and whole numbers of up to 38 digits are DynamoDB's own S and N, so that consoles and state machines can
read and compare them. Everything else is ``{"M": {"json": {"S": <canonical JSON>}}}``: DynamoDB's numbers stop at 1e126
and cannot tell ``1.0`` from ``1`` or ``-0.0`` from ``0``, so a float64 stored as N would not come back as written.
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from lambda_api.state.encoding import EncodedAttributes, EncodedWrite, check_key, check_query, encode_writes
from lambda_api.state.table import ConditionFailed, Key, Record, TableUnavailable, Write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_T = TypeVar("_T")
Item = Mapping[str, Any]

MAX_ATTEMPTS = 8
FIRST_PAUSE_S = 0.025
LONGEST_PAUSE_S = 1.0
"""Full jitter: attempt ``n`` waits a uniform share of ``min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**n)`` (AWS Architecture
Blog, "Exponential Backoff And Jitter"). At most 2.6 s of waiting, half that on average."""

_TRANSIENT_ERRORS = frozenset(
    {
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_TRANSIENT_REASONS = frozenset({"TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"})
_LARGEST_N = 10**38 - 1


class DynamoDbTable:
    """One table of the port (`lambda_api.state.table.Table`) in the DynamoDB table ``name``.

    Reads are strongly consistent. Conditional writes and writes of several records go through ``TransactWriteItems``
    with a client token, so that a repetition after a lost reply is recognised.

    Args:
        name: the DynamoDB table's full name.
        client: a ``boto3.client("dynamodb")``; thread-safe, may be shared.
        clock: seconds since 1970 UTC, for expiry. DynamoDB deletes expired items late, so reads filter them.
        sleep, jitter: pause in seconds, and a draw from [0, 1); injectable for tests.
    """

    def __init__(
        self,
        name: str,
        client: "DynamoDBClient",
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    def get(self, key: Key) -> Record | None:
        """See `lambda_api.state.table.Table.get`."""
        check_key(key)
        response = self._retrying(
            lambda: self._client.get_item(TableName=self.name, Key=_encode_key(key), ConsistentRead=True)
        )
        attributes = self._live_attributes(response.get("Item"))
        return None if attributes is None else Record(key, attributes)

    def write(self, writes: Sequence[Write]) -> None:
        """See `lambda_api.state.table.Table.write`."""
        encoded = encode_writes(writes)
        if not encoded:
            return
        if len(encoded) == 1 and not encoded[0].must_be_absent and encoded[0].matches is None:
            self._write_one(encoded[0])
            return
        # Built once: repetitions under one client token must be identical, including the clock's time.
        actions: list[Any] = [self._action(write) for write in encoded]
        token = str(uuid.uuid4())
        try:
            self._retrying(lambda: self._client.transact_write_items(TransactItems=actions, ClientRequestToken=token))
        except ClientError as error:
            self._raise_condition_failed(error, encoded)
            raise

    def query(
        self, partition: str, *, prefix: str = "", newest_first: bool = False, limit: int | None = None
    ) -> list[Record]:
        """See `lambda_api.state.table.Table.query`."""
        check_query(partition, prefix, limit)
        request: dict[str, Any] = {
            "TableName": self.name,
            "ConsistentRead": True,
            "ScanIndexForward": not newest_first,
            "KeyConditionExpression": "#partition = :partition",
            "ExpressionAttributeNames": {"#partition": "partition"},
            "ExpressionAttributeValues": {":partition": {"S": partition}},
        }
        if prefix:
            request["KeyConditionExpression"] += " AND begins_with(#sort, :prefix)"
            request["ExpressionAttributeNames"]["#sort"] = "sort"
            request["ExpressionAttributeValues"][":prefix"] = {"S": prefix}
        records: list[Record] = []
        while limit is None or len(records) < limit:
            if limit is not None:
                request["Limit"] = limit - len(records)  # counts expired items too, hence the loop
            response = self._retrying(lambda: self._client.query(**request))
            records += [record for item in response["Items"] if (record := self._live_record(item))]
            last = response.get("LastEvaluatedKey")
            if not last:
                break
            request["ExclusiveStartKey"] = last
        return records

    def _write_one(self, write: EncodedWrite) -> None:
        if write.attributes is None:
            self._retrying(lambda: self._client.delete_item(TableName=self.name, Key=_encode_key(write.key)))
        else:
            self._retrying(lambda: self._client.put_item(TableName=self.name, Item=_encode_item(write)))

    def _action(self, write: EncodedWrite) -> dict[str, Any]:
        action: dict[str, Any] = {"TableName": self.name, **self._condition(write)}
        if write.attributes is None:
            return {"Delete": {**action, "Key": _encode_key(write.key)}}
        return {"Put": {**action, "Item": _encode_item(write)}}

    def _condition(self, write: EncodedWrite) -> dict[str, Any]:
        if not write.must_be_absent and write.matches is None:
            return {}
        names = {"#partition": "partition", "#expires_at": "expires_at"}
        values: dict[str, Any] = {":now": {"N": str(int(self._clock()))}}
        if write.must_be_absent:
            # True for an absent and for an expired item; comparisons with a missing attribute are false.
            expression = "attribute_not_exists(#partition) OR #expires_at <= :now"
        else:
            terms = ["attribute_exists(#partition)", "(attribute_not_exists(#expires_at) OR #expires_at > :now)"]
            for index, (name, text) in enumerate((write.matches or {}).items()):
                names["#attributes"] = "attributes"
                names[f"#a{index}"] = name
                values[f":v{index}"] = _encode_value(text)
                terms.append(f"#attributes.#a{index} = :v{index}")
            expression = " AND ".join(terms)
        return {
            "ConditionExpression": expression,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _raise_condition_failed(self, error: ClientError, writes: Sequence[EncodedWrite]) -> None:
        failed = [
            (write.key, reason)
            for write, reason in zip(writes, _cancellation_reasons(error), strict=False)
            if reason.get("Code") == "ConditionalCheckFailed"
        ]
        if failed:
            key, reason = failed[0]
            raise ConditionFailed(
                key, self._live_attributes(reason.get("Item")), keys=[k for k, _ in failed]
            ) from error

    def _live_record(self, item: Item) -> Record | None:
        attributes = self._live_attributes(item)
        return None if attributes is None else Record(Key(item["partition"]["S"], item["sort"]["S"]), attributes)

    def _live_attributes(self, item: Item | None) -> dict[str, Any] | None:
        if not item:
            return None
        expires_at = item.get("expires_at")
        if expires_at is not None and int(expires_at["N"]) <= self._clock():
            return None
        return {name: _decode_value(value) for name, value in item["attributes"]["M"].items()}

    def _retrying(self, call: Callable[[], _T]) -> _T:
        for attempt in range(MAX_ATTEMPTS):
            try:
                return call()
            except ClientError as error:
                self._explain_missing(error)
                if not _is_transient(error):
                    raise
                last = error
            except (HTTPClientError, BotoConnectionError) as error:
                # botocore has retried it already.
                raise TableUnavailable(
                    f"DynamoDB table {self.name!r} cannot be reached; a write may have happened all the same: {error}"
                ) from error
            if attempt + 1 < MAX_ATTEMPTS:
                self._sleep(self._jitter() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt))
        raise TableUnavailable(f"DynamoDB table {self.name!r} refused the call {MAX_ATTEMPTS} times: {last}") from last

    def _explain_missing(self, error: ClientError) -> None:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise TableUnavailable(
                f"DynamoDB table {self.name!r} does not exist in this account and region; create it with Terraform "
                "or correct RECSYS_TABLE_PREFIX and AWS_REGION"
            ) from error


def _encode_key(key: Key) -> dict[str, Any]:
    return {"partition": {"S": key.partition}, "sort": {"S": key.sort}}


def _encode_item(write: EncodedWrite) -> dict[str, Any]:
    attributes: EncodedAttributes = write.attributes or {}
    item = _encode_key(write.key)
    item["attributes"] = {"M": {name: _encode_value(text) for name, text in attributes.items()}}
    if write.expires_at is not None:
        item["expires_at"] = {"N": str(write.expires_at)}
    return item


def _encode_value(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_N:
        return {"N": text}
    return {"M": {"json": {"S": text}}}


def _decode_value(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "M":
        return json.loads(content["json"]["S"])
    if kind == "N":
        # Consoles and state machines may write fractions; this code writes whole numbers only.
        return int(content) if content.lstrip("-").isdigit() else float(content)
    return content


def _cancellation_reasons(error: ClientError) -> Sequence[Mapping[str, Any]]:
    response: Mapping[str, Any] = error.response
    reasons: Sequence[Mapping[str, Any]] = response.get("CancellationReasons", ())
    return reasons


def _is_transient(error: ClientError) -> bool:
    codes = {reason.get("Code") for reason in _cancellation_reasons(error)}
    if codes:
        # A failed condition is final; a conflict with another transaction is worth a retry.
        return "ConditionalCheckFailed" not in codes and bool(codes & _TRANSIENT_REASONS)
    return error.response["Error"]["Code"] in _TRANSIENT_ERRORS
