"""Quantities of a month and their cost, from an environment's values and a shop's traffic.

Free tiers, discounts, taxes, retries and manual work are left out, so a real bill differs. Each function states its
formula. Tests compare the constants here with the rendered stack.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from recsys_deploy.deploy.cost.prices import REFERENCE, Price, read_prices
from recsys_deploy.deploy.cost.usage import HOURS, SECONDS, Usage

WEEKS: Final = HOURS / 168

DELIVERY_S: Final = 300
"""terraform/modules/streaming: seconds for which Firehose collects an object."""

FIREHOSE_STEP_KB: Final = 5
"""Firehose rounds every record up to 5 KB (Amazon Data Firehose pricing)."""

QUEUE_POLLERS: Final = 5
POLL_S: Final = 20
"""Lambda reads a queue with five concurrent long polls (Lambda Developer Guide, "Using Lambda with Amazon SQS")."""

ALARMS: Final = 30
ESSENTIAL_ALARMS: Final = 3
DAGSTER_ALARMS: Final = 6
TRAINING_ALARMS: Final = 4
DAILY_ALARMS: Final = 6
TRIGGER_ALARMS: Final = 7
ROLLOUT_ALARMS: Final = 9
"""terraform/modules/monitoring: with and without ``full_monitoring``, and those of optional parts. Triggers of rollouts
exist without it too."""

METRICS: Final = 16
"""Custom metrics of lambda_api/handlers/observe.py; charged for the hours in which one is written."""

DAGSTER_SERVICES: Final = 4
"""Web server, daemon and two code locations."""

DAILY_METRICS: Final = 6
"""recsys_deploy/monitoring/daily_metrics.py, with ``ReportsMade``."""

DAILY_HOURS: Final = 0.1
"""Of one daily task, its start included: assumed. The reports of a million events took under a minute."""

KMS_REUSE_S: Final = 300
"""DynamoDB calls KMS at most once in five minutes per table (DynamoDB Developer Guide, "Encryption at rest")."""

TABLES: Final = 5
SNAPSHOTS: Final = 2
"""Versions with a SnapStart cache: `recsys deploy` keeps the live one and the one before it."""

TRANSITIONS_PER_RUN: Final = 10
TRANSITIONS_PER_LOOK: Final = 3
ROLLOUT_METRICS: Final = 4
JUDGE_S: Final = 30
"""Of a look, as long as a stage's lists take to read; a rollout is looked at every hour, and one follows the other."""

FREE_DISK_GIB: Final = 20


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill.

    Attributes:
        service, what: in words.
        quantity: of ``price.unit``.
        price: ``None``: not in the table.
        dollars: a month, in the environment's region; ``None``: not known there.
        reference: the same at prices of `REFERENCE`; ``None``: not known at all.
    """

    service: str
    what: str
    quantity: float
    price: Price | None
    dollars: float | None
    reference: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Every line, in the order of the stack."""

    region: str
    lines: tuple[Line, ...]

    @property
    def known(self) -> float:
        """Sum of the lines whose price in the region is known, in US dollars."""
        return sum(line.dollars for line in self.lines if line.dollars is not None)

    @property
    def reference(self) -> float:
        """Sum, at prices of `REFERENCE`, of the lines whose price in the region is not known."""
        return sum(line.reference for line in self.lines if line.dollars is None and line.reference is not None)

    @property
    def unpriced(self) -> tuple[Line, ...]:
        """Lines without any price."""
        return tuple(line for line in self.lines if line.dollars is None and line.reference is None)


Quantity = tuple[str, str, str, float]
"""Service, what, key of the price, quantity."""


def estimate(values: Mapping[str, Any], usage: Usage) -> Estimate:
    """A month of the environment with these values (``terraform.tfvars``) and this traffic."""
    region, prices = str(values["region"]), read_prices()
    lines = []
    for service, what, key, quantity in _quantities(values, usage):
        if quantity <= 0:
            continue
        price = prices.get(key)
        here = price.of(quantity, region) if price else None
        lines.append(Line(service, what, quantity, price, here, price.of(quantity, REFERENCE) if price else None))
    return Estimate(region, tuple(lines))


