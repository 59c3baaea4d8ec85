"""Each environment, applied with its own values to a mocked account: what the state says is connected to what."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lambda_api.handlers.routes import routes
from lambda_api.settings import Settings, read_settings
from lambda_api.state.dynamodb_table import DynamoDbTable
from lambda_api.state.open_table import open_table
from recsys_deploy.packaging.functions import FUNCTIONS
from tests.terraform.actions import known_action, service_of
from tests.terraform.mocked import KEY, TABLES, arn
from tests.terraform.runs import State

Applied = tuple[str, State]
Statement = Mapping[str, Any]

CONFINED_BY_NOTHING = re.compile(
    r"xray:\w+|ecr:GetAuthorizationToken|ec2:DescribeNetworkInterfaces|ecs:DescribeTaskDefinition"
    r"|cloudwatch:(DescribeAlarms|PutMetricData)|sagemaker:List\w+"
    r"|logs:(\w+LogDelivery|ListLogDeliveries|DescribeLogGroups|DescribeResourcePolicies|PutResourcePolicy)"
)
"""Actions for which AWS knows no resource."""

CEILINGS = re.compile(r"\.aws_vpc_endpoint\.|\.aws_iam_policy\.boundary$")
"""Policies that give nobody anything: what roles are given ends at them. Their own modules' tests judge them."""

TABLE_OF_CI = re.compile(r"\.aws_iam_policy\.terraform\[")
"""Rows without a resource say why in the table itself, which the module's test compares."""

BY_CALLER = {"kms", "logs", "xray"}
"""Services a function's policy names for Lambda's sake, not its code's."""


def _functions(state: State) -> list[str]:
    """Functions of an environment: the judge only where versions are rolled out."""
    return [name for name in FUNCTIONS if name != "judge" or state.outputs.get("rollout_machine_arn")]


def _settings(state: State, name: str) -> Settings:
    function = _function(state, name)
    return read_settings(function["environment"][0]["variables"])


def _function(state: State, name: str) -> Mapping[str, Any]:
    found = [v for address, v in state.of_type("aws_lambda_function").items() if address.endswith(f'["{name}"]')]
    assert len(found) == 1
    return found[0]


def _statements(state: State, name: str) -> list[Statement]:
    policies = state.of_type("aws_iam_role_policy")
    (policy,) = (
        v["policy"]
        for address, v in policies.items()
        if address.endswith(f'functions.aws_iam_role_policy.this["{name}"]')
    )
    statements: list[Statement] = json.loads(policy)["Statement"]
    return statements


def _every_policy(state: State) -> Iterator[tuple[str, Statement]]:
    for address, values in state.resources.items():
        for attribute in ("policy", "assume_role_policy"):
            text = values.get(attribute)
            if isinstance(text, str) and text.startswith("{"):
                # Life cycles of images are policies, too, and have rules in place of statements.
                for statement in json.loads(text).get("Statement", ()):
                    yield address, statement


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_functions_are_those_that_are_packaged(environment: Applied) -> None:
    _, state = environment
    deployed = {address.split('"')[1]: v["handler"] for address, v in state.of_type("aws_lambda_function").items()}
    assert deployed == {name: FUNCTIONS[name].handler for name in _functions(state)}


def test_code_takes_the_variables_it_is_given(environment: Applied) -> None:
    name, state = environment
    for function in _functions(state):
        settings = _settings(state, function)
        assert settings.target == "aws"
        assert settings.table_prefix == f"recsys-{name}-"
        streams = [one["name"] for one in state.of_type("aws_kinesis_stream").values()]
        delivery = state.one("aws_kinesis_firehose_delivery_stream")["name"]
        assert [settings.event_stream, settings.event_delivery] == ([*streams, ""] if streams else ["", delivery])
        assert settings.shadow_queue_url


def test_code_finds_its_tables(environment: Applied, monkeypatch: pytest.MonkeyPatch) -> None:
    _, state = environment
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    settings = _settings(state, "api")
    opened = [open_table(settings, name) for name in TABLES]
    made = {values["name"] for values in state.of_type("aws_dynamodb_table").values()}
    assert {table.name for table in opened if isinstance(table, DynamoDbTable)} == made


def test_routes_are_those_of_the_code(environment: Applied) -> None:
    _, state = environment
    found = {v["route_key"]: v["authorization_type"] for v in state.of_type("aws_apigatewayv2_route").values()}
    expected = {route.key: "CUSTOM" if route.protected else "NONE" for route in routes()}
    assert found == expected
    assert state.outputs["route_keys"] == found


