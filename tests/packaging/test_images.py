"""Dockerfiles name what exists, and their entry points are what their platforms expect: run here as processes."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lambda_api.recommender.bundle import read_bundle
from lambda_api.serving.question import Question
from recsys_assets.training.local_launcher import prepare_job
from tests.packaging.dockerfiles import DOCKERFILES, ROOT, Dockerfile, read
from tests.patience import PATIENCE_S, wait_until
from tests.serving_home import make_home
from tests.training.shop import fit_of

NAMES = {"training.Dockerfile", "inference.Dockerfile", "dagster.Dockerfile"}

each = pytest.mark.parametrize("dockerfile", [read(path) for path in DOCKERFILES], ids=lambda d: d.path.stem)


def image(name: str) -> Dockerfile:
    """The Dockerfile of that image."""
    return read(ROOT / "docker" / f"{name}.Dockerfile")


def process_of(found: Dockerfile, arguments: list[str], tree: Path, **extra: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of the container: only what the image copies is importable, from a copy of its own."""
    for source in found.copied():
        if not source.startswith(("pyproject", "constraints", "docker/")):
            target = tree / source
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, target)
    words = found.exec_form("ENTRYPOINT") + (arguments or found.exec_form("CMD"))
    assert words[0] == "python"
    settings = {name: value for name, value in found.variables().items() if name not in ("PATH", "PYTHONPATH")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(tree), "OMP_NUM_THREADS": "1", **settings, **extra}
    return [sys.executable, *words[1:]], {**environment, "PYTHONPATH": str(tree)}


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_there_is_an_image_of_each_kind() -> None:
    assert {path.name for path in DOCKERFILES} == NAMES


@each
def test_what_is_copied_exists_and_nothing_else_is_sent(dockerfile: Dockerfile) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in dockerfile.copied():
        assert (ROOT / source).exists()
        assert source in allowed
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "**"
    everything = {source for path in DOCKERFILES for source in read(path).copied()}
    assert allowed == everything


@each
def test_the_entry_point_names_a_module_that_the_image_holds(dockerfile: Dockerfile) -> None:
    words = dockerfile.command_line()
    assert words[:2] == ["python", "-m"]
    for flag, module in pairwise(words):
        if flag == "-m":
            assert importlib.util.find_spec(module) is not None
            package = module.split(".")[0]
            assert package in dockerfile.copied() or not (ROOT / package).exists()


@each
def test_the_base_is_the_builder_s_to_pin_and_no_secret_is_an_argument(dockerfile: Dockerfile) -> None:
    text = dockerfile.path.read_text()
    assert {line.split()[0] for line in dockerfile.all("FROM")} == {"${PYTHON_IMAGE}"}
    arguments = {line.partition("=")[0] for line in dockerfile.all("ARG")}
    assert arguments == {"PYTHON_IMAGE", "PIP_ARGS", "GIT_REVISION"}
    assert not re.search(r"(?i)secret|password|token|access_key|^ADD ", text, re.MULTILINE)
    # A revision changes with every commit: whatever comes after it is built anew, so no library may.
    order = [instruction.text for instruction in dockerfile.instructions]
    assert not any("pip" in text for text in order[order.index("GIT_REVISION=unknown") :])


def test_only_images_that_sagemaker_starts_run_as_root() -> None:
    assert {path.stem: read(path).all("USER") for path in DOCKERFILES} == {
        "training": [],
        "inference": [],
        "dagster": ["10001"],
    }


def test_images_share_the_layer_of_libraries() -> None:
    def libraries(name: str) -> list[str]:
        instructions = [f"{found.name} {found.text}" for found in image(name).instructions]
        return instructions[: [text.startswith("FROM") for text in instructions].index(True, 2) + 2]

    assert libraries("training") == libraries("dagster")


def test_requirements_of_an_extra_follow_its_own_extras() -> None:
    printed = subprocess.run(
        [sys.executable, "docker/requirements.py", "pyproject.toml", "serve"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    expected = {*project["dependencies"], *extras["lambda"], *extras["serve"]} - {"recsys[lambda]"}
    assert (set(printed), len(printed)) == (expected, len(expected))
    refused = subprocess.run(
        [sys.executable, "docker/requirements.py", "pyproject.toml", "nonsense"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1 and "no extra 'nonsense'" in refused.stderr


def test_every_dockerfile_installs_an_extra_that_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for path in DOCKERFILES:
        named = re.findall(r"requirements\.py /build/pyproject\.toml ([a-z ]+) >", path.read_text())
        assert named and set(" ".join(named).split()) <= set(extras)


def test_the_training_image_trains_what_opt_ml_says(tmp_path: Path) -> None:
    root = tmp_path / "opt_ml"
    prepare_job(root, fit_of("popularity"))
    found = image("training")
    tree = tmp_path / "tree"
    tree.mkdir()
    # What SageMaker says after the name of the image is `train`; the root stands in for the mount.
    assert found.exec_form("CMD") == ["train"]
    command, environment = process_of(found, ["train", "--root", str(root)], tree)
    finished = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, timeout=PATIENCE_S)
    assert finished.returncode == 0, finished.stderr
    assert read_bundle(root / "model").manifest.info.trainer == "popularity"
    assert json.loads((root / "output" / "data" / "metrics.json").read_text())["model"] == "popularity"
    assert not (root / "output" / "failure").exists()


def test_the_inference_image_answers_and_stops_as_sagemaker_asks(tmp_path: Path) -> None:
    shop = make_home(tmp_path / "shop", products=200, shoppers=3, events=5)
    model = tmp_path / "model"
    shutil.copytree(shop.target.bundle_uri, model / "bundle")
    (catalogue,) = Path(shop.settings.catalogue_uri).iterdir()
    shutil.copytree(catalogue, model / "catalogue")
    port = free_port()
    tree = tmp_path / "tree"
    tree.mkdir()
    found = image("inference")
    # The unpacked model archive stands in for the mount; the port is SageMaker's to choose.
    told = {"SM_MODEL_DIR": str(model), "SAGEMAKER_BIND_TO_PORT": str(port), "MODEL_SERVER_WORKERS": "1"}
    command, environment = process_of(found, ["serve"], tree, **told)
    process = subprocess.Popen(command, env=environment, cwd=tree)
    try:
        wait_for(port, process)
        assert ask(f"http://127.0.0.1:{port}/ping") == {"model_version": shop.target.version}
        question = Question(shop.shoppers[0], (), 1_900_000_000, 5).to_json()
        content = ask(f"http://127.0.0.1:{port}/invocations", json.dumps({"question": question}).encode())
        assert content["model_version"] == shop.target.version
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_dagster_image_serves_its_code_location(tmp_path: Path) -> None:
    found = image("dagster")
    tree = tmp_path / "tree"
    tree.mkdir()
    port = free_port()
    arguments = [
        "127.0.0.1" if word == "0.0.0.0" else str(port) if word == "4000" else word for word in found.exec_form("CMD")
    ]
    homes = {"DAGSTER_HOME": str(tmp_path / "dagster"), "RECSYS_HOME": str(tmp_path / "home")}
    (tmp_path / "dagster").mkdir()
    command, environment = process_of(found, arguments, tree, **homes)
    process = subprocess.Popen(command, env=environment, cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = health_pb2.HealthCheckRequest(service="DagsterApi")
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_S, wait_for_ready=True)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens on ``port``; fails when the process ends first."""

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    wait_until(listens, f"something listened on port {port}", process)


def ask(url: str, body: bytes | None = None) -> Mapping[str, object]:
    """The JSON behind ``url``."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return dict(json.load(response))
