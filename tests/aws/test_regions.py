"""Every usual way to name a region reaches boto3: both variables, and a profile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import lambda_api, boto3; print(boto3.client('dynamodb').meta.region_name)"


@pytest.mark.parametrize(
    ("named", "region"),
    [
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_PROFILE": "shop"}, "eu-west-3"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_region_is_found_however_it_is_named(tmp_path: Path, named: dict[str, str], region: str) -> None:
    (tmp_path / "config").write_text("[profile shop]\nregion = eu-west-3\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    given = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**kept, **given, **named}, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == region, done.stderr
