"""Deliveries from a queue to a function, and from a stream to a bucket, done once when a test asks for it.

They stand for the services that poll, Lambda's event source mappings and Firehose, with the deployed configuration. Not
in the background, so that a test knows when something has been delivered.
"""

import gzip
import json
import re
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any


def deliver_queues(functions: Any, queues: Any) -> list[dict[str, Any]]:
    """Poll the queue of every event source mapping once and hand its messages over as one batch.

    Messages that the function reports as failed stay (``ReportBatchItemFailures``); the others are deleted.

    Returns:
        One entry for each batch: ``function``, ``messages``, ``failed``, ``error``.
    """
    done = []
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        arn = mapping["EventSourceArn"]
        if ":sqs:" not in arn or mapping["State"] != "Enabled":
            continue
        url = queues.get_queue_url(QueueName=arn.rsplit(":", 1)[1])["QueueUrl"]
        limit = min(10, mapping["BatchSize"])
        messages = queues.receive_message(
            QueueUrl=url, MaxNumberOfMessages=limit, AttributeNames=["All"], WaitTimeSeconds=0
        ).get("Messages", [])
        if not messages:
            continue
        answer = functions.invoke(
            FunctionName=mapping["FunctionArn"],
            Payload=json.dumps({"Records": [_record(message, arn) for message in messages]}),
        )
        said = json.loads(answer["Payload"].read() or b"null")
        error = said if "FunctionError" in answer else None
        failed = (
            {one["itemIdentifier"] for one in (said or {}).get("batchItemFailures", ())} if error is None else set()
        )
        for message in messages:
            if error is None and message["MessageId"] not in failed:
                queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        done.append(
            {"function": mapping["FunctionArn"], "messages": len(messages), "failed": len(failed), "error": error}
        )
    return done


def deliver_stream(name: str, firehose: Any, kinesis: Any, s3: Any) -> dict[str, int]:
    """Write every record of the Kinesis source of delivery stream ``name`` to its bucket, as configured there.

    Understood are what this project configures: one JSON query of the form ``{key:.field}``, ``!{partitionKeyFromQuery:
    key}`` and ``!{timestamp:yyyy-MM-dd}`` in prefixes, GZIP. A record the query fails on goes under the error prefix.

    Returns:
        Object key -> number of records in it.
    """
    described = firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
    source = described["Source"]["KinesisStreamSourceDescription"]["KinesisStreamARN"]
    target = described["Destinations"][0]["ExtendedS3DestinationDescription"]
    assert target["CompressionFormat"] == "GZIP", target
    bucket = target["BucketARN"].rsplit(":", 1)[1]
    written = {}
    for name_of_object, lines in placed(name, target, _records(source, kinesis)).items():
        s3.put_object(Bucket=bucket, Key=name_of_object, Body=gzip.compress(b"".join(lines)))
        written[name_of_object] = len(lines)
    return written


def placed(name: str, target: dict[str, Any], records: list[bytes]) -> dict[str, list[bytes]]:
    """Records by the key of the object that delivery stream ``name`` writes them to; see `deliver_stream`."""
    key, field = _query(target)
    day = datetime.now(UTC).date().isoformat()
    batches: dict[str, list[bytes]] = defaultdict(list)
    for data in records:
        try:
            value = json.loads(data)[field]
            prefix = target["Prefix"].replace(f"!{{partitionKeyFromQuery:{key}}}", str(value))
        except (ValueError, KeyError, TypeError):
            prefix = target["ErrorOutputPrefix"].replace("!{firehose:error-output-type}", "metadata-extraction-failed")
        batches[prefix.replace("!{timestamp:yyyy-MM-dd}", day)].append(data)
    assert not [prefix for prefix in batches if "!{" in prefix], f"Firehose does not know {sorted(batches)}"
    return {
        f"{prefix}{name}-1-{uuid.uuid4()}{target.get('FileExtension', '')}": lines for prefix, lines in batches.items()
    }


def _record(message: dict[str, Any], arn: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": arn.split(":")[3],
    }


def _query(target: dict[str, Any]) -> tuple[str, str]:
    for processor in target["ProcessingConfiguration"]["Processors"]:
        for parameter in processor["Parameters"]:
            if parameter["ParameterName"] == "MetadataExtractionQuery":
                found = re.fullmatch(r"\{(\w+):\.(\w+)\}", parameter["ParameterValue"])
                assert found, f"not understood here: {parameter['ParameterValue']}"
                return found[1], found[2]
    raise AssertionError("the delivery stream extracts nothing, and its prefix needs a kind")


def _records(source: str, kinesis: Any) -> list[bytes]:
    stream = source.rsplit("/", 1)[1]
    found = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found += [record["Data"] for record in kinesis.get_records(ShardIterator=iterator)["Records"]]
    return found
