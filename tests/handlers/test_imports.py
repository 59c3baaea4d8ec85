"""What a cold start pays for: the API loads nothing heavy, and its first answer nothing of the pipeline."""

import json
import subprocess
import sys

from tests.handlers.shop import event
from tests.patience import PATIENCE_S
from tests.serving_home import ServedHome

HEAVY = {"pandas", "torch", "scipy", "sklearn", "dagster", "pyarrow", "duckdb", "sagemaker", "matplotlib"}
LATER = {"numpy", "onnxruntime", "boto3", "aws_xray_sdk"}
"""Loaded when something needs them, not with the API."""

PROGRAM = """
import json, sys
from lambda_api.handlers import api
loaded = [sorted(name for name in sys.modules if "." not in name)]
response = api.handler(json.loads(sys.argv[1]), None)
loaded.append(sorted(name for name in sys.modules if "." not in name))
print(json.dumps([loaded, json.loads(response["body"])]))
api.serving().close()
"""


def test_what_the_api_and_its_first_answer_load(served_home: ServedHome) -> None:
    sent = json.dumps(event("POST", "/recommend", {"user_id": served_home.shoppers[0]}))
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, sent],
        env={"RECSYS_HOME": str(served_home.settings.home), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    (imported, answered), content = json.loads(finished.stdout.splitlines()[-1])
    assert not (HEAVY | LATER) & set(imported)
    assert not HEAVY & set(answered)
    assert "boto3" not in answered
    assert content["model_version"] == "v1.0.0"
