"""Whether an IAM action exists: operations of AWS's APIs as botocore describes them, and actions with other names.

Names that differ between API and IAM are from the Service Authorization Reference.
"""

from functools import cache

from botocore.loaders import Loader

FILES = {
    "budgets": "budgets",
    "elasticloadbalancing": "elbv2",
    "servicequotas": "service-quotas",
    "states": "stepfunctions",
}
"""IAM's name of a service -> botocore's, where they differ."""

SERVICES = {
    "apigatewayv2": "apigateway",
    "db": "rds",
    "lb": "elasticloadbalancing",
    "service_discovery": "servicediscovery",
    "sfn": "states",
    "kinesis_firehose": "firehose",
    "cloudwatch_event": "events",
    "cloudwatch_log": "logs",
    **dict.fromkeys(
        ("default", "eip", "flow", "internet", "nat", "route", "security", "subnet", "vpc"),
        "ec2",
    ),
}
"""First words of a resource's type -> IAM's name of its service, where they differ."""

NAMED_OTHERWISE = {
    "apigateway": {"DELETE", "GET", "PATCH", "POST", "PUT"},
    "budgets": {"ModifyBudget", "ViewBudget"},
    "dynamodb": {"ConditionCheckItem"},
    "ecr": {"BatchCheckLayerAvailability"},
    "iam": {"PassRole"},
    "kms": {"ReEncryptFrom", "ReEncryptTo"},
    "lambda": {"InvokeFunction", "TagResource"},
    "logs": {"CreateLogDelivery", "DeleteLogDelivery", "GetLogDelivery", "ListLogDeliveries", "UpdateLogDelivery"},
    "s3": {
        "DeleteObjectVersion", "GetAccelerateConfiguration", "GetBucketCORS", "GetBucketObjectLockConfiguration",
        "GetBucketPublicAccessBlock", "GetEncryptionConfiguration", "GetLifecycleConfiguration",
        "GetReplicationConfiguration", "ListBucket", "ListBucketMultipartUploads", "ListBucketVersions",
        "ListMultipartUploadParts", "PutBucketPublicAccessBlock", "PutEncryptionConfiguration",
        "PutLifecycleConfiguration",
    },
    "sagemaker": {"InvokeEndpoint"},
}  # fmt: skip
"""Actions that are no operation of the API."""


def known_action(action: str) -> bool:
    """Whether AWS has ``service:Action``."""
    service, _, name = action.partition(":")
    return name in _operations(FILES.get(service, service)) or name in NAMED_OTHERWISE.get(service, ())


def service_of(kind: str) -> str:
    """IAM's name of the service that makes resources of this type, such as ``aws_db_instance``."""
    words = kind.removeprefix("aws_")
    known = [word for word in SERVICES if f"{words}_".startswith(f"{word}_")]
    return SERVICES[max(known, key=len)] if known else words.partition("_")[0]


@cache
def _operations(service: str) -> frozenset[str]:
    try:
        return frozenset(Loader().load_service_model(service, "service-2")["operations"])
    except Exception as error:  # botocore's own error names neither the service nor what to do
        raise AssertionError(f"botocore knows no service {service!r}: correct the action or add it to FILES") from error
