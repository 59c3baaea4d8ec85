"""The packages: made twice they have the same bytes, and unzipped they answer with nothing else on the path."""

import ast
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from packaging.requirements import Requirement

from lambda_api.serving.question import Question
from lambda_api.state.api_keys import create
from lambda_api.state.dynamodb_table import DynamoDbTable
from recsys_deploy.deploy.values import read_environment
from recsys_deploy.packaging import build
from recsys_deploy.packaging.archive import as_lambda_says, file_checksum
from recsys_deploy.packaging.build import ROOT, Package, package
from recsys_deploy.packaging.features import FeaturePackage
from recsys_deploy.packaging.functions import FUNCTIONS, PackagingError
from recsys_deploy.packaging.targets import Platform, Target
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.record import Status
from tests.deploy.world import simulated_aws
from tests.handlers.shop import event
from tests.packaging.conftest import HERE
from tests.patience import PATIENCE_S
from tests.rollout.world import fast, make_world
from tests.serving_home import ServedHome, make_home
from tests.state.created_table import create_dynamodb_table

pytestmark = pytest.mark.slow

Packages = dict[str, tuple[Package, Path]]

AUTHORIZER_LIMIT = 22_000_000
UNZIPPED_LIMIT = 200_000_000
JUDGE_LIMIT = 252_000_000
DIRECT_UPLOAD_LIMIT = 50 * 1024 * 1024

OBJECT = r"(\w+)\s*= object\(\{(.*?)\}\)"

CALL = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
module, _, name = sys.argv[2].rpartition(".")
handler = getattr(importlib.import_module(module), name)
answers = [handler(event, None) for event in json.loads(sys.stdin.read())]
for extra in sys.argv[3:]:
    importlib.import_module(extra)
