"""The test generated from each environment's values. Every resource gets an ARN of its own, so that a test can see
which role may use which resource."""

ACCOUNT = "eu-central-1:123456789012"
KEY = "rk_0123456789abcdef_0123456789012345678901234567890123456789012"
PACKAGE_HASH = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

TABLES = ("api_keys", "exposures", "history", "registry", "serving")
FUNCTIONS = ("api", "authorizer", "judge", "shadow")

_WITH_ARNS = {
    **{f'registry.aws_dynamodb_table.this["{name}"]': table for name in TABLES for table in [f"table:{name}"]},
    **{f'functions.aws_sqs_queue.dead_letters["{name}"]': f"dead-letters:{name}" for name in FUNCTIONS},
    **{f'functions.aws_cloudwatch_log_group.this["{name}"]': f"log-group:{name}" for name in FUNCTIONS},
    **{f'functions.aws_iam_role.this["{name}"]': f"role:{name}" for name in FUNCTIONS},
    **{f'storage.aws_s3_bucket.this["{name}"]': f"bucket:{name}" for name in ("lake", "models", "logs")},
    "streaming.aws_sqs_queue.shadow": "queue:shadow",
    "streaming.aws_sqs_queue.shadow_failed": "queue:shadow-failed",
}


EVERYTHING = {
    "dagster = null": """dagster = {
  size = { cpu = 1024, memory_mb = 4096 }
  web = {
    internal        = true
    certificate_arn = null
    allowed_cidrs   = ["10.22.0.0/18"]
  }
  database = {
    version        = "17"
    instance_class = "db.t4g.small"
    storage_gib    = 20
    multi_az       = true
    backup_days    = 14
  }
}""",
    "shop = null": """shop = { data = "s3://a-shop/log" }
settings = { RECSYS_ALLOW_REPEATS = "true", RECSYS_MAX_PER_BRAND = "3" }""",
    'cron(0 2 * * ? *)", timezone = "UTC", enabled = false': 'cron(0 2 * * ? *)", timezone = "UTC", enabled = true',
    "backup = null": 'backup = { vault_arn = "arn:aws:backup:eu-central-1:210987654321:backup-vault:recsys" }',
    "stream = null": "stream = { shards = null, retention_hours = 168 }",
}
"""Optional parts that no environment has by default, added to prod in these tests."""


def with_everything(values: str) -> str:
    """``values`` with `EVERYTHING`."""
    for absent, added in EVERYTHING.items():
        assert absent in values, absent
        values = values.replace(absent, added)
    return values


def arn(name: str) -> str:
    """ARN of ``table:serving``, ``queue:shadow`` or ``bucket:lake`` in the mocked account."""
    return f"arn:aws:test:{ACCOUNT}:{name}"


def environment_test(values: str, storefront_key: str, *, apply: bool) -> str:
    """The test's text: apply or plan an environment with ``values``, the text of its ``terraform.tfvars``."""
    packages = "".join(f'    {name} = {{ path = "{name}.zip", hash = "{PACKAGE_HASH}" }}\n' for name in FUNCTIONS)
    return "\n".join(
        [
            'mock_provider "aws" {',
            '  source = "./tests/mocks"',
            *(_override(target, name) for target, name in _WITH_ARNS.items()),
            "}",
            "variables {",
            values,
            f'storefront_key = "{storefront_key}"',
            f"packages = {{\n{packages}}}",
            "}",
            'run "environment" {',
            f"  command = {'apply' if apply else 'plan'}",
            "  module {",
            '    source = "./stack"',
            "  }",
            "}",
            "",
        ]
    )


def _override(target: str, name: str) -> str:
    address = f"module.{target}"
    return f'  override_resource {{\n    target = {address}\n    values = {{ arn = "{arn(name)}" }}\n  }}'