def test_an_environment_that_is_idle_pays_for_three_alarms_and_no_dashboard(environments: Mapping[str, State]) -> None:
    state = environments["dev"]
    names = {one["alarm_name"] for one in state.of_type("aws_cloudwatch_metric_alarm").values()}
    assert names == {"recsys-dev-api-5xx", "recsys-dev-fallback-share", "recsys-dev-events-late"}
    assert not state.of_type("aws_cloudwatch_dashboard")


def test_every_function_has_log_group_alarms_and_dead_letters(environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    alarms = [v for v in state.of_type("aws_cloudwatch_metric_alarm").values() if v["alarm_actions"]]
    for function in state.of_type("aws_lambda_function").values():
        name = function["function_name"]
        group = state.one("aws_cloudwatch_log_group", name=function["logging_config"][0]["log_group"])
        assert group["retention_in_days"] > 0
        assert group["kms_key_id"]
        watched = {v["metric_name"] for v in alarms if (v["dimensions"] or {}).get("FunctionName") == name}
        assert watched == {"Throttles", "Duration"}
        rates = [
            v for v in alarms if name in json.dumps(v["metric_query"]) and "Errors" in json.dumps(v["metric_query"])
        ]
        assert len(rates) == 1
        queue = state.one("aws_sqs_queue", arn=function["dead_letter_config"][0]["target_arn"])
        assert [v for v in alarms if v["dimensions"] == {"QueueName": queue["name"]}]


def test_slow_alarm_comes_before_the_time_limit(environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    for function in state.of_type("aws_lambda_function").values():
        (alarm,) = (
            v
            for v in state.of_type("aws_cloudwatch_metric_alarm").values()
            if v["metric_name"] == "Duration" and v["dimensions"]["FunctionName"] == function["function_name"]
        )
        assert 0 < alarm["threshold"] < 1000 * function["timeout"]


def test_no_policy_allows_a_wildcard(environment: Applied) -> None:
    _, state = environment
    seen = 0
    for address, statement in _every_policy(state):
        if statement["Effect"] != "Allow" or CEILINGS.search(address):
            continue
        seen += 1
        assert "NotAction" not in statement and "NotResource" not in statement
        assert statement.get("Principal") not in ("*", {"AWS": "*"}), address
        actions = _listed(statement["Action"])
        assert not [action for action in actions if "*" in action], (address, actions)
        if TABLE_OF_CI.search(address):
            continue
        if "*" in _listed(statement.get("Resource", ())) and ".aws_kms_key." not in address:
            assert all(CONFINED_BY_NOTHING.fullmatch(action) for action in actions), (address, actions)
    assert seen > 20


def test_every_action_is_one_that_aws_has(environments: Mapping[str, State]) -> None:
    actions = {
        action
        for state in environments.values()
        for _, statement in _every_policy(state)
        for action in _listed(statement["Action"])
        if "*" not in action
    }
    assert len(actions) > 250
    assert not sorted(action for action in actions if not known_action(action))


def test_ci_sees_and_changes_every_kind_of_thing_in_the_stack(environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    kinds = {kind for address in state.resources for kind in re.findall(r"\b(aws_\w+)\.", address)}
    services = {service_of(kind) for kind in kinds}
    assert len(services) > 20
    for use in ("read", "change"):
        allowed = {
            action.partition(":")[0]
            for address, statement in _every_policy(state)
            if re.search(rf'aws_iam_policy\.terraform\["{use}-', address)
            for action in _listed(statement["Action"])
        }
        assert services <= allowed, services - allowed


def test_logs_end_and_are_encrypted(environment: Applied) -> None:
    _, state = environment
    groups = state.of_type("aws_cloudwatch_log_group").values()
    assert len(groups) >= 4
    assert all(group["retention_in_days"] and group["kms_key_id"] for group in groups)


def test_runs_and_functions_work_on_the_same_shop(environment: Applied) -> None:
    _, state = environment
    api = _function(state, "api")["environment"][0]["variables"]
    for task in state.of_type("aws_ecs_task_definition").values():
        (container,) = json.loads(task["container_definitions"])
        given = {pair["name"]: pair["value"] for pair in container["environment"]}
        assert {name: given[name] for name in api} == api
        read_settings({name: value for name, value in given.items() if name.startswith("RECSYS_")})
        assert not [name for name in given if "PASSWORD" in name or "SECRET" in name]


def test_functions_may_use_what_their_code_calls(environment: Applied) -> None:
    _, state = environment
    for name in _functions(state):
        spec = FUNCTIONS[name]
        dead_letters = arn(f"dead-letters:{name}")
        allowed = {
            action.partition(":")[0]
            for statement in _statements(state, name)
            for action in statement["Action"]
            if statement["Resource"] != [dead_letters]
        }
        unused = {"firehose"} if state.of_type("aws_kinesis_stream") else {"kinesis"}
        called = {service.removesuffix("-runtime") for service in spec.services} - unused
        assert allowed - BY_CALLER == called - BY_CALLER


def test_functions_reach_their_own_tables_only(environment: Applied) -> None:
    _, state = environment
    reached = {
        (name, statement["Sid"]): {resource for resource in statement["Resource"]}
        for name in _functions(state)
        for statement in _statements(state, name)
        if statement["Sid"].startswith("Dynamodb")
    }
    judge = {arn(f"table:{table}") for table in ("serving", "registry")}
    rollouts = {("judge", "DynamodbRead"): judge, ("judge", "DynamodbWrite"): judge}
    assert reached == (rollouts if "judge" in _functions(state) else {}) | {
        ("api", "DynamodbRead"): {arn(f"table:{table}") for table in ("serving", "history", "exposures")},
        ("api", "DynamodbWrite"): {arn(f"table:{table}") for table in ("history", "exposures")},
        ("authorizer", "DynamodbRead"): {arn("table:api_keys")},
        ("shadow", "DynamodbRead"): {arn(f"table:{table}") for table in ("serving", "exposures")},
        ("shadow", "DynamodbWrite"): {arn("table:exposures")},
    }


def test_functions_read_models_and_write_no_object_but_looks_at_experiments(environment: Applied) -> None:
    _, state = environment
    for name in _functions(state):
        events = {f"{arn('bucket:lake')}/events/*", arn("bucket:lake")} if name == "judge" else set()
        for statement in _statements(state, name):
            if any(action.startswith("s3:") for action in statement["Action"]):
                if name == "judge" and statement["Sid"] == "S3Write":
                    lake = f"{arn('bucket:lake')}/lake/"
                    assert set(statement["Resource"]) == {lake, f"{lake}experiment_*"}
                    continue
                assert set(statement["Action"]) <= {"s3:GetObject", "s3:ListBucket"}
                others = set(statement["Resource"]) - events
                assert all(resource.startswith(arn("bucket:models")) for resource in others)


def test_each_function_has_a_role_of_its_own(environment: Applied) -> None:
    _, state = environment
    roles = {name: _function(state, name)["role"] for name in _functions(state)}
    assert roles == {name: arn(f"role:{name}") for name in _functions(state)}


def test_what_is_stored_is_encrypted_with_the_key(environment: Applied) -> None:
    _, state = environment
    key = state.one("aws_kms_key")["arn"]
    for kind, attribute in {
        "aws_cloudwatch_log_group": "kms_key_id",
        "aws_kinesis_stream": "kms_key_id",
        "aws_lambda_function": "kms_key_arn",
        "aws_sns_topic": "kms_master_key_id",
        "aws_sqs_queue": "kms_master_key_id",
    }.items():
        values = state.of_type(kind)
        assert values or kind == "aws_kinesis_stream"
        assert {address: v[attribute] for address, v in values.items()} == dict.fromkeys(values, key)
    tables = state.of_type("aws_dynamodb_table").values()
    assert {table["server_side_encryption"][0]["kms_key_arn"] for table in tables} == {key}


def test_shoppers_reach_the_api_through_the_page_only_with_a_key(environments: Mapping[str, State]) -> None:
    state = environments["dev"]
    distribution = state.one("aws_cloudfront_distribution")
    passed = [behaviour["path_pattern"] for behaviour in distribution["ordered_cache_behavior"]]
    assert passed == [re.sub(r"\{[^}]+\}", "*", route.path) for route in routes() if route.scope == "shop"]
    holders = [address for address, values in state.resources.items() if KEY in json.dumps(values)]
    assert holders and all(".aws_cloudfront_distribution." in address for address in holders)


def test_real_shoppers_are_on_no_page(environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    assert not state.of_type("aws_cloudfront_distribution")
    assert state.outputs.get("storefront_url") is None


def test_a_shops_data_is_kept(environment: Applied) -> None:
    name, state = environment
    protected = {v["deletion_protection_enabled"] for v in state.of_type("aws_dynamodb_table").values()}
    emptied = {v["force_destroy"] for a, v in state.of_type("aws_s3_bucket").items() if ".storage." in a}
    assert (protected, emptied) == (({False}, {True}) if name == "dev" else ({True}, {False}))
