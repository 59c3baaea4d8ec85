"""The estimate: formulas against figures calculated by hand, the table of prices, and the limits for dev."""

import io
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recsys_deploy.deploy.cost.estimate import estimate
from recsys_deploy.deploy.cost.prices import REGIONS, read_prices
from recsys_deploy.deploy.cost.table import print_estimate
from recsys_deploy.deploy.cost.usage import Usage, parse_count
from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.deploy.values import read_environment

TREE = Path(__file__).resolve().parents[2] / "terraform"
SIZE = {"memory_mb": 2048, "provisioned_concurrency": 0, "snap_start": False}
VALUES: dict[str, Any] = {
    "region": "us-east-1",
    "functions": {"api": SIZE, "authorizer": {**SIZE, "memory_mb": 512}, "shadow": SIZE},
    "events": {"stream": {"shards": 2, "retention_hours": 24}},
    "storefront": None,
    "operations": {"full_monitoring": True, "tracing": True, "log_days": 60, "monthly_budget_usd": 100},
}
USAGE = Usage(
    requests=10e6,
    events=5e6,
    shoppers=1e6,
    recommend_ms=50,
    feedback_ms=20,
    authorizer_ms=10,
    history_kb=6,
    exposure_kb=1.5,
    answer_kb=4,
    log_kb=2,
    lake_gb=100,
    training_hours=2,
    images_gb=8,
    nat_gb=50,
)


def dollars(values: dict[str, Any], usage: Usage = USAGE) -> dict[tuple[str, str], float | None]:
    return {(line.service, line.what): line.dollars for line in estimate(values, usage).lines}


def test_ten_million_requests_by_hand() -> None:
    # 2,628,000 s / 30 s x 2 routes = 175,200 calls of the authorizer.
    expected = {
        ("Lambda", "requests"): (15_000_000 + 175_200) / 1e6 * 0.20,
        # (10M x 0.050 s + 5M x 0.020 s) x 2 GB = 1,200,000 GB-s
        ("Lambda", "api"): 1_200_000 * 0.0000133334,
        # 175,200 x 0.010 s x 0.5 GB = 876 GB-s
        ("Lambda", "authorizer"): 876 * 0.0000133334,
        ("API Gateway", "HTTP API calls"): 15.00,
        # 15M x 4 KB = 60 GB
        ("Data transfer", "answers of the API"): 60 * 0.09,
        # 6 KB are two units of 4 KB: 20M units
        ("DynamoDB", "reads"): 20 * 0.125,
        # 10M x 2 units (1.5 KB) + 5M x 4 units (a transaction of two records): 40M units
        ("DynamoDB", "writes"): 40 * 0.625,
        # 1M x 6 KB + 10M x 1.5 KB + 5M x 1 KB = 26 GB
        ("DynamoDB", "storage"): 26 * 0.25,
        ("DynamoDB", "point-in-time recovery"): 26 * 0.20,
        ("Kinesis", "2 shards"): 2 * 730 * 0.015,
        ("Kinesis", "records in"): 15 * 0.014,
        # every record counts 5 KB: 15M x 5 KB = 75 GB
        ("Firehose", "15,000,000 records into the lake"): 75 * 0.029,
        ("S3", "lake and models"): 100 * 0.023,
        # an object every five minutes
        ("S3", "objects written"): 730 * 12 * 0.005 / 1000,
        # 15M x 2 KB = 30 GB, kept two months
        ("CloudWatch", "logs in"): 30 * 0.50,
        ("CloudWatch", "logs kept"): 60 * 0.03,
        ("CloudWatch", "metrics of the functions"): 16 * 0.30,
        ("CloudWatch", "alarms"): 30 * 0.10,
        ("CloudWatch", "composite alarm of releases"): 0.50,
        ("CloudWatch", "dashboard"): 3.00,
        # the first of every second (2,628,000) and one in twenty of the rest
        ("X-Ray", "traces"): (2_628_000 + (15_000_000 - 2_628_000) * 0.05) / 1e6 * 5,
        ("KMS", "the environment's key"): 1.00,
        # five tables, every five minutes
        ("KMS", "requests of tables"): 5 * 730 * 12 / 1e4 * 0.03,
        # 5 pollers, every 20 s
        ("SQS", "polls of the shadow's queue"): 5 * 730 * 180 / 1e6 * 0.40,
    }
    assert dollars(VALUES) == pytest.approx(expected)
    assert estimate(VALUES, USAGE).known == pytest.approx(sum(expected.values()))