def _quantities(values: Mapping[str, Any], usage: Usage) -> Iterator[Quantity]:
    yield from functions(values["functions"], usage)
    yield from gateway(usage if values.get("storefront") is not None else replace(usage, page_share=0.0))
    yield from tables(usage)
    yield from stream(values["events"], usage)
    yield from storage(usage)
    if values.get("storefront") is not None:
        yield from page(usage)
    if values.get("backup") is not None:
        # Incremental copies of the lake, once here and once in the other account's bill.
        yield ("AWS Backup", "lake and tables, in both accounts", "backup.storage", 2 * usage.lake_gb)
    yield from observation(values, usage)
    yield ("KMS", "the environment's key", "kms.keys", 1)
    yield ("KMS", "requests of tables", "kms.requests", TABLES * min(usage.calls, SECONDS / KMS_REUSE_S))
    yield ("SQS", "polls of the shadow's queue", "sqs.requests", QUEUE_POLLERS * SECONDS / POLL_S)
    if values.get("network") is not None:
        yield from network(values["network"], usage)
    if values.get("runs") is not None:
        yield from runs(values["runs"], values.get("training"), usage)
    if _is_daily(values):
        hours = DAILY_HOURS * HOURS / 24
        yield from _task("ECS", "daily task", values["runs"], hours, values["runs"]["architecture"].lower())
        yield ("ECS", "daily task, disk", "fargate.disk", max(0, values["runs"]["disk_gib"] - FREE_DISK_GIB) * hours)
        yield ("CloudWatch", "metrics of the daily task", "cloudwatch.metrics", DAILY_METRICS)
    if values.get("dagster") is not None:
        yield from dagster(values["dagster"])
    if values.get("sagemaker") is not None:
        yield from sagemaker(values["sagemaker"], usage)
    if (rollout := values.get("rollout")) is not None:
        gb_s = HOURS * JUDGE_S * rollout["function"]["memory_mb"] / 1024
        yield ("Lambda", "judge of rollouts", "lambda.arm64", gb_s)
        yield ("CloudWatch", "metrics of rollouts", "cloudwatch.metrics", ROLLOUT_METRICS)
        yield ("Step Functions", "rollout machine", "steps.transitions", TRANSITIONS_PER_LOOK * HOURS)
    if values.get("feature_job") is not None:
        job = values["feature_job"]
        yield ("Glue", "feature job, worker-hours", "glue.worker", job["workers"] * usage.training_hours * WEEKS)


def functions(sizes: Mapping[str, Any], usage: Usage) -> Iterator[Quantity]:
    """Lambda: a request per call, authorizer call and shadow question; ``calls x ms / 1000 x MB / 1024`` GB-seconds.

    Provisioned concurrency: ``instances x MB / 1024`` GB for the whole month. SnapStart for Python: ``MB / 1024`` GB of
    every cached version for the whole month.
    """
    shadow = usage.requests * usage.shadow_share
    yield ("Lambda", "requests", "lambda.requests", usage.calls + usage.authorizer_calls + shadow)
    gb = {name: size["memory_mb"] / 1024 for name, size in sizes.items()}
    api_s = (usage.requests * usage.recommend_ms + usage.feedback * usage.feedback_ms) / 1000
    yield ("Lambda", "api", "lambda.arm64", api_s * gb["api"])
    authorizer_s = usage.authorizer_calls * usage.authorizer_ms / 1000
    yield ("Lambda", "authorizer", "lambda.arm64", authorizer_s * gb["authorizer"])
    yield ("Lambda", "shadow", "lambda.arm64", shadow * usage.recommend_ms / 1000 * gb["shadow"])
    for name, size in sizes.items():
        provisioned = size.get("provisioned_concurrency") or 0
        yield ("Lambda", f"{name}, provisioned", "lambda.provisioned.arm64", provisioned * gb[name] * SECONDS)
        cached = SNAPSHOTS if size.get("snap_start") else 0
        yield ("Lambda", f"{name}, SnapStart cache", "lambda.snapstart", cached * gb[name] * SECONDS)


def gateway(usage: Usage) -> Iterator[Quantity]:
    """API Gateway: one call each (answers are under 512 KB); ``calls x answer`` out, but for those of the page."""
    yield ("API Gateway", "HTTP API calls", "api.http", usage.calls)
    direct = usage.calls * (1 - usage.page_share)
    yield ("Data transfer", "answers of the API", "transfer.out", direct * usage.answer_kb / 1e6)


