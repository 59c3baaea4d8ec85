"""Records which role made which call: IAM action and resource, for every request of a deployed function or task.

Functions and tasks sign with the access key ``role-<name of their role>``. The action is read from the request as AWS
reads it: ``X-Amz-Target`` of JSON services, method and path of S3 and SageMaker. `tests.aws.policies` evaluates the
records against the rendered policies.
"""

import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

ROLE = "role-"
CREDENTIAL = re.compile(r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")

S3_OBJECT = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject", "DELETE": "DeleteObject"}
S3_BUCKET = {"GET": "ListBucket", "HEAD": "ListBucket", "POST": "DeleteObject", "PUT": "CreateBucket"}

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]
Call = tuple[str, str]
"""IAM action and ARN."""


def recording(application: WSGI, file: Path, account: str) -> WSGI:
    """``application`` that writes a JSON line ``[role, action, resource]`` for every call of a role, once.

    Calls of DynamoDB are answered one at a time: moto copies its tables during a transaction, and fails when another
    thread writes to them meanwhile.
    """
    seen: set[tuple[str, ...]] = set()
    lock, tables = threading.Lock(), threading.Lock()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if found and found["key"].startswith(ROLE):
            # Bodies of S3 may come in chunks, without a length, and tell nothing that the path does not.
            body = b""
            if found["service"] != "s3":
                body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                environ["wsgi.input"] = io.BytesIO(body)
            for call in calls_of(environ, body, found["service"], found["region"], account):
                line = (found["key"].removeprefix(ROLE), *call)
                with lock:
                    if line not in seen:
                        seen.add(line)
                        with file.open("a") as out:
                            print(json.dumps(line), file=out)
        if found and found["service"] == "dynamodb":
            with tables:
                return application(environ, start_response)
        return application(environ, start_response)

    return answer


def calls_of(environ: Mapping[str, Any], body: bytes, service: str, region: str, account: str) -> Iterator[Call]:
    """The IAM calls of one request."""
    method, path = environ["REQUEST_METHOD"], unquote(environ.get("PATH_INFO", "/"))
    if service == "s3":
        yield from _s3(method, path.lstrip("/"), environ.get("QUERY_STRING", ""))
    elif service == "sagemaker" and (endpoint := re.match(r"/endpoints/([^/]+)/invocations", path)):
        yield "sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{region}:{account}:endpoint/{endpoint[1]}"
    elif service == "monitoring":
        named = parse_qs(body.decode(errors="replace")).get("Action")
        operation = environ.get("HTTP_X_AMZ_TARGET", path).rpartition("/")[2].rpartition(".")[2]
        yield f"cloudwatch:{named[0] if named else operation}", "*"
    elif target := environ.get("HTTP_X_AMZ_TARGET"):
        operation = target.rpartition(".")[2]
        yield from _json(service, operation, json.loads(body or b"{}"), f"{region}:{account}")
    elif service == "sns" and (form := parse_qs(body.decode())):
        yield f"sns:{form['Action'][0]}", form.get("TopicArn", ["*"])[0]
    elif service not in ("sts", "xray"):
        yield f"{service}:{method} {path}", "*"


def _s3(method: str, path: str, query: str) -> Iterator[Call]:
    bucket, _, key = path.partition("/")
    if not key:
        yield f"s3:{S3_BUCKET[method]}", f"arn:aws:s3:::{bucket}"
        return
    action = "AbortMultipartUpload" if method == "DELETE" and "uploadId" in query else S3_OBJECT[method]
    yield f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}"


def _json(service: str, operation: str, body: Mapping[str, Any], here: str) -> Iterator[Call]:
    if service == "dynamodb" and operation == "TransactWriteItems":
        # IAM checks the members of a transaction, each as the operation of its own.
        members = {
            "Put": "PutItem",
            "Update": "UpdateItem",
            "Delete": "DeleteItem",
            "ConditionCheck": "ConditionCheckItem",
        }
        for item in body["TransactItems"]:
            ((kind, given),) = item.items()
            yield f"dynamodb:{members[kind]}", f"arn:aws:dynamodb:{here}:table/{given['TableName']}"
    elif service == "dynamodb" and "RequestItems" in body:
        for table in body["RequestItems"]:
            yield f"dynamodb:{operation}", f"arn:aws:dynamodb:{here}:table/{table}"
    elif service == "dynamodb":
        yield f"dynamodb:{operation}", f"arn:aws:dynamodb:{here}:table/{body['TableName']}"
    elif service == "sqs":
        yield f"sqs:{operation}", f"arn:aws:sqs:{here}:{body['QueueUrl'].rpartition('/')[2]}"
    elif service == "firehose":
        yield f"firehose:{operation}", f"arn:aws:firehose:{here}:deliverystream/{body['DeliveryStreamName']}"
    elif service == "kinesis":
        yield f"kinesis:{operation}", f"arn:aws:kinesis:{here}:stream/{body['StreamName']}"
    elif service == "states" and "stateMachineArn" in body:
        yield f"states:{operation}", body["stateMachineArn"]
    else:
        yield f"{service}:{operation}", "*"
