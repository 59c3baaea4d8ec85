"""`recsys benchmark` on a small shop's files, with whatever columns are missing; as a process where that may matter."""

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from lambda_api.recommender.contract import Recommendations
from lambda_api.recommender.ids import IdMap
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_deploy.benchmark.options import BenchmarkOptions, ProtocolName, settled_parameters
from recsys_deploy.benchmark.recommendations import HEADER, write_recommendations
from recsys_deploy.benchmark.run import BenchmarkOutcome, run_benchmark
from recsys_deploy.benchmark.table import ConsoleDisplay, print_outcome
from tests.recsys_command import Done, in_a_process, right_here

FIRST = date(2024, 3, 1)
TEST_START = datetime(2024, 4, 10, tzinfo=UTC)
CONFIG = SyntheticShopConfig(
    seed=5, start=FIRST, days=50, n_users=100, n_products=60, n_categories=5, n_brands=8, sessions_per_user_per_day=0.4
)
pytestmark = pytest.mark.slow

QUICK = ("--models", "popularity,item_knn,content", "--no-tune")
OPTIONAL = ("interaction_id", "rating", "price", "quantity", "request_id", "variant")


@dataclass(frozen=True)
class Files:
    """The shop's files and its log."""

    folder: Path
    events: pa.Table
    products: pa.Table

    def benchmark(
        self,
        *options: str,
        events: pa.Table | None = None,
        products: pa.Table | None = None,
        environment: dict[str, str] | None = None,
        run: Callable[..., Done] = right_here,
    ) -> "Run":
        """Run the command on the shop, or on other tables in its place."""
        folder = self.folder / f"run-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        log, catalogue, out = folder / "interactions.csv", folder / "products.csv", folder / "recs.csv"
        pa_csv.write_csv(self.events if events is None else events, log)
        pa_csv.write_csv(self.products if products is None else products, catalogue)
        given = ("--interactions", str(log), "--products", str(catalogue), "--out", str(out))
        if "--protocol" not in options:
            given += ("--test-start", TEST_START.isoformat())
        done = run("benchmark", *given, *options, environment=environment)
        return Run(done, out)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    process: Done
    out: Path

    @property
    def lists(self) -> dict[str, list[str]]:
        """Products by user, in order of rank, from a file that has been checked for its form."""
        assert self.process.returncode == 0, self.process.stdout + self.process.stderr
        lists: dict[str, list[str]] = defaultdict(list)
        scores: dict[str, list[float]] = defaultdict(list)
        with self.out.open(newline="") as file:
            reader = csv.reader(file)
            assert next(reader) == ["user_id", "product_id", "rank", "score"]
            for user, product, rank, score in reader:
                lists[user].append(product)
                scores[user].append(float(score))
                assert int(rank) == len(lists[user])
        assert all(len(set(products)) == len(products) for products in lists.values())
        # A list of the hybrid keeps a limit per category, so a later place may score higher.
        if any("hybrid" in str(argument) for argument in self.process.args):
            assert all(values[0] == max(values) for values in scores.values())
        else:
            assert all(np.diff(values).max(initial=0) <= 0 for values in scores.values())
        assert list(lists) == sorted(lists)
        return dict(lists)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Files:
    made = SyntheticShop(CONFIG)
    days = [FIRST + timedelta(days=offset) for offset in range(CONFIG.days or 0)]
    events = pa.concat_tables([made.day_events(day) for day in days])
    return Files(tmp_path_factory.mktemp("shop"), events, made.products())


@pytest.fixture(scope="module")
def plain(shop: Files) -> Run:
    return shop.benchmark(*QUICK, run=in_a_process)


def rows_before(events: pa.Table) -> pa.Table:
    return events.filter(pc.less(events["timestamp"], pa.scalar(TEST_START)))


def pairs(events: pa.Table, kind: str | None = None) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in events.select(["user_id", "product_id", "interaction_type"]).to_pylist():
        if kind in (None, row["interaction_type"]):
            found[row["user_id"]].add(row["product_id"])
    return found