held = sys.modules.get("lambda_api.handlers.dependencies")
if held is not None:
    held.serving().close()
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
print(json.dumps([answers, sorted({file for file in files if file})]))
"""


def answers_of(found: Package, folder: Path, home: ServedHome, events: list[Any], *also: str) -> list[Any]:
    """What the unzipped package answers, in a process that can import nothing but it and the standard library."""
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", CALL, str(folder), found.handler, *also],
        input=json.dumps(events),
        env={"RECSYS_HOME": str(home.settings.home), "PATH": "", "AWS_DEFAULT_REGION": "eu-central-1"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert finished.returncode == 0, finished.stderr
    answers, files = json.loads(finished.stdout.splitlines()[-1])
    assert not [file for file in files if "site-packages" in file or file.startswith(str(ROOT))]
    return list(answers)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ServedHome:
    return make_home(tmp_path_factory.mktemp("shop"), products=300, shoppers=10, events=20)


def test_the_api_answers_a_shopper_from_its_zip_alone(packages: Packages, home: ServedHome) -> None:
    wanted = {"user_id": home.shoppers[0], "num_recommendations": 7}
    events = [event("POST", "/recommend", wanted), event("GET", "/openapi.json"), event("GET", "/health")]
    recommended, document, health = answers_of(*packages["api"], home, events, "onnxruntime", "aws_xray_sdk.core")
    assert [answer["statusCode"] for answer in (recommended, document, health)] == [200, 200, 200]
    content = json.loads(recommended["body"])
    assert content["model_version"] == home.target.version
    assert len(content["recommendations"]) == 7
    assert {item["product_id"] for item in content["recommendations"]} <= set(home.product_ids)


def test_the_authorizer_opens_to_a_key_and_to_nothing_else(packages: Packages, home: ServedHome) -> None:
    sent = [event("POST", "/recommend", {}, headers={"x-api-key": key}) for key in (home.key, home.key[:-1] + "!")]
    accepted, refused = answers_of(*packages["authorizer"], home, sent)
    assert accepted["isAuthorized"] is True
    assert accepted["context"]["scopes"] == "operations shop"
    assert refused == {"isAuthorized": False, "context": {}}


def test_the_shadow_answers_a_batch(packages: Packages, home: ServedHome) -> None:
    question = Question(user_id=home.shoppers[1], events=(), now=1_900_000_000, k=5)
    body = {"request_id": "r1", "question": question.to_json(), "target": home.target.to_json(), "enqueued_at": 1}
    record = {"messageId": "m1", "receiptHandle": "h", "attributes": {"ApproximateReceiveCount": "1"}}
    records = [{**record, "body": json.dumps(body)}, {**record, "messageId": "m2", "body": "{}"}]
    (answer,) = answers_of(*packages["shadow"], home, [{"Records": records}], "onnxruntime")
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}]}


def test_the_judge_walks_a_rollout_from_its_zip_alone(packages: Packages, tmp_path: Path) -> None:
    """Everything that its steps import is in the zip, and what is in the zip is imported: no stage of the graph."""
    world = make_world(tmp_path)
    plan = fast(Strategy.BLUE_GREEN).to_json()
    named = {"rollout_id": "r-1"}
    events: list[dict[str, Any]] = [
        {"step": "begin", "input": {"version": str(world.second.version), "plan": plan}, **named},
        *({"step": step, **named} for step in ("enter", "judge", "promote", "judge", "finish")),
        {"source": "aws.states", "detail": {"status": "ABORTED", "name": "r-1"}},
    ]
    home = SimpleNamespace(settings=world.home.settings)
    own = [name.removesuffix(".py").replace("/", ".") for name in FUNCTIONS["judge"].code]
    modules = [name.removesuffix(".__init__") for name in own]
    answers = answers_of(*packages["judge"], home, events, "onnxruntime", *modules)  # type: ignore[arg-type]
    assert [answer.get("answer") for answer in answers[2:5:2]] == ["hold", "promote"], answers
    assert (answers[-1]["status"], world.record.status) == ("promoted", Status.PROMOTED)
    assert not {"dagster", "pandas", "scipy"} & {path.name for path in packages["judge"][1].iterdir()}


FIRST_REQUEST = """
import importlib, json, os, resource, sys, time
sys.path.insert(0, sys.argv[1])
module, _, name = sys.argv[2].rpartition(".")
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
handler = getattr(importlib.import_module(module), name)
init = spent()
answer = handler(json.loads(sys.stdin.read()), None)
print(json.dumps([init, spent() - init, answer, sys.flags.dont_write_bytecode]))
"""

INIT_LIMIT_S, FIRST_LIMIT_CPU_S = 10.0, 0.25
"""Lambda ends an initialisation after 10 s. After it, a function of m MB has m / 1,769 of a processor (Lambda Developer
Guide, "Configure Lambda function memory"), and the gateway waits for the authorizer until its time limit."""


def test_the_authorizers_first_request_needs_little_cpu(packages: Packages, kept_keys: tuple[str, str]) -> None:
    """Against a real HTTP table, from the zip's bytecode: what is loaded lazily would be paid by the first request."""
    found, folder = packages["authorizer"]
    endpoint, key = kept_keys
    environment = {
        "AWS_LAMBDA_FUNCTION_NAME": "recsys-dev-authorizer",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "RECSYS_TARGET": "aws",
        "RECSYS_TABLE_PREFIX": "recsys-dev-",
        "RECSYS_HOME": "/tmp/recsys",
        **{f"RECSYS_{name}_URI": "s3://bucket/x" for name in ("LAKE", "MODELS", "CATALOGUE")},
        "PATH": "",
    }
    sent = json.dumps(event("POST", "/recommend", {}, headers={"x-api-key": key}))
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", FIRST_REQUEST, str(folder), found.handler],
        input=sent,
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert finished.returncode == 0, finished.stderr
    init, first, answer, _ = json.loads(finished.stdout.splitlines()[-1])
    assert answer["isAuthorized"] is True, (answer, finished.stderr)
    memory = read_environment(ROOT / "terraform", "dev").values["functions"]["authorizer"]
    share = memory["memory_mb"] / 1769
    assert first < FIRST_LIMIT_CPU_S, f"{first:.2f} CPU s after an initialisation of {init:.2f}"
    assert first / share < memory["timeout_s"] / 4 and init / share < INIT_LIMIT_S


