"""The commands as a person runs them: real processes on a small shop's files, from raw days to recommendations.

What only has to happen between two commands, or has been seen in a process already, happens in the test's process.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from unittest import mock

import dagster as dg
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from rich.console import Console

from lambda_api.handlers.dependencies import Serving
from lambda_api.recommender.bundle import read_manifest
from lambda_api.serving.question import Question
from lambda_api.settings import Settings, read_settings
from lambda_api.state.history import HistoryStore
from lambda_api.state.open_table import open_table
from recsys_assets.definitions import build_defs
from recsys_assets.ingest.synthetic.config import SyntheticShopConfig
from recsys_assets.ingest.synthetic.shop import SyntheticShop
from recsys_assets.lake import Lake
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import VALIDATION_NDCG, Status
from recsys_assets.tags import RANGE_END_TAG, RANGE_START_TAG
from recsys_deploy.run.graph import publish
from tests.local_server.processes import free_port
from tests.patience import PATIENCE_S, patient, wait_until
from tests.recsys_command import right_here

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
FIRST = date(2024, 3, 1)
CONFIG = SyntheticShopConfig(seed=5, start=FIRST, days=62, n_users=400, n_products=120, n_categories=8, n_brands=12)
DELIVERED = 60
"""Days in the shop's folder at first; the others arrive later."""

NIGHTLY = ("products", "users", "raw_interactions", "interactions")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Background:
    """A command that has not ended."""

    process: subprocess.Popen[bytes]
    log: Path

    def rest(self) -> str:
        return self.log.read_text()

    def read_until(self, words: str) -> str:
        wait_until(lambda: words in self.rest(), self.rest, self.process)
        return self.rest()


