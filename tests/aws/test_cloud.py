"""The simulated cloud itself: what it runs and keeps, without Terraform."""

import gzip
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aws.cloud.deliveries import deliver_queues, deliver_stream
from tests.aws.cloud.front import Front, serving
from tests.aws.cloud.functions import may_mount
from tests.aws.stage import ACCOUNT, Journal, Stage, ask, cloud

ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"

CODE = """
import json, os, pathlib, sys

STARTED = {"count": 0}

def handler(event, context):
    STARTED["count"] += 1
    if event.get("Records"):
        bad = [r["messageId"] for r in event["Records"] if r["body"] == "bad"]
        return {"batchItemFailures": [{"itemIdentifier": i} for i in bad]}
    if event.get("fail"):
        raise ValueError("as ordered")
    if event.get("sleep"):
        import time
        time.sleep(event["sleep"])
    if event.get("type") == "REQUEST":
        return {"isAuthorized": event["identitySource"][0] == "right", "context": {"name": "n"}}
    if "routeKey" in event:
        return {"statusCode": 200, "body": json.dumps([event["routeKey"], event.get("pathParameters")])}
    pathlib.Path("/tmp/mine").write_text("x")
    return {
        "version": VERSION, "function": context.function_version, "count": STARTED["count"],
        "given": os.environ.get("GIVEN"), "home": os.environ.get("HOME"),
        "paths": [p for p in sys.path if "site-" in p],
    }
"""


