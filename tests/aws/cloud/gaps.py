"""Calls that the provider and the commands make and that moto (5.2) does not answer, or answers otherwise than AWS."""

import copy
import gzip
import json
import uuid
from collections import defaultdict
from typing import Any

from moto.awslambda import urls as lambda_urls
from moto.awslambda.responses import LambdaResponse
from moto.budgets.models import BudgetsBackend
from moto.budgets.responses import BudgetsResponse
from moto.cloudfront import urls as cloudfront_urls
from moto.cloudfront.responses import CloudFrontResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.dynamodb.models.table import Table
from moto.firehose.models import FirehoseBackend
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, FakeDeleteMarker, S3Backend, s3_backends
from moto.sqs.models import Queue
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.responses import StepFunctionResponse

from tests.aws.cloud.deliveries import placed


def close_gaps() -> None:
    """Add every missing call to moto, in this process."""
    _state_machines()
    _buckets()
    _queues()
    _budgets()
    _response_headers_policies()
    _deliveries()
    _account_settings()
    _transactions()


def _transactions() -> None:
    """What a transaction may have to restore is which items a table has.

    moto copies the whole table with every item's content, once for every write of the transaction, which takes seconds
    for a thousand records. Items are replaced and never changed, by puts and deletes, which is all the project does.
    """

    def copied(self: Table, memo: dict[int, Any]) -> Table:
        made = copy.copy(self)
        made.items = defaultdict(dict)
        made.items.update({key: dict(one) if isinstance(one, dict) else one for key, one in self.items.items()})
        return made

    Table.__deepcopy__ = copied


def _deliveries() -> None:
    """Records put into a delivery stream directly arrive at once, by its prefixes and compressed."""

    def put(
        self: FirehoseBackend, name: str, version: str, target: dict[str, Any], records: list[dict[str, bytes]]
    ) -> list[dict[str, str]]:
        bucket = s3_backends[self.account_id][self.partition]
        for key, batch in placed(name, target, [record["Data"] for record in records]).items():
            bucket.put_object(target["BucketARN"].rsplit(":", 1)[1], key, gzip.compress(b"".join(batch)))
        return [{"RecordId": str(uuid.uuid4())} for _ in records]

    FirehoseBackend.put_s3_records = put


def _account_settings() -> None:
    """The limits of a new account."""

    def settings(self: LambdaResponse) -> str:
        return json.dumps({"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}})

    LambdaResponse.get_account_settings = settings
    lambda_urls.url_paths[r"{0}/(?P<api_version>[^/]+)/account-settings/?$"] = LambdaResponse.dispatch


def _state_machines() -> None:
    """Definitions are validated by moto's own parser, which its server never offers; there are no versions."""

    def validate(self: StepFunctionResponse) -> ActionResult:
        definition = self._get_param("definition")
        try:
            StepFunctionsParserBackend._validate_definition(definition)
        except Exception as error:  # noqa: BLE001 - whatever the parser dislikes is the answer
            found = [{"severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "message": str(error)}]
            return ActionResult({"result": "FAIL", "diagnostics": found})
        return ActionResult({"result": "OK", "diagnostics": []})

    StepFunctionResponse.validate_state_machine_definition = validate
    StepFunctionResponse.list_state_machine_versions = lambda self: ActionResult({"stateMachineVersions": []})


def _buckets() -> None:
    """Bucket policies are kept and not enforced: moto knows no conditions, so "deny without TLS" would deny all.

    And marks of deleted objects can be removed by the hundred, as whoever empties a bucket does. Access logs arrive
    within hours on AWS; moto writes an object for every request at once, and there are thousands.
    """
    FakeDeleteMarker.dispose = lambda self, garbage=False: None
    S3Backend.log_incoming_request = lambda self, request, bucket_name: None
    FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL


def _queues() -> None:
    """SetQueueAttributes changes what it names and nothing else, and keeps who may send dead letters."""
    set_attributes = Queue._set_attributes

    def set_named(self: Queue, attributes: dict[str, Any], now: float | None = None) -> None:
        policy = getattr(self, "policy", None)
        set_attributes(self, attributes, now)
        if "Policy" not in attributes:
            self.policy = policy
        # An empty one is none: so it is deleted.
        self.redrive_allow_policy = self.redrive_allow_policy or None

    Queue._set_attributes = set_named
    Queue.redrive_allow_policy = None
    Queue.BASE_ATTRIBUTES.append("RedriveAllowPolicy")


def _budgets() -> None:
    """Who is told of a budget."""

    def subscribers(self: BudgetsResponse) -> str:
        backend: BudgetsBackend = self.backend
        budget = backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
        wanted = self._get_param("Notification")
        same = ("NotificationType", "ComparisonOperator", "Threshold")
        for kept in budget.notifications:
            if all(kept.details.get(name) == wanted.get(name) for name in same):
                return json.dumps({"Subscribers": kept.subscribers})
        return json.dumps({"Subscribers": []})

    BudgetsResponse.describe_subscribers_for_notification = subscribers


def _response_headers_policies() -> None:
    """CloudFront's policies of response headers: made, read, changed, deleted."""
    kept: dict[str, dict[str, Any]] = {}

    def described(policy: dict[str, Any]) -> ActionResult:
        return ActionResult({"ResponseHeadersPolicy": policy, "ETag": policy["Id"], "Location": ""})

    def create(self: CloudFrontResponse) -> ActionResult:
        policy = {
            "Id": str(uuid.uuid4()),
            "LastModifiedTime": "2026-01-01T00:00:00Z",
            "ResponseHeadersPolicyConfig": self._get_param("ResponseHeadersPolicyConfig", {}),
        }
        kept[policy["Id"]] = policy
        return described(policy)

    def get(self: CloudFrontResponse) -> ActionResult:
        return described(kept[self._get_param("Id")])

    def update(self: CloudFrontResponse) -> ActionResult:
        policy = kept[self._get_param("Id")]
        policy["ResponseHeadersPolicyConfig"] = self._get_param("ResponseHeadersPolicyConfig", {})
        return described(policy)

    def delete(self: CloudFrontResponse) -> ActionResult:
        del kept[self._get_param("Id")]
        return EmptyResult()

    CloudFrontResponse.create_response_headers_policy = create
    CloudFrontResponse.get_response_headers_policy = get
    CloudFrontResponse.update_response_headers_policy = update
    CloudFrontResponse.delete_response_headers_policy = delete
    for path in ("response-headers-policy$", "response-headers-policy/(?P<policy_id>[^/]+)$"):
        cloudfront_urls.url_paths[f"{{0}}/2020-05-31/{path}"] = CloudFrontResponse.dispatch