def tables(usage: Usage) -> Iterator[Quantity]:
    """DynamoDB on demand.

    A recommendation reads the history once, strongly consistent (``ceil(KB / 4)`` units), and writes its exposure
    (``ceil(KB)`` units). An event is a transaction of two small records: 2 x 2 units. Kept: histories, and a month of
    exposures and of events (1 KB each); recovery covers the same.
    """
    reads = usage.requests * math.ceil(usage.history_kb / 4)
    writes = usage.requests * (1 + usage.shadow_share) * math.ceil(usage.exposure_kb) + usage.feedback * 4
    kept = (usage.shoppers * usage.history_kb + usage.requests * usage.exposure_kb + usage.feedback) / 1e6
    yield ("DynamoDB", "reads", "dynamodb.read", reads)
    yield ("DynamoDB", "writes", "dynamodb.write", writes)
    yield ("DynamoDB", "storage", "dynamodb.storage", kept)
    yield ("DynamoDB", "point-in-time recovery", "dynamodb.recovery", kept)


def stream(events: Mapping[str, Any], usage: Usage) -> Iterator[Quantity]:
    """Kinesis (if there is a stream) and Firehose, for one record per list and per event.

    With shards: ``shards x 730`` hours, one unit of 25 KB per record, and the same hours again where records are kept
    beyond a day. On demand (``shards = null``): the stream's hours, and GB in and out. Firehose charges every record in
    steps of 5 KB.
    """
    lists_kb, event_kb = usage.exposure_kb, 1.0
    records = usage.requests + usage.feedback
    gb = (usage.requests * lists_kb + usage.feedback * event_kb) / 1e6
    made = events["stream"]
    shards = made and made["shards"]
    if made is None:
        pass  # records are written to Firehose directly
    elif shards is None:
        yield ("Kinesis", "stream on demand", "kinesis.stream", HOURS)
        yield ("Kinesis", "data in", "kinesis.in", gb)
        yield ("Kinesis", "data out to Firehose", "kinesis.out", gb)
    else:
        yield ("Kinesis", f"{shards} shards", "kinesis.shard", shards * HOURS)
        units = usage.requests * math.ceil(lists_kb / 25) + usage.feedback * math.ceil(event_kb / 25)
        yield ("Kinesis", "records in", "kinesis.put", units)
        longer = shards * HOURS if made["retention_hours"] > 24 else 0
        yield ("Kinesis", "kept beyond a day", "kinesis.retention", longer)
    stepped = usage.requests * _steps(lists_kb) + usage.feedback * _steps(event_kb)
    yield ("Firehose", f"{records:,.0f} records into the lake", "firehose.in", stepped / 1e6)


def storage(usage: Usage) -> Iterator[Quantity]:
    """S3: GB kept, and one object per delivery of Firehose; without records there are none."""
    yield ("S3", "lake and models", "s3.storage", usage.lake_gb)
    yield ("S3", "objects written", "s3.put", min(usage.calls, SECONDS / DELIVERY_S))


def page(usage: Usage) -> Iterator[Quantity]:
    """CloudFront: the page's share of calls, and their answers."""
    through = usage.calls * usage.page_share
    yield ("CloudFront", "HTTPS requests", "cloudfront.requests", through)
    yield ("CloudFront", "data out", "cloudfront.out", through * usage.answer_kb / 1e6)


def observation(values: Mapping[str, Any], usage: Usage) -> Iterator[Quantity]:
    """CloudWatch: ``calls x log`` GB in, kept ``log_days / 30`` months; alarms, dashboard, and metrics for used hours.

    With tracing, X-Ray records the first request of every second and one in twenty of the rest (its default rule).
    """
    operations, full = values["operations"], values["operations"]["full_monitoring"]
    parts = {"dagster": DAGSTER_ALARMS, "training": TRAINING_ALARMS, "rollout": ROLLOUT_ALARMS}
    optional = sum(count for part, count in parts.items() if values.get(part))
    optional += DAILY_ALARMS if _is_daily(values) else 0
    triggers = TRIGGER_ALARMS if values.get("rollout") else 0
    gb = usage.calls * usage.log_kb / 1e6
    yield ("CloudWatch", "logs in", "logs.in", gb)
    yield ("CloudWatch", "logs kept", "logs.storage", gb * operations["log_days"] / 30)
    yield ("CloudWatch", "metrics of the functions", "cloudwatch.metrics", METRICS * min(usage.calls / HOURS, 1))
    yield ("CloudWatch", "alarms", "cloudwatch.alarms", triggers + (ALARMS + optional if full else ESSENTIAL_ALARMS))
    yield ("CloudWatch", "composite alarm of releases", "cloudwatch.composite", 1 if full else 0)
    yield ("CloudWatch", "dashboard", "cloudwatch.dashboards", 1 if full else 0)
    first = min(usage.calls, SECONDS)
    yield ("X-Ray", "traces", "xray.traces", first + (usage.calls - first) * 0.05 if operations["tracing"] else 0)