def ndcg(shop: Files, lists: dict[str, list[str]], *, repeats: bool) -> float:
    """Mean NDCG@10 of a file's lists by the definition, without any of the project's code."""
    past = rows_before(shop.events)
    known, bought = pairs(past), pairs(past, "purchase")
    after = shop.events.filter(pc.greater_equal(shop.events["timestamp"], pa.scalar(TEST_START)))
    values = []
    for user, products in pairs(after, "purchase").items():
        relevant = products if repeats else products - bought[user]
        if user not in known or not relevant:
            continue
        gain = sum(1 / math.log2(rank + 2) for rank, product in enumerate(lists[user]) if product in relevant)
        values.append(gain / sum(1 / math.log2(rank + 2) for rank in range(min(10, len(relevant)))))
    return float(np.mean(values))


def test_everybody_with_history_gets_ten_products_known_and_new(shop: Files, plain: Run) -> None:
    past = rows_before(shop.events)
    bought, sold = pairs(past, "purchase"), set(past["product_id"].to_pylist())
    assert set(plain.lists) == set(past["user_id"].to_pylist())
    for user, products in plain.lists.items():
        assert set(products) <= sold - bought[user]
        assert len(products) == min(10, len(sold - bought[user]))


def test_the_table_says_what_the_file_is_worth(shop: Files, plain: Run) -> None:
    chosen = re.search(r"│ (\w+) +│ +([\d.]+) │ +([\d.]+) │.*\n│ \(chosen\)", plain.process.stdout)
    assert chosen is not None, plain.process.stdout
    assert f"recommendations of {chosen[1]} for" in plain.process.stdout
    assert float(chosen[3]) == pytest.approx(ndcg(shop, plain.lists, repeats=False), abs=5e-5)
    for said in ("popularity", "item_knn", "content", "recall@10", "hit rate@10", "minus it", "new products only"):
        assert said in plain.process.stdout
    on_folds = {name: float(score) for name, score in re.findall(r"│ (\w+) +│ +([\d.]+) │", plain.process.stdout)}
    assert set(on_folds) == {"popularity", "item_knn", "content"}
    assert on_folds[chosen[1]] == max(on_folds.values())


@pytest.mark.parametrize("run", [in_a_process, right_here])
def test_a_second_run_writes_the_same_bytes(shop: Files, plain: Run, run: Callable[..., Done]) -> None:
    again = shop.benchmark(*QUICK, run=run)
    assert again.lists == plain.lists
    assert again.out.read_bytes() == plain.out.read_bytes()
    tables = [re.findall(r"^│.*│$", done.process.stdout, re.MULTILINE) for done in (again, plain)]
    assert tables[0] == tables[1] != []