def test_containers_and_network_by_hand() -> None:
    values = {
        **VALUES,
        "network": {"zones": ["a", "b", "c"], "nat": "per_zone", "interface_endpoints": ["ecr.api", "logs"]},
        "runs": {"cpu": 4096, "memory_mb": 16384, "disk_gib": 50, "architecture": "ARM64"},
        "training": {"schedule": None},
        "dagster": {
            "size": {"cpu": 512, "memory_mb": 1024},
            "database": {"instance_class": "db.t4g.micro", "storage_gib": 20, "multi_az": True},
        },
    }
    weeks = 730 / 168
    expected = {
        ("VPC", "3 NAT gateways"): 3 * 730 * 0.045,
        ("VPC", "their addresses"): 3 * 730 * 0.005,
        ("VPC", "data through them"): 50 * 0.045,
        ("VPC", "2 interface endpoints in 3 zones"): 6 * 730 * 0.010,
        # two hours a week
        ("ECS", "weekly runs, processors"): 4 * 2 * weeks * 0.03238,
        ("ECS", "weekly runs, memory"): 16 * 2 * weeks * 0.00356,
        ("ECS", "weekly runs, disk"): 30 * 2 * weeks * 0.000111,
        ("ECR", "images"): 8 * 0.10,
        ("Step Functions", "training machine"): 10 * weeks / 1000 * 0.025,
        ("ECS", "Dagster, processors"): 4 * 730 * 0.5 * 0.04048,
        ("ECS", "Dagster, memory"): 4 * 730 * 1 * 0.004445,
        ("Load balancer", "Dagster's pages"): 730 * 0.0225,
        ("RDS", "db.t4g.micro"): 2 * 730 * 0.016,
        ("RDS", "storage"): 2 * 20 * 0.115,
        ("Secrets Manager", "password of the database"): 0.40,
        ("Route 53", "private zone"): 0.50,
    }
    without = dollars(VALUES)
    more = {key: value for key, value in dollars(values).items() if key not in without}
    assert more == pytest.approx(expected)


def test_the_daily_task_by_hand() -> None:
    values = {
        **VALUES,
        "runs": {"cpu": 4096, "memory_mb": 16384, "disk_gib": 50, "architecture": "ARM64"},
        "daily": {"schedule": {"expression": "cron(0 2 * * ? *)", "timezone": "UTC"}},
    }
    without, found = dollars({**values, "daily": None}), dollars(values)
    # six minutes a day
    expected = {
        ("ECS", "daily task, processors"): 4 * 0.1 * 730 / 24 * 0.03238,
        ("ECS", "daily task, memory"): 16 * 0.1 * 730 / 24 * 0.00356,
        ("ECS", "daily task, disk"): 30 * 0.1 * 730 / 24 * 0.000111,
        ("CloudWatch", "metrics of the daily task"): 6 * 0.30,
        ("CloudWatch", "alarms"): 36 * 0.10,
    }
    assert {key: value for key, value in found.items() if value != without.get(key)} == pytest.approx(expected)
    off = {"schedule": {**values["daily"]["schedule"], "enabled": False}}
    assert dollars({**values, "daily": off}) == without