def network(made: Mapping[str, Any], usage: Usage) -> Iterator[Quantity]:
    """VPC: hours of NAT gateways (none, one, or one per zone), their addresses and data, and endpoints x zones."""
    zones = len(made["zones"])
    gateways = {"none": 0, "one": 1, "per_zone": zones}[made["nat"]]
    yield ("VPC", f"{gateways} NAT gateways", "network.nat", gateways * HOURS)
    yield ("VPC", "their addresses", "network.address", gateways * HOURS)
    yield ("VPC", "data through them", "network.nat.data", usage.nat_gb if gateways else 0)
    endpoints = len(made["interface_endpoints"])
    yield ("VPC", f"{endpoints} interface endpoints in {zones} zones", "network.endpoint", endpoints * zones * HOURS)


def runs(size: Mapping[str, Any], training: Mapping[str, Any] | None, usage: Usage) -> Iterator[Quantity]:
    """ECS: a weekly run of the asset graph for ``training_hours``, its images, and the state machine's transitions."""
    hours = usage.training_hours * WEEKS
    yield from _task("ECS", "weekly runs", size, hours, size["architecture"].lower())
    yield ("ECS", "weekly runs, disk", "fargate.disk", max(0, size["disk_gib"] - FREE_DISK_GIB) * hours)
    yield ("ECR", "images", "ecr.storage", usage.images_gb)
    if training is not None:
        yield ("Step Functions", "training machine", "steps.transitions", TRANSITIONS_PER_RUN * WEEKS)


def dagster(made: Mapping[str, Any]) -> Iterator[Quantity]:
    """Dagster: four services all month, load balancer, database (twice with a standby), its secret, a private zone."""
    yield from _task("ECS", "Dagster", made["size"], DAGSTER_SERVICES * HOURS, "x86_64")
    yield ("Load balancer", "Dagster's pages", "balancer.hour", HOURS)
    database, copies = made["database"], 2 if made["database"]["multi_az"] else 1
    yield ("RDS", database["instance_class"], f"rds.{database['instance_class']}", copies * HOURS)
    yield ("RDS", "storage", "rds.storage", copies * database["storage_gib"])
    yield ("Secrets Manager", "password of the database", "secrets", 1)
    yield ("Route 53", "private zone", "zones", 1)


def sagemaker(made: Mapping[str, Any], usage: Usage) -> Iterator[Quantity]:
    """SageMaker: weekly training jobs, and an endpoint: GB-seconds of its requests, or instances all month."""
    if jobs := made.get("jobs"):
        hours = usage.training_hours * WEEKS
        yield ("SageMaker", f"training on {jobs['instance_type']}", f"sagemaker.{jobs['instance_type']}", hours)
    endpoint = made.get("endpoint") or {}
    if serverless := endpoint.get("serverless"):
        seconds = usage.requests * usage.endpoint_share * usage.recommend_ms / 1000
        gb = serverless["memory_mb"] / 1024
        yield ("SageMaker", "serverless endpoint", "sagemaker.serverless", seconds * gb)
        provisioned = (serverless.get("provisioned_concurrency") or 0) * gb * SECONDS
        yield ("SageMaker", "serverless, provisioned", "sagemaker.serverless.provisioned", provisioned)
    if realtime := endpoint.get("realtime"):
        hours = realtime["min_instances"] * endpoint.get("variants", 1) * HOURS
        yield ("SageMaker", f"endpoint on {realtime['instance_type']}", f"sagemaker.{realtime['instance_type']}", hours)


def _is_daily(values: Mapping[str, Any]) -> bool:
    return values.get("daily") is not None and bool(values["daily"]["schedule"].get("enabled", True))


def _task(service: str, what: str, size: Mapping[str, Any], hours: float, architecture: str) -> Iterator[Quantity]:
    yield (service, f"{what}, processors", f"fargate.{architecture}.vcpu", size["cpu"] / 1024 * hours)
    yield (service, f"{what}, memory", f"fargate.{architecture}.memory", size["memory_mb"] / 1024 * hours)


def _steps(kb: float) -> float:
    return math.ceil(kb / FIREHOSE_STEP_KB) * FIREHOSE_STEP_KB