def test_row_order_and_file_format_do_not_matter(shop: Files, plain: Run, tmp_path: Path) -> None:
    shuffled = shop.events.take(pa.array(np.random.default_rng(1).permutation(shop.events.num_rows)))
    (tmp_path / "log").mkdir()
    pq.write_table(shuffled.slice(0, 1000), tmp_path / "log" / "a.parquet")
    pq.write_table(shuffled.slice(1000), tmp_path / "log" / "b.parquet")
    pq.write_table(shop.products, tmp_path / "catalogue.parquet")
    out = tmp_path / "new" / "folder" / "recs.csv"
    done = right_here(
        "benchmark", "--interactions", str(tmp_path / "log"), "--products", str(tmp_path / "catalogue.parquet"),
        "--test-start", "2024-04-10", "--out", str(out), *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == plain.out.read_bytes()


def another_future(events: pa.Table) -> pa.Table:
    """The same past; after the test start other shoppers do other things to other products, for longer."""
    past = rows_before(events)
    rng = np.random.default_rng(7)
    users, products = pc.unique(past["user_id"]), pc.unique(past["product_id"])
    size = 3000
    seconds = rng.integers(0, 200 * 86_400, size)
    stamps = [TEST_START + timedelta(seconds=int(second)) for second in seconds]
    sold = [f"new-{n}" if n % 5 == 0 else products[int(n) % len(products)].as_py() for n in rng.integers(0, 999, size)]
    future = pa.table(
        {
            "interaction_id": [f"f{n}" for n in range(size)],
            "user_id": users.take(pa.array(rng.integers(0, len(users) // 2, size))),
            "product_id": sold,
            "interaction_type": rng.choice(["purchase", "view", "rating"], size).tolist(),
            "timestamp": pa.array(stamps, events.schema.field("timestamp").type),
            "price": rng.uniform(1e3, 1e4, size),
        }
    )
    return pa.concat_tables([past, future], promote_options="default")


@pytest.mark.parametrize(
    ("options", "shoppers"),
    [
        pytest.param(QUICK, 100, id="chosen"),
        pytest.param(("--models", "popularity,ease,content", "--trials", "4"), 100, id="tuned"),
        # A few shoppers: what it costs to fit grows with them, what it could read of the future does not.
        pytest.param(("--models", "hybrid", "--no-tune"), 40, id="hybrid"),
    ],
)
def test_nothing_after_the_test_start_bears_on_the_file(shop: Files, options: tuple[str, ...], shoppers: int) -> None:
    users = sorted(pc.unique(shop.events["user_id"]).to_pylist())[:shoppers]
    events = shop.events.filter(pc.is_in(shop.events["user_id"], pa.array(users)))
    real = shop.benchmark(*options, events=events)
    other = shop.benchmark(*options, events=another_future(events))
    none = shop.benchmark(*options, events=rows_before(events))
    assert real.lists and other.lists and none.lists
    assert real.out.read_bytes() == other.out.read_bytes() == none.out.read_bytes()
    assert "no figures after the cut" in none.process.stdout
    assert "no figures after the cut" not in other.process.stdout


def test_repeats_are_recommended_and_counted_where_allowed(shop: Files) -> None:
    done = shop.benchmark("--models", "item_knn,popularity", "--no-tune", "--allow-repeats")
    bought = pairs(rows_before(shop.events), "purchase")
    assert any(bought[user] & set(products) for user, products in done.lists.items())
    chosen = re.search(r"│ (\w+) +│ +([\d.]+) │ +([\d.]+) │.*\n│ \(chosen\)", done.process.stdout)
    assert chosen is not None
    assert float(chosen[3]) == pytest.approx(ndcg(shop, done.lists, repeats=True), abs=5e-5)
    assert "repeats allowed" in done.process.stdout


def without(*columns: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.drop_columns([name for name in columns if name in table.column_names])


def purchases_only(table: pa.Table) -> pa.Table:
    return without("interaction_type", *OPTIONAL)(table.filter(pc.equal(table["interaction_type"], "purchase")))


def unix_seconds(table: pa.Table) -> pa.Table:
    stamps = table["timestamp"].cast(pa.timestamp("s", "UTC"), safe=False).cast(pa.int64())
    return table.set_column(table.column_names.index("timestamp"), "timestamp", stamps)


def ratings_only(table: pa.Table) -> pa.Table:
    stars = pa.array(np.random.default_rng(0).integers(3, 6, table.num_rows), pa.float64())
    return without("interaction_type", *OPTIONAL)(table).append_column("rating", stars)


@pytest.mark.parametrize(
    ("events", "products", "said"),
    [
        pytest.param(without(*OPTIONAL), lambda table: table, (), id="no optional column of interactions"),
        pytest.param(purchases_only, lambda table: table, ("no column interaction_type", "purchase"), id="no types"),
        pytest.param(ratings_only, lambda table: table, ("taken for: rating", "relevant: rating"), id="ratings"),
        pytest.param(unix_seconds, lambda table: table, (), id="unix seconds"),
        pytest.param(
            without("price"), lambda table: table.select(["product_id", "name"]), (), id="names only, no prices"
        ),
        pytest.param(
            without(*OPTIONAL),
            lambda table: table.select(["product_id"]),
            ("left out content", "name, category, brand or price"),
            id="products are ids only",
        ),
        pytest.param(
            lambda table: table.filter(pc.not_equal(table["interaction_type"], "view")), lambda table: table,
            (), id="no views",
        ),
        pytest.param(
            lambda table: table.filter(pc.equal(table["interaction_type"], "view")), lambda table: table,
            ("relevant: view",), id="views only",
        ),
    ],
)  # fmt: skip
def test_columns_may_be_missing(
    shop: Files, events: Callable[[pa.Table], pa.Table], products: Callable[[pa.Table], pa.Table], said: tuple[str, ...]
) -> None:
    table = events(shop.events)
    done = shop.benchmark(*QUICK, events=table, products=products(shop.products))
    assert done.process.returncode == 0, done.process.stdout + done.process.stderr
    known = pa.compute.unique(events(rows_before(shop.events))["user_id"]).to_pylist()
    assert set(done.lists) == set(known)
    for words in said:
        assert words in done.process.stdout


def test_broken_rows_and_values_are_left_out_and_counted(shop: Files, plain: Run) -> None:
    text = pa.table({name: shop.events[name].cast(pa.string()) for name in shop.events.column_names})
    broken = pa.table(
        {
            "interaction_id": ["b1", "b2", "b3", "b4"],
            "user_id": ["", "u", "u", "u"],
            "product_id": ["p", None, "p", "p"],
            "interaction_type": ["view", "view", "wish", "view"],
            "timestamp": ["2024-03-02", "2024-03-02", "2024-03-02", "last week"],
        }
    )
    done = shop.benchmark(*QUICK, events=pa.concat_tables([text, broken], promote_options="default"))
    for words in ("1 of", "without user_id", "without product_id", "unknown interaction_type", "timestamp that can be"):
        assert words in done.process.stdout
    assert done.out.read_bytes() == plain.out.read_bytes()


def test_leave_one_out(shop: Files) -> None:
    bought = shop.events.filter(pc.equal(shop.events["interaction_type"], "purchase"))
    counts = {row["user_id"]: row["user_id_count"] for row in
              bought.group_by("user_id").aggregate([("user_id", "count")]).to_pylist()}  # fmt: skip
    done = shop.benchmark(*QUICK, "--protocol", "leave-one-out", events=bought)
    assert set(done.lists) == {user for user, count in counts.items() if count >= 3}
    assert "leave-one-out" in done.process.stdout and "history masked" in done.process.stdout
    free = shop.benchmark(*QUICK, "--protocol", "leave-one-out", "--no-mask-history", events=bought)
    assert "history not masked" in free.process.stdout
    assert free.lists != done.lists


def test_next_click(shop: Files) -> None:
    start = ("--protocol", "next-click", "--test-start", TEST_START.isoformat())
    done = shop.benchmark(*QUICK, *start, "--allow-repeats")
    assert "next click from 2024-04-10" in done.process.stdout and "MRR@10" in done.process.stdout
    late = shop.events.filter(pc.greater_equal(shop.events["timestamp"], pa.scalar(TEST_START)))
    assert set(done.lists) <= set(late["user_id"].to_pylist())
    fresh = shop.benchmark(*QUICK, *start)
    assert "repeats left out" in fresh.process.stdout and fresh.lists != done.lists


def test_models_that_draw_are_judged_with_several_seeds(shop: Files, tmp_path: Path) -> None:
    log, catalogue = tmp_path / "interactions.csv", tmp_path / "products.csv"
    pa_csv.write_csv(shop.events, log)
    pa_csv.write_csv(shop.products, catalogue)

    def outcome(seed: int, seeds: int, out: str) -> tuple[BenchmarkOptions, BenchmarkOutcome]:
        options = BenchmarkOptions(
            interactions=log, products=catalogue, out=tmp_path / out, test_start=TEST_START, trials=1,
            models=("popularity", "matrix_factorisation"), seed=seed, seeds=seeds,
        )  # fmt: skip
        return options, run_benchmark(options, ConsoleDisplay(Console(quiet=True)))

    options, several = outcome(4, 3, "several.csv")
    alone = [outcome(seed, 1, f"{seed}.csv")[1] for seed in (4, 5, 6)]
    assert (tmp_path / "several.csv").read_bytes() == (tmp_path / "4.csv").read_bytes()
    popularity, factors = several.models
    assert len(popularity.seeds) == 1
    expected = [one.models[1].seeds[0] for one in alone]
    assert list(factors.seeds) == expected and len(set(expected)) > 1
    console = Console(record=True, width=120, file=io.StringIO())
    print_outcome(console, several, options)
    shown = console.export_text()
    assert "over seeds 4 to 6" in shown
    figures = (np.mean(expected), min(expected), max(expected))
    assert re.search(r"matrix_factorisation\D+" + r"\D+".join(f"{figure:.4f}" for figure in figures), shown)


def test_trials_are_kept_where_asked(shop: Files, tmp_path: Path) -> None:
    environment = {"RECSYS_HOME": str(tmp_path)}
    given = ("--models", "popularity,item_knn", "--trials", "3", "--record")
    done = shop.benchmark(*given, environment=environment, run=in_a_process)
    assert done.process.returncode == 0, done.process.stderr
    listed = right_here("runs", environment=environment)
    assert listed.stdout.count("popularity") == listed.stdout.count("item_knn") == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--interactions": "nowhere.csv"}, ("nowhere.csv", "there is no such file", "CSV or Parquet")),
        ({"--products": "nowhere.csv"}, ("nowhere.csv", "there is no such file")),
        ({"--interactions": "empty.csv"}, ("empty.csv", "zero bytes")),
        ({"--interactions": "notes.txt"}, ("notes.txt", ".parquet", "write the interactions as one")),
        ({"--interactions": "broken.parquet"}, ("broken.parquet", "not a readable Parquet file")),
        ({"--interactions": "no_time.csv"}, ("no_time.csv", "missing: timestamp", "rename or add")),
        ({"--interactions": "bad_time.csv"}, ("bad_time.csv", "no usable row", "ISO 8601")),
        ({"--interactions": "products.csv"}, ("products.csv", "user_id", "timestamp")),
        ({"--products": "no_id.csv"}, ("no_id.csv", "product_id")),
        ({"--users": "no_id.csv"}, ("no_id.csv", "user_id")),
        ({"--interactions": "folder"}, ("folder", "holds no", "give a file")),
        ({"--test-start": "soon"}, ("--test-start", "soon", "ISO 8601")),
        ({"--test-start": "2020-01-01"}, ("2020-01-01", "no interaction lies before it", "choose a later moment")),
        ({"--test-start": "2024-03-01T06:30:00"}, ("2024-03-01T06:30", "choose a later")),
        ({"--test-start": None}, ("--test-start is needed", "--protocol global")),
        ({"--test-start": None, "--protocol": "next-click"}, ("--test-start is needed", "--protocol next-click")),
        ({"--test-start": "2020-01-01", "--protocol": "next-click"}, ("2020-01-01", "choose a")),
        ({"--protocol": "leave-one-out"}, ("--test-start has no meaning", "leave one of the two out")),
        ({"--models": "ease,oracle"}, ("cannot try oracle", "choose from popularity")),
        ({"--models": ","}, ("no model is named",)),
        ({"--out": "folder"}, ("folder", "is a folder", "name the CSV file")),
        ({"--out": "notes.txt/recs.csv"}, ("notes.txt/recs.csv", "cannot be written to")),
        ({"--k": "0"}, ("--k", "greater than or equal to 1")),
        ({"--trials": "0"}, ("--trials",)),
        ({"--seeds": "0"}, ("--seeds", "greater than or equal to 1")),
        ({"--protocol": "random"}, ("--protocol", "leave-one-out")),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_sentence(
    broken_files: Path, change: dict[str, str | None], words: tuple[str, ...]
) -> None:
    given: dict[str, str | None] = {
        "--interactions": "interactions.csv",
        "--products": "products.csv",
        "--test-start": "2024-04-10",
        "--out": "recs.csv",
        "--models": "popularity",
    } | change
    paths = ("--interactions", "--products", "--users", "--out")
    arguments = [
        part
        for name, value in given.items()
        if value is not None
        for part in (name, str(broken_files / value) if name in paths else value)
    ]
    done = right_here("benchmark", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    said = re.sub(r"[\s│]+", " ", done.stderr)
    for word in words:
        assert word in said or word in re.sub(r"[\s│]+", "", done.stderr), said
    assert "Traceback" not in done.stderr
    assert not (broken_files / "recs.csv").exists()


def test_a_process_ends_with_the_sentence_too(broken_files: Path) -> None:
    given = ("--interactions", "nowhere.csv", "--products", "products.csv", "--out", "recs.csv")
    given += ("--test-start", "2024-04-10")
    processes = [run("benchmark", *given, folder=broken_files) for run in (in_a_process, right_here)]
    assert [done.returncode for done in processes] == [2, 2]
    assert processes[0].stderr == processes[1].stderr != ""


@pytest.fixture(scope="module")
def broken_files(shop: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    pa_csv.write_csv(shop.events, folder / "interactions.csv")
    pa_csv.write_csv(shop.products, folder / "products.csv")
    (folder / "empty.csv").touch()
    (folder / "notes.txt").write_text("hello")
    (folder / "broken.parquet").write_bytes(b"PAR1 not really")
    (folder / "no_time.csv").write_text("user_id,product_id\nu,p\n")
    (folder / "bad_time.csv").write_text("user_id,product_id,timestamp\nu,p,yesterday\n")
    (folder / "no_id.csv").write_text("name,age\na,3\n")
    (folder / "folder").mkdir()
    return folder


def options(**changes: object) -> BenchmarkOptions:
    given = {"interactions": Path("i"), "products": Path("p"), "out": Path("recs.csv"), "test_start": TEST_START}
    return BenchmarkOptions(**{**given, **changes})  # type: ignore[arg-type]


def test_what_the_question_settles_is_not_searched_for() -> None:
    assert settled_parameters("matrix_factorisation", options(seed=4)) == {"seed": 4}
    assert settled_parameters("popularity", options(seed=4)) == {}
    assert settled_parameters("hybrid", options(allow_repeats=True)) == {"allow_repeats": True, "seed": 0}
    last_item = {"protocol": ProtocolName.LEAVE_ONE_OUT, "test_start": None}
    assert settled_parameters("hybrid", options(**last_item)) == {"allow_repeats": False, "seed": 0}
    assert settled_parameters("hybrid", options(**last_item, mask_history=False))["allow_repeats"] is True


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    products = IdMap.from_ids(["a", "b", "c"])
    order = products.indices(["a", "b", "c"])
    lists = Recommendations(
        np.array([[order[0], order[2]], [order[1], -1]], np.int32), np.array([[0.1, 1e-9], [3.0, -np.inf]], np.float32)
    )
    path = tmp_path / "recs.csv"
    assert write_recommendations(path, ["u10", "u1"], lists, products) == 3
    written = path.read_text()
    assert written == f"{','.join(HEADER)}\nu1,b,1,3.0\nu10,a,1,0.1\nu10,c,2,1e-09\n"
    unknown = Recommendations(np.array([[order[0]], [99]], np.int32), np.zeros((2, 1), np.float32))
    with pytest.raises(IndexError):
        write_recommendations(path, ["u1", "u2"], unknown, products)
    assert path.read_text() == written
    assert [file.name for file in tmp_path.iterdir()] == ["recs.csv"]
