"""Lists the resources in the cloud, service by service, independently of Terraform's state."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.aws.stage import Stage

Listing = tuple[str, Callable[[Any], list[str]]]
"""Service, and the names of what a client of it finds."""


def _names(method: str, list_key: str, name_key: str | None = None, **arguments: Any) -> Callable[[Any], list[str]]:
    def listed(client: Any) -> list[str]:
        found = getattr(client, method)(**arguments).get(list_key, [])
        return [str(one if name_key is None else one[name_key]) for one in found]

    return listed


def _keys(client: Any) -> list[str]:
    """Keys that could still be used; a key that is to be deleted waits for days. Services' own keys are left out."""
    aliases = client.list_aliases()["Aliases"]
    own = {one.get("TargetKeyId") for one in aliases if one["AliasName"].startswith("alias/aws/")}
    described = [client.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in client.list_keys()["Keys"]]
    return [key["KeyId"] for key in described if key["KeyState"] == "Enabled" and key["KeyId"] not in own]


def _networks(client: Any) -> list[str]:
    return [vpc["VpcId"] for vpc in client.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]]


def _addresses(client: Any) -> list[str]:
    return [one["AllocationId"] for one in client.describe_addresses()["Addresses"]]


def _gateways(client: Any) -> list[str]:
    return [one["NatGatewayId"] for one in client.describe_nat_gateways()["NatGateways"] if one["State"] != "deleted"]


def _clusters(client: Any) -> list[str]:
    arns = client.list_clusters()["clusterArns"]
    described = client.describe_clusters(clusters=arns)["clusters"] if arns else []
    return [one["clusterName"] for one in described if one["status"] == "ACTIVE"]


def _distributions(client: Any) -> list[str]:
    return [one["Id"] for one in client.list_distributions()["DistributionList"].get("Items", [])]


def _alarms(client: Any) -> list[str]:
    return [one["AlarmName"] for one in client.describe_alarms()["MetricAlarms"]]


LISTINGS: Final[Mapping[str, Listing]] = {
    "HTTP APIs": ("apigatewayv2", _names("get_apis", "Items", "ApiId")),
    "distributions": ("cloudfront", _distributions),
    "alarms": ("cloudwatch", _alarms),
    "dashboards": ("cloudwatch", _names("list_dashboards", "DashboardEntries", "DashboardName")),
    "tables": ("dynamodb", _names("list_tables", "TableNames")),
    "networks": ("ec2", _networks),
    "addresses": ("ec2", _addresses),
    "NAT gateways": ("ec2", _gateways),
    "image repositories": ("ecr", _names("describe_repositories", "repositories", "repositoryName")),
    "clusters": ("ecs", _clusters),
    "event rules": ("events", _names("list_rules", "Rules", "Name")),
    "delivery streams": ("firehose", _names("list_delivery_streams", "DeliveryStreamNames")),
    "roles": ("iam", _names("list_roles", "Roles", "RoleName")),
    "streams": ("kinesis", _names("list_streams", "StreamNames")),
    "keys": ("kms", _keys),
    "functions": ("lambda", _names("list_functions", "Functions", "FunctionName")),
    "event source mappings": ("lambda", _names("list_event_source_mappings", "EventSourceMappings", "UUID")),
    "log groups": ("logs", _names("describe_log_groups", "logGroups", "logGroupName")),
    "buckets": ("s3", _names("list_buckets", "Buckets", "Name")),
    "endpoints": ("sagemaker", _names("list_endpoints", "Endpoints", "EndpointName")),
    "schedules": ("scheduler", _names("list_schedules", "Schedules", "Name")),
    "topics": ("sns", _names("list_topics", "Topics", "TopicArn")),
    "queues": ("sqs", _names("list_queues", "QueueUrls")),
    "parameters": ("ssm", _names("describe_parameters", "Parameters", "Name")),
    "state machines": ("stepfunctions", _names("list_state_machines", "stateMachines", "name")),
}


def standing(stage: Stage) -> dict[str, list[str]]:
    """Names of everything there, by kind; kinds of which nothing is there are left out."""
    clients = {service: stage.client(service) for service, _ in LISTINGS.values()}
    found = {what: listed(clients[service]) for what, (service, listed) in LISTINGS.items()}
    return {what: names for what, names in found.items() if names}


def strays(stage: Stage) -> dict[str, list[str]]:
    """Of what is there, what Terraform's state does not mention: made just when an apply was interrupted."""
    known = json.dumps(stage.state().content)
    found = {what: [name for name in names if name not in known] for what, names in standing(stage).items()}
    return {what: names for what, names in found.items() if names}


def remove_roles(stage: Stage, names: list[str]) -> None:
    """Remove roles and what is written into them or attached to them."""
    iam = stage.client("iam")
    for name in names:
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        iam.delete_role(RoleName=name)