@pytest.fixture(scope="module")
def kept_keys() -> Iterator[tuple[str, str]]:
    """A simulated AWS with a table of keys, and one key."""
    with simulated_aws():
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        client = boto3.client("dynamodb")
        create_dynamodb_table(client, "recsys-dev-api_keys")
        yield endpoint, create(DynamoDbTable("recsys-dev-api_keys", client), "test", {"shop"})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_sdk_in_a_package_can_open_every_client_and_the_code_asks_for_no_other(
    name: str, packages: Packages
) -> None:
    folder = packages[name][1]
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import boto3; "
        "[boto3.client(name, region_name='eu-central-1') for name in sys.argv[2:]]"
    )
    spec = FUNCTIONS[name]
    subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program, str(folder), *spec.services], check=True, timeout=PATIENCE_S
    )
    asked = {service for file in (ROOT / "lambda_api").rglob("*.py") for service in clients_in(file)}
    assert asked == set(FUNCTIONS["api"].services) - {"xray"}
    asked = clients_in(ROOT / "recsys_deploy" / "rollout" / "handler.py")
    # The tables' client is opened by lambda_api, objects are read with Arrow and, by the bundle's check, with boto3.
    assert asked == set(FUNCTIONS["judge"].services) - {"dynamodb", "s3"}


def clients_in(file: Path) -> set[str]:
    """Services the code opens clients of: literal arguments of ``client(...)`` and ``_client(...)``."""
    return {
        call.args[0].value
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and (getattr(call.func, "attr", None) == "client" or getattr(call.func, "id", None) == "_client")
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def test_sizes(packages: Packages) -> None:
    for name, (found, folder) in packages.items():
        measured = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        # The judge reads the lake with Arrow; nobody waits for its cold start.
        assert found.unzipped_bytes == measured < (UNZIPPED_LIMIT if name != "judge" else JUDGE_LIMIT)
        assert found.zipped_bytes < DIRECT_UPLOAD_LIMIT or name == "judge"
    found, folder = packages["authorizer"]
    assert found.unzipped_bytes < AUTHORIZER_LIMIT
    assert not {"numpy", "onnxruntime", "aws_lambda_powertools"} & {path.name for path in folder.iterdir()}


def test_manifests_say_what_is_true(packages: Packages) -> None:
    for name, (found, folder) in packages.items():
        file = folder.parent / found.zip
        checksum = hashlib.sha256(file.read_bytes()).digest()
        assert json.loads((folder.parent / f"{name}.json").read_text())["sha256"] == found.sha256 == checksum.hex()
        assert base64.b64decode(found.source_code_hash) == checksum
        assert (found.platform, found.python) == (str(HERE.platform), HERE.python)
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            # The revision is beside the zip only: a commit that changes nothing served must not change the hash.
            code = [n for n in names if n.startswith("lambda_api/")]
            assert not [n for n in code if found.git_revision.encode() in archive.read(n)]
        assert len(names) == found.files
        assert found.handler.rpartition(".")[0].replace(".", "/") + ".py" in names
        assert not [n for n in names if "/tests/" in n or n.endswith("RECORD")]
        assert found.bytecode and f"lambda_api/__pycache__/__init__.{sys.implementation.cache_tag}.pyc" in names


def test_terraform_is_told_of_every_package(packages: Packages, tmp_path: Path) -> None:
    out = next(folder for _, folder in packages.values()).parent
    told = json.loads((out / "packages.tfvars.json").read_text())
    assert told["packages"] == {
        name: {"path": str(out / found.zip), "hash": found.source_code_hash} for name, (found, _) in packages.items()
    }
    features = told["feature_package"]
    assert (features["path"], features["entry"]) == (str(out / "features.zip"), str(out / "glue_features.py"))
    assert (out / "features.zip").is_file() and (out / "glue_features.py").is_file()
    assert features["hash"] == as_lambda_says(file_checksum(out / "features.zip"))
    declared = (ROOT / "terraform" / "stack" / "variables.tf").read_text()
    block = declared[declared.index('variable "packages"') :].split("\n}\n")[0]
    fields = {name: {"path", "hash"} for name in FUNCTIONS}
    assert {name: set(re.findall(r"(\w+) = string", text)) for name, text in re.findall(OBJECT, block)} == fields


def test_paths_in_a_checkout_are_relative_to_where_terraform_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No libraries: only the paths matter here.
    monkeypatch.setattr(build, "install", lambda *given: {})
    monkeypatch.setattr(build, "library_files", lambda *given: {"a.py": b""})
    monkeypatch.setattr(build, "find_interpreter", lambda python: None)
    for name in ("lambda_api", *FUNCTIONS["judge"].code):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "constraints.txt").write_text("")
    features = FeaturePackage(tmp_path / "build" / "lambda" / "features.zip", tmp_path / "glue.py", "hash", ())
    monkeypatch.setattr(build, "package_features", lambda *given: features)
    package(tmp_path / "build" / "lambda", root=tmp_path)
    folder = tmp_path / "terraform" / "stack"
    folder.mkdir(parents=True)
    told = json.loads((tmp_path / "build" / "lambda" / "packages.tfvars.json").read_text())
    assert told["feature_package"]["path"] == "../../build/lambda/features.zip"
    for name, variable in told["packages"].items():
        assert variable["path"] == f"../../build/lambda/{name}.zip"
        assert (folder / variable["path"]).is_file()
    package(tmp_path / "part", functions=["api"], root=tmp_path)
    assert not (tmp_path / "part" / "packages.tfvars.json").exists()


