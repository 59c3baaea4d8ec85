"""Keeps arguments that moto accepts and forgets, so that a second plan of the whole stack is empty, as on AWS.

Calls that moto lacks are in ``gaps``.
"""

import json
from typing import Any

from moto.awslambda.models import EventSourceMapping, LambdaFunction
from moto.budgets.responses import BudgetsResponse
from moto.cloudfront.models import CacheBehaviour, DefaultCacheBehaviour, Origin, ViewerCertificate
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.kinesis.responses import KinesisResponse
from moto.sqs.models import Queue

FORGOTTEN_OF_FUNCTIONS = ("DeadLetterConfig", "LoggingConfig", "SnapStart")


def remember() -> None:
    """Make moto keep them, in this process."""
    _functions()
    _event_source_mappings()
    _tables()
    _budgets()
    _queues()
    _distributions()
    _streams()
    _security_group_rules()


def _functions() -> None:
    init, update, described = (
        LambdaFunction.__init__,
        LambdaFunction.update_configuration,
        LambdaFunction.get_configuration,
    )

    def make(self: LambdaFunction, account_id: str, spec: dict[str, Any], *more: Any, **named: Any) -> None:
        init(self, account_id, spec, *more, **named)
        self.kept = {name: spec[name] for name in FORGOTTEN_OF_FUNCTIONS if spec.get(name)}

    def change(self: LambdaFunction, changes: dict[str, Any]) -> dict[str, Any]:
        self.kept = self.kept | {name: changes[name] for name in FORGOTTEN_OF_FUNCTIONS if name in changes}
        answer: dict[str, Any] = update(self, changes)
        return answer

    def describe(self: LambdaFunction, *arguments: Any, **named: Any) -> dict[str, Any]:
        return {**described(self, *arguments, **named), **getattr(self, "kept", {})}

    LambdaFunction.__init__ = make
    LambdaFunction.update_configuration = change
    LambdaFunction.get_configuration = describe


def _event_source_mappings() -> None:
    described = EventSourceMapping.get_configuration

    def describe(self: EventSourceMapping) -> dict[str, Any]:
        # The alias it was made for, not the version that the alias pointed to then.
        given = self.function_name if self.function_name.startswith("arn:") else self.function_arn
        return {**described(self), "FunctionArn": given}

    EventSourceMapping.get_configuration = describe


def _tables() -> None:
    described, create, update = Table.describe, DynamoHandler.create_table, DynamoHandler.update_table

    def describe(self: Table, *arguments: Any, **named: Any) -> dict[str, Any]:
        found: dict[str, Any] = described(self, *arguments, **named)
        if kept := getattr(self, "on_demand_throughput", None):
            found[next(iter(found))]["OnDemandThroughput"] = kept
        return found

    def keep(self: DynamoHandler) -> None:
        if "OnDemandThroughput" in self.body:
            self.dynamodb_backend.get_table(self.body["TableName"]).on_demand_throughput = self.body[
                "OnDemandThroughput"
            ]

    def make(self: DynamoHandler) -> Any:
        answer = create(self)
        keep(self)
        return answer

    def change(self: DynamoHandler) -> Any:
        answer = update(self)
        keep(self)
        return answer

    Table.describe = describe
    DynamoHandler.create_table = make
    DynamoHandler.update_table = change


def _budgets() -> None:
    kept: dict[str, dict[str, str]] = {}
    create = BudgetsResponse.create_budget

    def make(self: BudgetsResponse) -> str:
        answer: str = create(self)
        name = self._get_param("Budget")["BudgetName"]
        kept[name] = {one["Key"]: one["Value"] for one in self._get_param("ResourceTags") or ()}
        return answer

    def name_of(self: BudgetsResponse) -> str:
        return str(self._get_param("ResourceARN")).rsplit("/", 1)[1]

    def listed(self: BudgetsResponse) -> str:
        tags = kept.get(name_of(self), {})
        return json.dumps({"ResourceTags": [{"Key": key, "Value": value} for key, value in tags.items()]})

    def tag(self: BudgetsResponse) -> str:
        kept.setdefault(name_of(self), {}).update({one["Key"]: one["Value"] for one in self._get_param("ResourceTags")})
        return "{}"

    BudgetsResponse.create_budget = make
    BudgetsResponse.list_tags_for_resource = listed
    BudgetsResponse.tag_resource = tag


def _queues() -> None:
    """AWS writes a redrive policy without blanks."""
    attributes = Queue.attributes.fget

    def compact(self: Queue) -> dict[str, Any]:
        found: dict[str, Any] = attributes(self)
        if policy := found.get("RedrivePolicy"):
            found["RedrivePolicy"] = json.dumps(json.loads(policy), separators=(",", ":"))
        return found

    Queue.attributes = property(compact)


def _distributions() -> None:
    """What nobody gave stays away: forwarded values beside a cache policy, a shield, certificates."""
    for kind in (DefaultCacheBehaviour, CacheBehaviour):

        def behave(self: Any, config: dict[str, Any], init: Any = kind.__init__) -> None:
            init(self, config)
            if self.cache_policy_id:
                self.forwarded_values = None

        kind.__init__ = behave
    make_origin, make_certificate = Origin.__init__, ViewerCertificate.__init__

    def origin(self: Origin, given: dict[str, Any]) -> None:
        shielded = "OriginShield" in given
        make_origin(self, given)
        self.origin_access_control_id = given.get("OriginAccessControlId")
        if not shielded:
            self.origin_shield = None

    def certificate(self: ViewerCertificate, given: dict[str, Any]) -> None:
        make_certificate(self, given)
        self.iam_certificate_id = self.iam_certificate_id or None
        self.acm_certificate_arn = self.acm_certificate_arn or None

    Origin.__init__ = origin
    ViewerCertificate.__init__ = certificate


def _streams() -> None:
    """Tags that a stream is made with."""
    create = KinesisResponse.create_stream

    def make(self: KinesisResponse) -> Any:
        answer = create(self)
        tags = self._get_param("Tags") or {}
        self.kinesis_backend.add_tags_to_stream(None, self._get_param("StreamName"), tags)
        return answer

    KinesisResponse.create_stream = make


def _security_group_rules() -> None:
    """What is said about rules to groups and prefix lists; moto keeps it of addresses alone."""

    init = SecurityGroupRule.__init__

    def make(self: SecurityGroupRule, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        ends = [end for end in (*arguments, *named.values()) if isinstance(end, dict)]
        self.said = next((end["Description"] for end in ends if end.get("Description")), None)

    SecurityGroupRule.__init__ = make
    SecurityGroupRule.description = property(lambda self: self.ip_range.get("Description") or self.said)