def zipped(version: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("code.py", CODE.replace("VERSION", repr(version)))
        archive.writestr("main.py", CODE.replace("VERSION", repr(version)))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("cloud")
    with cloud(root, root, Journal(root / "journal.md")) as made:
        made.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
        functions = made.functions
        functions.create_function(
            FunctionName="f",
            Runtime="python3.13",
            Role=ROLE,
            Handler="main.handler",
            Timeout=1,
            Code={"ZipFile": zipped("one")},
            Environment={"Variables": {"GIVEN": "by Terraform"}},
            DeadLetterConfig={"TargetArn": f"arn:aws:sqs:eu-central-1:{ACCOUNT}:dead"},
            LoggingConfig={"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
            SnapStart={"ApplyOn": "PublishedVersions"},
            Publish=True,
        )
        functions.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        functions.update_function_code(FunctionName="f", ZipFile=zipped("two"), Publish=True)
        yield made


def invoke(stage: Stage, qualifier: str, **event: Any) -> tuple[Any, bool]:
    answer = stage.functions.invoke(FunctionName="f", Qualifier=qualifier, Payload=json.dumps(event))
    return json.loads(answer["Payload"].read()), "FunctionError" in answer


def test_the_version_behind_an_alias_runs_with_what_was_deployed_and_nothing_else(stage: Stage) -> None:
    first, error = invoke(stage, "live")
    assert not error
    assert (first["version"], first["function"], first["given"]) == ("one", "1", "by Terraform")
    assert first["home"] is None and first["paths"] == []
    assert invoke(stage, "live")[0]["count"] == first["count"] + 1, "the process stays"
    assert invoke(stage, "2")[0]["version"] == "two"
    stage.functions.update_alias(FunctionName="f", Name="live", FunctionVersion="2")
    assert invoke(stage, "live")[0]["version"] == "two"
    stage.functions.update_alias(FunctionName="f", Name="live", FunctionVersion="1")
    assert not may_mount() or not Path("/tmp/mine").exists(), "its /tmp is its own"


@pytest.mark.slow
def test_what_fails_and_what_takes_too_long_is_an_error(stage: Stage) -> None:
    said, error = invoke(stage, "1", fail=True)
    assert error and (said["errorType"], said["errorMessage"]) == ("ValueError", "as ordered")
    said, error = invoke(stage, "1", sleep=30)
    assert error and "timed out" in said["errorMessage"]
    assert invoke(stage, "1")[0]["count"] == 1, "a new process answers"


def test_functions_keep_what_they_were_given(stage: Stage) -> None:
    for qualifier in ("$LATEST", "1", "2"):
        kept = stage.functions.get_function_configuration(FunctionName="f", Qualifier=qualifier)
        assert kept["DeadLetterConfig"]["TargetArn"].endswith(":dead")
        assert kept["LoggingConfig"]["LogGroup"] == "/aws/lambda/f"
        assert kept["SnapStart"]["ApplyOn"] == "PublishedVersions"


def test_a_queue_hands_over_once_and_keeps_what_failed(stage: Stage) -> None:
    sqs = stage.client("sqs")
    url = sqs.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    alias = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:f:live"
    made = stage.functions.create_event_source_mapping(
        EventSourceArn=f"arn:aws:sqs:eu-central-1:{ACCOUNT}:q", FunctionName=alias, BatchSize=10
    )
    assert made["FunctionArn"] == alias
    for body in ("good", "bad", "good"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    (batch,) = deliver_queues(stage.functions, sqs)
    assert (batch["messages"], batch["failed"], batch["error"]) == (3, 1, None)
    (batch,) = deliver_queues(stage.functions, sqs)
    assert (batch["messages"], batch["failed"]) == (1, 1)
    statement = {"Sid": "s", "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedriveAllowPolicy": "{}"})
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy", "RedriveAllowPolicy"])["Attributes"]
    assert set(found) == {"Policy", "RedriveAllowPolicy"}


def test_a_stream_arrives_where_the_delivery_stream_says(stage: Stage) -> None:
    kinesis, firehose, s3 = (stage.client(name) for name in ("kinesis", "firehose", "s3"))
    kinesis.create_stream(StreamName="s", ShardCount=1)
    s3.create_bucket(Bucket="bucket-of-events", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    parameter = {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{kind:.kind}"}
    firehose.create_delivery_stream(
        DeliveryStreamName="d",
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={
            "KinesisStreamARN": f"arn:aws:kinesis:eu-central-1:{ACCOUNT}:stream/s",
            "RoleARN": ROLE,
        },
        ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE,
            "BucketARN": "arn:aws:s3:::bucket-of-events",
            "Prefix": "in/!{partitionKeyFromQuery:kind}/",
            "ErrorOutputPrefix": "out/!{firehose:error-output-type}/",
            "CompressionFormat": "GZIP",
            "FileExtension": ".gz",
            "ProcessingConfiguration": {
                "Enabled": True,
                "Processors": [{"Type": "MetadataExtraction", "Parameters": [parameter]}],
            },
        },
    )
    for line in (b'{"kind":"a","n":1}\n', b'{"kind":"b"}\n', b"no JSON\n", b'{"kind":"a","n":2}\n'):
        kinesis.put_record(StreamName="s", Data=line, PartitionKey="p")
    written = deliver_stream("d", firehose, kinesis, s3)
    assert sorted((key.rsplit("/", 1)[0], count) for key, count in written.items()) == [
        ("in/a", 2), ("in/b", 1), ("out/metadata-extraction-failed", 1),
    ]  # fmt: skip
    (key,) = [key for key in written if key.startswith("in/a/")]
    lines = gzip.decompress(s3.get_object(Bucket="bucket-of-events", Key=key)["Body"].read()).splitlines()
    assert [json.loads(line)["n"] for line in lines] == [1, 2]


def test_the_front_obeys_what_was_deployed(stage: Stage) -> None:
    gateway = stage.client("apigatewayv2")
    api = gateway.create_api(Name="a", ProtocolType="HTTP")["ApiId"]
    uri = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/{}/invocations".format(
        f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:f:live"
    )
    integration = gateway.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=uri, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    authorizer = gateway.create_authorizer(
        ApiId=api,
        Name="key",
        AuthorizerType="REQUEST",
        AuthorizerUri=uri,
        AuthorizerPayloadFormatVersion="2.0",
        EnableSimpleResponses=True,
        AuthorizerResultTtlInSeconds=1,
        IdentitySource=["$request.header.x-key", "$context.routeKey"],
    )["AuthorizerId"]
    for key in ("GET /open/{name}", "GET /all/{name+}", "POST /shut", "$default"):
        protection = {"AuthorizationType": "CUSTOM", "AuthorizerId": authorizer} if "shut" in key else {}
        gateway.create_route(ApiId=api, RouteKey=key, Target=f"integrations/{integration}", **protection)
    gateway.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    with serving(Front(api, gateway, stage.functions)) as front:

        def asked(method: str, path: str, **headers: str) -> tuple[int, Any]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = ask(method, front.url + path, named)
            return answer.status, json.loads(answer.body)

        assert asked("GET", "/open/a%20b") == (200, ["GET /open/{name}", {"name": "a b"}])
        assert asked("GET", "/all/a/b") == (200, ["GET /all/{name+}", {"name": "a/b"}])
        assert asked("GET", "/open/a/b") == (200, ["$default", None])
        assert asked("POST", "/shut")[0] == 401 and len(front.invocations) == 3, "nobody is asked without a key"
        assert asked("POST", "/shut", x_key="wrong")[0] == 403
        assert asked("POST", "/shut", x_key="right") == (200, ["POST /shut", None])
        before = len(front.invocations)
        assert asked("POST", "/shut", x_key="right")[0] == 200 and len(front.invocations) == before + 1
        time.sleep(1.1)
        assert asked("POST", "/shut", x_key="right")[0] == 200 and len(front.invocations) == before + 3