def test_made_twice_in_other_circumstances_the_bytes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        shutil.copytree(ROOT / "lambda_api", root / "lambda_api", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "constraints.txt", root)
    for path in roots[1].rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o600)
    (roots[1] / "lambda_api" / "__pycache__").mkdir()
    (roots[1] / "lambda_api" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    (first,) = package(tmp_path / "a", Target(), ["authorizer"], root=roots[0])
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    previous = os.umask(0o077)
    try:
        (second,) = package(tmp_path / "b", Target(), ["authorizer"], root=roots[1])
    finally:
        os.umask(previous)
    assert second == first
    assert (tmp_path / "a" / first.zip).read_bytes() == (tmp_path / "b" / second.zip).read_bytes()
    (roots[1] / "lambda_api" / "__init__.py").write_text('"""Another."""\n')
    (third,) = package(tmp_path / "c", Target(), ["authorizer"], root=roots[1])
    assert (third.sha256 != first.sha256, third.code_sha256 != first.code_sha256) == (True, True)
    assert third.libraries == first.libraries


def test_the_default_is_what_lambda_runs(tmp_path: Path) -> None:
    (made,) = package(tmp_path, functions=["authorizer"])
    assert (made.platform, made.python) == (Platform.LINUX_ARM64, "3.13")
    with zipfile.ZipFile(tmp_path / made.zip) as archive:
        (library,) = [name for name in archive.namelist() if name.endswith(".so")]
        header = archive.read(library)[:20]
    assert "cpython-313-aarch64" in library
    # ELF, 64 bit, little-endian; e_machine 183 is AArch64 ("ELF for the Arm 64-bit Architecture").
    assert (header[:4], header[4:6], int.from_bytes(header[18:20], "little")) == (b"\x7fELF", b"\x02\x01", 183)


def test_what_functions_require_is_what_the_project_declares_for_lambda() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {Requirement(text).name for text in project["dependencies"]}
    serving = {Requirement(text).name for text in project["optional-dependencies"]["lambda"]}
    pipeline = {Requirement(text).name for text in project["optional-dependencies"]["pipeline"]}
    required = {name: {Requirement(text).name for text in spec.requirements} for name, spec in FUNCTIONS.items()}
    judge = required.pop("judge")
    assert serving <= set().union(*required.values()) <= declared | serving
    assert judge <= declared | serving | pipeline


def test_an_unknown_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PackagingError, match="no function 'recommend' to package; choose api, authorizer, shadow, judge"
    ):
        package(tmp_path, functions=["recommend"])


def test_the_command_names_wheel_and_platform_where_the_index_has_none(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "recsys_deploy.cli", "package", "--function", "authorizer", "--out", str(tmp_path)],
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "UV_NO_CONFIG": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert finished.returncode == 2
    said = " ".join(finished.stderr.split())
    assert "no wheels for linux-arm64 with Python 3.13" in said and "boto3" in said
    assert not list(tmp_path.iterdir())