@dataclass(frozen=True)
class Shop:
    """A folder of daily drops and the home of what is made of them."""

    shop: SyntheticShop
    data: Path
    home: Path

    def deliver(self, day: date, events: pa.Table | None = None) -> None:
        table = self.shop.day_events(day) if events is None else events
        pa_csv.write_csv(table, self.data / "interactions" / f"{day.isoformat()}.csv")

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
        return kept | {"RECSYS_HOME": str(self.home), "DAGSTER_HOME": str(self.home / "dagster")}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment(),
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            timeout=500,
        )

    @contextmanager
    def background(self, *arguments: str) -> Iterator[Background]:
        """A command that stays, as in a terminal; ended at the latest here."""
        log = self.home.parent / f"{arguments[0]}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "recsys_deploy.cli", *arguments],
                env=self.environment(), cwd=self.home.parent, stdout=stream, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield Background(process, log)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)

    def shell(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", command], env=self.environment(), cwd=self.home.parent, capture_output=True, text=True,
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def recsys(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "recsys_deploy.cli", *arguments)

    def recsys_here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"RECSYS_HOME": str(self.home), "DAGSTER_HOME": str(self.home / "dagster")}
        return right_here(*arguments, environment=environment, folder=self.home.parent)

    @property
    def settings(self) -> Settings:
        return read_settings({"RECSYS_HOME": str(self.home)})

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(open_table(self.settings, "registry"))

    @property
    def lake(self) -> Lake:
        return Lake(str(self.home / "lake"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    made = Shop(SyntheticShop(CONFIG), root / "data", root / "home")
    (made.data / "interactions").mkdir(parents=True)
    pa_csv.write_csv(made.shop.products(), made.data / "products.csv")
    pa_csv.write_csv(made.shop.users(), made.data / "users.csv")
    for offset in range(DELIVERED):
        made.deliver(FIRST + timedelta(days=offset))
    yield made


@pytest.fixture(scope="module")
def demo(shop: Shop) -> subprocess.CompletedProcess[str]:
    return shop.recsys("demo", "--data", str(shop.data))


def test_the_demo_ends_with_a_champion_and_recommendations(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for said in ("registered_model", "vs popularity", "champion v1.0.0", "recommended", "recsys ui", str(shop.home)):
        assert said in demo.stdout
    champion = shop.registry.champion()
    assert champion is not None and champion.status is Status.CHAMPION
    assert champion.data_window.end.date() == FIRST + timedelta(days=DELIVERED), "refitted on everything up to now"
    assert {run.model for run in shop.registry.list_runs()} == {
        "popularity", "item_knn", "ease", "matrix_factorisation", "content", "ncf", "hybrid",
    }  # fmt: skip
    report = json.loads((shop.home / "reports" / "evaluation_report.json").read_text())
    assert len(report["models"]) == 7
    assert (shop.home / "reports" / "evaluation_report.html").stat().st_size > 10_000


def test_every_row_is_accounted_for(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0
    delivered = sum(shop.shop.day_events(FIRST + timedelta(days=offset)).num_rows for offset in range(DELIVERED))
    quarantined = sum(
        shop.lake.read_day("quarantined_interactions", day).num_rows
        for day in shop.lake.days("quarantined_interactions")
    )
    assert shop.lake.read("interactions").num_rows + quarantined == delivered


def test_anybody_gets_recommendations_known_or_not(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0
    known = shop.lake.read("interactions", ("user_id",))["user_id"][0].as_py()
    for user_id, recsys in ((known, shop.recsys), ("somebody-nobody-knows", shop.recsys_here)):
        answer = recsys("recommend", user_id, "-k", "5")
        assert answer.returncode == 0, answer.stderr
        assert user_id in answer.stdout
        assert "│ 5 │" in answer.stdout.replace("  ", " ")


def test_the_demo_leaves_a_home_that_serves(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0
    assert "v1.0.0 answers every shopper now" in demo.stdout
    champion, lake = shop.registry.champion(), shop.lake
    assert champion is not None
    with served(shop) as serving:
        page = json.loads((shop.home / "storefront" / "shoppers.json").read_text())
        assert len(page["shoppers"]) == 24
        for shopper in page["shoppers"][:5]:
            # Asked again while a time budget is exceeded, as on a busy machine.
            asked = partial(serving.service.recommend, question(shopper["id"]), (), f"r-{shopper['id']}")
            answer = wait_until(lambda asked=asked: (got := asked()).cause is None and got, "no dependency failed")  # type: ignore[misc]
            assert (answer.model_version, answer.variant) == (str(champion.version), "champion")
            assert answer.ranking.personal and len(answer.ranking.items) == 10
        stranger = serving.service.recommend(question("somebody-nobody-knows"), (), "r-stranger")
        assert stranger.model_version == str(champion.version) and not stranger.ranking.personal
        assert all(item.product is not None and item.product.available for item in stranger.ranking.items)
        # What is left when no model answers.
        popular = serving.service.popular(None, 10, "r-popular")
        assert popular.model_version == "baseline" and len(popular.ranking.items) == 10
    browsable = json.loads((shop.home / "storefront" / "catalogue.json").read_text())
    assert {product["id"] for product in browsable["products"]} == set(lake.read("products")["product_id"].to_pylist())


def test_the_figure_of_a_model_is_one_in_terminal_dagster_registry_and_bundle(
    shop: Shop, demo: subprocess.CompletedProcess[str]
) -> None:
    assert demo.returncode == 0
    with dg.DagsterInstance.from_config(str(shop.home / "dagster")) as instance:
        for run in shop.registry.list_runs():
            event = instance.get_latest_materialization_event(dg.AssetKey(f"{run.model}_model"))
            assert event is not None and event.asset_materialization is not None
            shown = event.asset_materialization.metadata[VALIDATION_NDCG].value
            bundle = read_manifest(shop.home / "candidates" / run.model).info.metrics[VALIDATION_NDCG]
            assert shown == run.metrics[VALIDATION_NDCG] == bundle, run.model
            assert re.search(rf"{run.model}_model .*validation ndcg {shown:.4f}", demo.stdout), demo.stdout


def test_the_runs_of_the_demo_stand_under_their_jobs(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0
    with dg.DagsterInstance.from_config(str(shop.home / "dagster")) as instance:
        origins = {run.job_name: run.remote_job_origin for run in instance.get_runs()}
    assert {name: origin and origin.repository_origin.get_label() for name, origin in origins.items()} == {
        "build_recommender_job": "__repository__@recsys_assets",
        "set_live_route_job": "__repository__@recsys_deploy",
    }


def test_the_registry_is_listed(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0
    listed = shop.recsys_here("models")
    assert listed.returncode == 0
    assert "v1.0.0" in listed.stdout and "champion" in listed.stdout


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run_on_the_home(shop: Shop, demo: subprocess.CompletedProcess[str], notebook: Path) -> None:
    """`make notebooks` renders each as a page with its plots; they are stored without outputs."""
    assert demo.returncode == 0
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    pages = shop.home.parent / "notebooks"
    ran = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", "--output-dir", str(pages), str(notebook)],
        env=shop.environment() | {"PYTHONPATH": str(ROOT)},
        cwd=shop.home.parent, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    page = (pages / f"{notebook.stem}.html").read_text(encoding="utf-8")
    assert "Traceback" not in page and 'class="jp-RenderedImage' in page


def test_the_readme_works_as_written_after_make_demo(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    """`make serve` after `make demo`, then every request, snippet and command of the README, on another port."""
    assert demo.returncode == 0
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    recsys = f"{sys.executable} -m recsys_deploy.cli"
    shell = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    shell = shell.replace("http://127.0.0.1:8000", here).replace(".venv/bin/recsys", recsys)
    with shop.background("serve", "--port", str(port), "--workers", "1") as serve:
        wait_for(f"{here}/health", serve)
        page = json.loads(fetch(f"{here}/data/config.json"))
        assert page["key"].startswith("rk_") and page["shop"]
        assert json.loads(fetch(f"{here}/data/shoppers.json"))["shoppers"]
        requests = re.findall(r"^(export KEY=.*?|curl .*?(?:\\\n.*?)?)$", shell, re.MULTILINE)
        assert [line.split()[0] for line in requests].count("curl") == 5
        answers = shop.shell("; echo; ".join(request.replace("curl ", "curl -sS ") for request in requests))
        _, *bodies = [line for line in f"KEY\n{answers}".splitlines() if line]
        listed, told, similar, popular, health = map(json.loads, bodies)
        assert len(listed["recommendations"]) == 5 and listed["recommendations"][0]["product"]["name"]
        assert told["accepted"] == 1 and len(similar["recommendations"]) == 5 == len(popular["recommendations"])
        assert health["status"] == "ok"
        [snippet] = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        made = shop.recsys_here("keys", "create", "snippet").stdout.strip()
        ran = subprocess.run(
            [sys.executable, "-c", snippet.replace("http://127.0.0.1:8000", here)],
            env=shop.environment() | {"KEY": made}, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
    named = [line.partition("#")[0].split()[1:] for line in re.findall(r"^\.venv/bin/recsys .*", text, re.MULTILINE)]
    light = [words for words in named if words[0] in ("--help", "recommend", "models", "release", "home", "batch")]
    assert {words[0] for words in light} == {"--help", "recommend", "models", "release", "home", "batch"}
    for words in light:
        if words[:2] in (["release", "start"], ["release", "rollback"]):
            continue
        done = shop.recsys_here(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)


def test_up_serves_what_the_demo_built_until_it_is_told_to_stop(
    shop: Shop, demo: subprocess.CompletedProcess[str]
) -> None:
    assert demo.returncode == 0
    shutil.rmtree(shop.home / "storefront")
    port = free_port()
    with shop.background("up", "--no-ui", "--port", str(port), "--workers", "1") as up:
        said = up.read_until("Ctrl-C stops everything")
        assert f"http://127.0.0.1:{port}/" in said
        config = shop.home / "storefront" / "config.json"
        assert config.stat().st_mode & 0o777 == 0o600
        line = next(line for line in said.splitlines() if line.startswith("curl "))
        pasted = subprocess.run(["sh", "-c", f"{line} -s"], capture_output=True, text=True, timeout=PATIENCE_S)
        answer = json.loads(pasted.stdout)
        assert len(answer["recommendations"]) == 5 and answer["model_version"] == "v1.0.0", answer
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/data/catalogue.json", timeout=PATIENCE_S)
        assert len(json.loads(page.read())["products"]) > 50
        second = shop.recsys_here("up", "--no-ui", "--port", str(port))
        assert second.returncode == 2 and str(port) in second.stderr and "--port" in second.stderr
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(90) == 0, up.rest()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)


def test_up_starts_again_with_the_same_key_or_a_new_one_where_it_was_revoked(
    shop: Shop, demo: subprocess.CompletedProcess[str]
) -> None:
    assert demo.returncode == 0
    config = shop.home / "storefront" / "config.json"
    kept = json.loads(config.read_text())["key"]
    for revoke in (False, True):
        if revoke:
            assert shop.recsys_here("keys", "revoke", kept.split("_")[1]).returncode == 0
        port = free_port()
        with shop.background("up", "--no-ui", "--port", str(port), "--workers", "1") as up:
            up.read_until("Ctrl-C stops everything")
            assert (json.loads(config.read_text())["key"] == kept) is not revoke
            up.process.terminate()
            assert up.process.wait(90) == 0, up.rest()


def test_a_new_day_brings_in_that_day_only(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0
    new = FIRST + timedelta(days=DELIVERED)
    before = {path: path.stat().st_mtime_ns for path in (shop.home / "lake" / "interactions").rglob("*.parquet")}
    shop.deliver(new)
    ingested = ingest(shop, new)
    assert ingested.returncode == 0, ingested.stdout + ingested.stderr
    after = {path: path.stat().st_mtime_ns for path in (shop.home / "lake" / "interactions").rglob("*.parquet")}
    assert {path: after[path] for path in before} == before
    assert [path.parent.name for path in after.keys() - before.keys()] == [f"date={new.isoformat()}"]
    # Once more: the day is replaced, not doubled.
    assert materialize_here(shop, NIGHTLY, new, new).success
    stored = shop.lake.read("interactions", start=new, end=new + timedelta(days=1)).num_rows
    assert stored == shop.shop.day_events(new).num_rows


def test_the_night_after_serving_knows_the_new_day(shop: Shop, demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0
    new = FIRST + timedelta(days=DELIVERED)
    if new not in shop.lake.days("interactions"):
        shop.deliver(new)
        assert materialize_here(shop, NIGHTLY, new, new).success
    with mock.patch.dict(os.environ, shop.environment(), clear=True):
        published = publish(shop.settings, Console(quiet=True))
    assert published.success, published.problems
    last = shop.lake.read("interactions", start=new).sort_by("timestamp").to_pylist()[-1]
    with served(shop) as serving:
        answer = serving.service.recommend(question(last["user_id"]), (), "r-new-day")
        assert answer.ranking.personal
    history = HistoryStore(open_table(shop.settings, "history")).recent(last["user_id"])
    assert (history[-1].product_id, history[-1].timestamp) == (last["product_id"], int(last["timestamp"].timestamp()))


def test_a_poisoned_day_stops_a_later_retraining_until_it_is_repaired(
    shop: Shop, demo: subprocess.CompletedProcess[str]
) -> None:
    assert demo.returncode == 0
    bad = FIRST + timedelta(days=DELIVERED + 1)
    events = shop.shop.day_events(bad)
    price = events.column_names.index("price")
    shop.deliver(bad, events.set_column(price, "price", pa.array([-1.0] * events.num_rows)))
    champion = shop.registry.champion()
    assert not materialize_here(shop, NIGHTLY, bad, bad).success
    refused = shop.recsys("demo", "--data", str(shop.data))
    assert refused.returncode == 1
    assert "price" in refused.stdout and "-1" in refused.stdout and bad.isoformat() in refused.stdout
    later = materialize(shop, "temporal_splits")
    assert later.returncode != 0
    assert "price" in later.stdout + later.stderr
    assert shop.registry.champion() == champion
    shop.deliver(bad)
    assert materialize_here(shop, NIGHTLY, bad, bad).success
    # The demo had delivered the other days again; their new copies wait for what the refusal names as the remedy.
    waiting = materialize_here(shop, ["temporal_splits"])
    [failure] = waiting.filter_events(lambda event: event.is_step_failure)
    assert "materialise interactions" in failure.step_failure_data.error.to_string()
    assert materialize_here(shop, ["interactions"], FIRST, bad).success
    assert materialize_here(shop, ["temporal_splits"]).success


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


def wait_for(url: str, command: Background) -> None:
    def answers() -> bool:
        with suppress(OSError):
            return bool(fetch(url))
        return False

    wait_until(answers, command.rest, command.process)


@contextmanager
def served(shop: Shop) -> Iterator[Serving]:
    """What a serving process composes from this home."""
    serving = patient(shop.settings)
    serving.warm()
    yield serving
    serving.close()


def question(user_id: str) -> Question:
    return Question(user_id=user_id, events=(), now=0, k=10, include_products=True)


def ingest(shop: Shop, day: date) -> subprocess.CompletedProcess[str]:
    return materialize(shop, "raw_interactions,interactions", "--partition", day.isoformat())


def materialize(shop: Shop, selection: str, *options: str) -> subprocess.CompletedProcess[str]:
    return shop.run(
        "-m", "dagster", "asset", "materialize", "-m", "recsys_assets.definitions", "--select", selection, *options
    )


def materialize_here(
    shop: Shop, assets: Sequence[str], first: date | None = None, last: date | None = None
) -> dg.ExecuteInProcessResult:
    """The same on the shop's own Dagster, in this process; ``first`` to ``last`` are partitions."""
    tags = {RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: last.isoformat()} if first and last else {}
    with mock.patch.dict(os.environ, shop.environment(), clear=True), dg.DagsterInstance.get() as instance:
        job = build_defs(shop.settings).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(name) for name in assets], tags=tags, raise_on_error=False
        )
