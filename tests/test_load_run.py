"""The load run end to end, for a few seconds: a real server, real locust, a report, and nothing left running."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_deploy.child_processes import check_port_free
from tests.local_server.processes import ROOT, free_port
from tests.patience import PATIENCE_S
from tests.serving_home import make_home

pytestmark = pytest.mark.slow


def run(home: Path, out: Path, port: int) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.load.run", "--seconds", "4", "--users", "3", "--out", str(out),
         "--port", str(port)],
        env=kept | {"RECSYS_HOME": str(home)}, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip


def test_a_few_seconds_of_shoppers_leave_a_report_and_the_home_as_it_was(tmp_path: Path) -> None:
    made = make_home(tmp_path / "home", products=200, shoppers=10)
    page = made.settings.home / "storefront"
    page.mkdir()
    products = [{"id": product_id} for product_id in made.product_ids[:50]]
    (page / "catalogue.json").write_text(json.dumps({"products": products, "categories": []}))
    (page / "shoppers.json").write_text(json.dumps({"shoppers": [{"id": name} for name in made.shoppers]}))
    before = sorted(str(path) for path in made.settings.home.rglob("*"))
    port = free_port()
    done = run(made.settings.home, tmp_path / "load", port)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-2].split()
    assert last[0] == "Aggregated" and int(last[1]) > 20 and int(last[2]) == 0
    assert len(list((tmp_path / "load").glob("*.html"))) == 1
    assert sorted(str(path) for path in made.settings.home.rglob("*")) == before
    check_port_free(port, "--port")


def test_a_home_that_cannot_serve_is_said_to_be_none(tmp_path: Path) -> None:
    refused = run(tmp_path / "nowhere", tmp_path / "load", free_port())
    assert refused.returncode == 2 and "make demo" in refused.stderr
