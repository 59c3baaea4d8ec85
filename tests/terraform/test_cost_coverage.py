"""The estimate against the rendered stack: every resource type is charged or free for a reason, and counts agree."""

import re
from collections.abc import Mapping

import hcl2

from recsys_deploy.deploy.cost import estimate as cost
from recsys_deploy.deploy.cost.usage import AUTHORIZER_CACHE_S
from tests.terraform.charged_types import CHARGED, FREE
from tests.terraform.runs import SOURCE, State


def test_every_resource_type_has_a_price_or_a_reason() -> None:
    types = {
        kind.strip('"')
        for path in SOURCE.glob("[ms]*/**/*.tf")
        for block in hcl2.loads(path.read_text()).get("resource", ())
        for kind in block
        if kind.startswith(('"aws_', '"terraform_'))
    }
    assert len(types) > 60
    assert types == CHARGED.keys() | FREE.keys()
    assert not CHARGED.keys() & FREE.keys()
    assert all(len(reason) > 9 for reason in FREE.values())


def test_charged_services_are_lines_of_the_estimate() -> None:
    text = (SOURCE.parent / "recsys_deploy" / "deploy" / "cost" / "estimate.py").read_text()
    lines = set(re.findall(r'yield \(\s*"([^"]+)",', text)) | set(re.findall(r'_task\("(\w+)"', text))
    assert {service for services in CHARGED.values() for service in services} <= lines


def test_counts_are_those_of_the_stack(environments: Mapping[str, State]) -> None:
    dev, prod = environments["dev"], environments["prod"]
    assert len(dev.of_type("aws_cloudwatch_metric_alarm")) == cost.ESSENTIAL_ALARMS
    counted = cost.ALARMS + cost.DAGSTER_ALARMS + cost.TRAINING_ALARMS + cost.ROLLOUT_ALARMS + cost.TRIGGER_ALARMS
    counted += cost.DAILY_ALARMS
    assert len(prod.of_type("aws_cloudwatch_metric_alarm")) == counted
    assert len(prod.of_type("aws_dynamodb_table")) == cost.TABLES
    assert prod.one("aws_apigatewayv2_authorizer")["authorizer_result_ttl_in_seconds"] == AUTHORIZER_CACHE_S
    delivery = prod.one("aws_kinesis_firehose_delivery_stream")["extended_s3_configuration"][0]
    assert delivery["buffering_interval"] == cost.DELIVERY_S
    assert len(prod.of_type("aws_ecs_service")) == cost.DAGSTER_SERVICES