def test_page_endpoint_stream_on_demand_and_warm_functions_by_hand() -> None:
    warm = {"memory_mb": 2048, "provisioned_concurrency": 3, "snap_start": False}
    values = {
        **VALUES,
        "storefront": {"web_acl_arn": None},
        "events": {"stream": {"shards": None, "retention_hours": 168}},
        "functions": {**VALUES["functions"], "api": warm},
        "sagemaker": {
            "jobs": {"instance_type": "ml.m5.xlarge"},
            "endpoint": {"serverless": {"memory_mb": 3072}, "variants": 1},
        },
    }
    usage = Usage(requests=10e6, events=10e6, answer_kb=4, exposure_kb=2, page_share=0.25, endpoint_share=0.5)
    found = estimate(values, usage)
    lines = {(line.service, line.what): line for line in found.lines}
    # a quarter of 20M calls, 4 KB each
    assert lines["CloudFront", "HTTPS requests"].dollars == pytest.approx(5e6 / 1e4 * 0.01)
    assert lines["CloudFront", "data out"].dollars == pytest.approx(20 * 0.085)
    assert lines["Data transfer", "answers of the API"].dollars == pytest.approx(60 * 0.09)
    # 10M x 2 KB + 10M x 1 KB
    assert lines["Kinesis", "data in"].dollars == pytest.approx(30 * 0.08)
    assert lines["Kinesis", "stream on demand"].dollars == pytest.approx(730 * 0.04)
    assert lines["SageMaker", "training on ml.m5.xlarge"].dollars == pytest.approx(730 / 168 * 0.23)
    # 5M x 0.040 s x 3 GB
    assert lines["SageMaker", "serverless endpoint"].dollars == pytest.approx(600_000 * 0.00002)
    # three instances of 2 GB all month
    assert lines["Lambda", "api, provisioned"].dollars == pytest.approx(3 * 2 * 730 * 3600 * 0.0000033334)
    assert not found.unpriced


def test_a_price_that_is_not_known_is_not_invented() -> None:
    values = {**VALUES, "region": "eu-central-1", "events": {"stream": {"shards": 1, "retention_hours": 48}}}
    found = estimate(values, USAGE)
    kept = next(line for line in found.lines if line.what == "kept beyond a day")
    assert kept.dollars is None and kept.reference == pytest.approx(730 * 0.020)
    delivered = next(line for line in found.lines if line.service == "Firehose")
    assert found.reference == pytest.approx(730 * 0.020 + 75 * 0.029) and delivered.dollars is None
    assert not found.unpriced
    nowhere = estimate({**VALUES, "region": "ap-south-1"}, USAGE)
    assert nowhere.known == 0 and nowhere.reference == pytest.approx(estimate(VALUES, USAGE).known)


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_every_environment_has_an_estimate_that_grows_with_traffic(name: str) -> None:
    values = dict(read_environment(TREE, name).values)
    small, large = (estimate(values, Usage(requests=requests)) for requests in (1e6, 1e8))
    assert 0 < small.known < large.known
    console = Console(file=io.StringIO(), width=200)
    print_estimate(console, large, name, float(values["operations"]["monthly_budget_usd"]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{large.known:,.2f} USD" in text and "check them before you rely on this" in text.replace("\n", " ")
    assert all(line.service in text for line in large.lines)


@given(requests=st.floats(0, 1e9), factor=st.floats(1, 100))
def test_more_traffic_never_costs_less(requests: float, factor: float) -> None:
    less, more = (estimate(VALUES, Usage(requests=count)).known for count in (requests, requests * factor))
    assert less <= more * (1 + 1e-9)


def test_snap_start_is_paid_for_the_live_version_and_the_one_before_it() -> None:
    values = {**VALUES, "functions": {**VALUES["functions"], "api": {**SIZE, "snap_start": True}}}
    assert dollars(values)["Lambda", "api, SnapStart cache"] == pytest.approx(2 * 2 * 730 * 3600 * 0.0000015046)


@pytest.mark.parametrize(("requests", "most"), [(0, 5.0), (1e6, 25.0)])
def test_dev_costs_next_to_nothing(requests: float, most: float) -> None:
    found = estimate(dict(read_environment(TREE, "dev").values), Usage(requests=requests))
    assert found.known + found.reference < most and not found.unpriced
    assert requests or not found.reference, "every price of an idle environment is known in its region"


def test_every_price_says_where_it_comes_from_and_when() -> None:
    prices = read_prices()
    assert all(price.source and isinstance(price.published, date) and price.per > 0 for price in prices.values())
    assert all(price.published <= date(2026, 11, 30) for price in prices.values())
    assert {region for price in prices.values() for region in price.dollars} == set(REGIONS)


@pytest.mark.parametrize(
    ("text", "count"), [("10M", 1e7), ("250k", 250e3), ("1.5G", 1.5e9), ("1_000_000", 1e6), (" 7 ", 7)]
)
def test_counts(text: str, count: float) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "M", "ten", "-5", "1e6", "10 MB", "1,000", "_1"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(DeployError, match="is no count"):
        parse_count(text)
