"""The report: what it holds, its JSON round trip, its gate figures, its tables, pictures and page."""

import base64
import json
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from recsys_assets.evaluation import html
from recsys_assets.evaluation.build_report import build_report
from recsys_assets.evaluation.examples import example_lists
from recsys_assets.evaluation.html import Outcome, render_html, write_html
from recsys_assets.evaluation.plots import plots
from recsys_assets.evaluation.ratings import Calibration, RatingErrors, RatingEvaluation
from recsys_assets.evaluation.report import EvaluationReport
from recsys_assets.evaluation.segments import SegmentRules
from recsys_assets.evaluation.tables import metric_table, tables
from recsys_assets.measurement.bootstrap import paired_comparison
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, ModelEvaluation, build_task, evaluate
from recsys_assets.promotion.assets import TO_BE_ROLLED_OUT, headline
from tests.evaluation.helpers import END, START, Event, ScriptedRecommender, catalogue, interactions, people

NASTY = "<script>alert('x')</script> & \"co\" | pipe"
RULES = SegmentRules(minimum_size=10)
RATINGS = RatingEvaluation(RatingErrors(1.1, 0.9, 40), RatingErrors(1.0, 0.8, 40), Calibration(3.0, 0.1, 1.0, 5.0))


def shop() -> tuple[EvaluationTask, list[ModelEvaluation], pa.Table]:
    """Forty users who buy two of twelve products each; three models that know it a little, more, and best."""
    rng = np.random.default_rng(6)
    users, products = [f"u{i}" for i in range(40)], [f"p{j}" for j in range(12)]
    past: list[Event] = [(u, str(p), "purchase", -3) for u in users for p in rng.choice(products, 3, replace=False)]
    wanted = {u: rng.choice(products, 4, replace=False).tolist() for u in users}
    bought: list[Event] = [(u, p, "purchase", 2) for u in users for p in wanted[u]]
    task = build_task(interactions(past + bought), catalogue(products), EvaluationWindow(START, END))

    def model(name: str, insight: float) -> ModelEvaluation:
        scores = {u: {p: float(rng.random() + insight * (p in wanted[u])) for p in products} for u in users}
        return evaluate(name, ScriptedRecommender(products, scores), task, k=3)

    genders = ["f" if i % 2 else "m" for i in range(40)]
    table = people(users, gender=genders, location=[NASTY if i % 3 else "Rome" for i in range(40)])
    names = [("popularity", 0.0), ("item_knn", 0.4), ("ease", 1.0), ("in production", 0.3)]
    return task, [model(name, insight) for name, insight in names], table


TASK, EVALUATIONS, USERS = shop()
VALIDATION_NDCG = {"popularity": 0.1, "item_knn": 0.4, "ease": 0.3}


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return build_report(
        TASK,
        EVALUATIONS,
        users=USERS,
        champion="in production",
        validation_ndcg=VALIDATION_NDCG,
        ratings={"ease": RATINGS},
        rules=RULES,
        resamples=200,
    )


def test_holds_what_was_measured(report: EvaluationReport) -> None:
    assert [model.name for model in report.models] == sorted(
        (e.name for e in EVALUATIONS), key=lambda name: -report.model(name).metrics["ndcg"].mean
    )
    for evaluation in EVALUATIONS:
        model = report.model(evaluation.name)
        for name, values in evaluation.metrics.items():
            interval = model.metrics[name]
            assert interval.mean == pytest.approx(values.mean())
            assert interval.low <= interval.mean <= interval.high
            assert interval.n == len(TASK)
        assert model.coverage == evaluation.beyond.coverage
    assert report.setting.users == len(TASK) == report.models[0].metrics["ndcg"].n
    assert report.setting.relevant_types == ("purchase",)


def test_every_model_against_every_baseline_and_the_champion(report: EvaluationReport) -> None:
    made = {(c.model, c.against) for c in report.comparisons if c.metric == "ndcg"}
    names = {evaluation.name for evaluation in EVALUATIONS}
    against = {"popularity", "item_knn", "in production"}
    assert made == {(model, other) for model in names for other in against if model != other}
    by_name = {evaluation.name: evaluation.metrics["recall"] for evaluation in EVALUATIONS}
    expected = paired_comparison(by_name["ease"], by_name["in production"], resamples=200)
    # Alone or beside other comparisons: the same but for the last digits.
    assert asdict(report.comparison("ease", "in production", "recall")) == pytest.approx(asdict(expected), rel=1e-12)
    with pytest.raises(KeyError, match="does not compare"):
        report.comparison("popularity", "ease")


def test_challenger_is_chosen_on_validation_not_on_what_is_reported(report: EvaluationReport) -> None:
    assert (report.challenger, report.challenger_chosen_on) == ("item_knn", "validation")
    on_test = build_report(TASK, EVALUATIONS, champion="in production", resamples=50)
    assert (on_test.challenger, on_test.challenger_chosen_on) == ("ease", "test")


def test_the_champion_is_never_its_own_challenger() -> None:
    best_in_production = build_report(TASK, EVALUATIONS, champion="ease", resamples=50)
    assert best_in_production.challenger != "ease"


def test_gate_figures(report: EvaluationReport) -> None:
    ease = next(evaluation for evaluation in EVALUATIONS if evaluation.name == "ease")
    figures = report.promotion_figures(ease)
    np.testing.assert_array_equal(figures.ndcg, ease.metrics["ndcg"])
    assert figures.coverage == ease.beyond.coverage
    recall = dict(zip(TASK.user_ids, ease.metrics["recall"], strict=True))
    by_gender = [np.mean([recall[f"u{i}"] for i in range(40) if i % 2 == odd and f"u{i}" in recall]) for odd in (0, 1)]
    by_place = [np.mean([r for u, r in recall.items() if bool(int(u[1:]) % 3) == nasty]) for nasty in (False, True)]
    assert figures.worst_group_recall == pytest.approx(min([*by_gender, *by_place, ease.metrics["recall"].mean()]))


def test_without_large_enough_groups_there_is_no_worst_one() -> None:
    alone = build_report(TASK, EVALUATIONS, rules=SegmentRules(minimum_size=1000), resamples=50)
    assert alone.promotion_figures(EVALUATIONS[0]).worst_group_recall is None
    assert EvaluationReport.from_json(alone.to_json()) == alone


def test_json_round_trip_is_exact_and_plain(report: EvaluationReport) -> None:
    text = report.to_json()
    again = EvaluationReport.from_json(text)
    assert again == report
    assert again.to_json() == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_json_of_another_shape_is_refused(report: EvaluationReport) -> None:
    content = json.loads(report.to_json())
    with pytest.raises(ValidationError, match="format_version"):
        EvaluationReport.from_json(json.dumps({**content, "format_version": 2}))
    with pytest.raises(ValidationError, match="surprise"):
        EvaluationReport.from_json(json.dumps({**content, "surprise": 1}))


def test_same_input_same_report(report: EvaluationReport) -> None:
    again = build_report(
        TASK, EVALUATIONS, users=USERS, champion="in production", validation_ndcg=VALIDATION_NDCG,
        ratings={"ease": RATINGS}, rules=RULES, resamples=200,
    )  # fmt: skip
    assert again.to_json() == report.to_json()
    assert render_html(again) == render_html(report)


@pytest.mark.parametrize(
    ("evaluations", "options", "message"),
    [
        ([], {}, "no evaluations"),
        ([EVALUATIONS[0], EVALUATIONS[0]], {}, "a name of its own"),
        (EVALUATIONS[:1], {}, "needed for comparison: item_knn"),
        (EVALUATIONS, {"champion": "gone"}, "needed for comparison: gone"),
        ([EVALUATIONS[0], replace(EVALUATIONS[1], k=5)], {}, "different k"),
        (EVALUATIONS, {"validation_ndcg": {"ease": 0.4}}, "no validation result for popularity, item_knn"),
        (EVALUATIONS[:1], {"baselines": ["popularity"], "champion": "popularity"}, "no challenger"),
    ],
)
def test_refuses_reports_that_would_mislead(evaluations: list[ModelEvaluation], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_report(TASK, evaluations, resamples=20, **options)


def test_markdown_rows_have_one_cell_per_column(report: EvaluationReport) -> None:
    for table in tables(report):
        lines = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
        assert len(lines) == len(table.rows) + 2
        bars = {line.replace("\\|", "").count("|") for line in lines}
        assert bars == {len(table.header) + 1}, table.title
    assert "ease" in metric_table(report).to_markdown()
    assert "item_knn (challenger)" in metric_table(report).to_markdown()


class _Page(HTMLParser):
    VOID = frozenset({"meta", "img", "source", "br", "hr", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def test_page_is_whole_escaped_and_needs_nothing_else(report: EvaluationReport) -> None:
    page = _Page()
    text = render_html(report)
    page.feed(text)
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert "script" not in names and "link" not in names
    assert "&lt;script&gt;" in text
    for tag, attributes in page.tags:
        for reference in (attributes.get("src"), attributes.get("srcset"), attributes.get("href")):
            assert reference is None or reference.startswith(("data:", "#")), reference
        if tag == "img":
            assert attributes["alt"]
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.tags:
        assert attributes.get("aria-labelledby", identifiers[0]) in identifiers


def test_pictures_are_svg_for_light_and_dark(report: EvaluationReport) -> None:
    for plot in plots(report):
        for uri in (plot.light, plot.dark):
            kind, _, content = uri.partition(",")
            assert kind == "data:image/svg+xml;base64"
            # Drawn by this very test, so nothing foreign is parsed.
            assert ElementTree.fromstring(base64.b64decode(content)).tag.endswith("svg")
        assert plot.light != plot.dark


def test_pages_without_champion_ratings_or_groups() -> None:
    plain = build_report(TASK, EVALUATIONS[:3], rules=SegmentRules(minimum_size=1000), resamples=50)
    assert "in production" not in render_html(plain)
    assert "Rating prediction" not in render_html(plain)
    baseline_wins = build_report(TASK, EVALUATIONS[:1], baselines=["popularity"], resamples=50)
    assert "popularity is proposed" in render_html(baseline_wins)


def test_the_page_tells_the_decision_and_why(report: EvaluationReport) -> None:
    assert "item_knn is proposed" in render_html(report) and "have not decided" in render_html(report)
    outcome = Outcome("v1.2.0 (item_knn) was refused; v1.0.0 (ease) stays", ("no better than v1.0.0", NASTY))
    decided = render_html(report, outcome)
    assert f"<h1>{outcome.headline}</h1>" in decided and "<li>no better than v1.0.0</li>" in decided
    assert "have not decided" not in decided and NASTY not in decided


def test_examples_are_real_lists_of_the_challenger(report: EvaluationReport) -> None:
    evaluation = next(one for one in EVALUATIONS if one.name == report.challenger)
    kinds = [example.kind for example in report.examples]
    assert kinds == ["a very good list", "a usual list with a hit", "a list without a hit"]
    good, usual, missed = report.examples
    assert good.ndcg >= usual.ndcg > 0 == missed.ndcg
    for example in report.examples:
        row = TASK.user_ids.index(example.shopper)
        taken = {f"p{j}" for j in range(12)} & set(TASK.products.external(TASK.truth.row(row)))
        listed = TASK.products.external(evaluation.recommended[row])
        assert [name for name, _ in example.listed] == list(listed)
        assert [hit for _, hit in example.listed] == [name in taken for name in listed]
        assert set(example.taken) == taken and example.events == TASK.histories.lengths[row] == len(example.past)
    named = example_lists(TASK, evaluation, pa.table({"product_id": ["p0"], "name": ["Blue mug"]}))
    shown = {name for example in named for name in (*example.past, *example.taken)}
    assert "p0" not in shown and shown <= {"Blue mug", *(f"p{j}" for j in range(1, 12))}


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ("promoted", "v1.1.0 (ease) is the new champion"),
        ("refused", "v1.1.0 (ease) was refused; v1.0.0 (hybrid) stays"),
        (TO_BE_ROLLED_OUT, "v1.1.0 (ease) is good enough, and meets shoppers step by step"),
    ],
)
def test_headlines(decision: str, said: str) -> None:
    version, champion = (
        SimpleNamespace(version="v1.1.0", model="ease"),
        SimpleNamespace(version="v1.0.0", model="hybrid"),
    )
    assert headline(decision, version, champion) == said  # type: ignore[arg-type]
    assert headline("refused", version, None).endswith("there is no champion")  # type: ignore[arg-type]


def test_a_failing_write_leaves_the_earlier_page(
    report: EvaluationReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_html(report, tmp_path / "reports" / "evaluation.html")
    before = path.read_bytes()
    assert before == render_html(report).encode()

    def full_disk(self: Path, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    monkeypatch.setattr(html, "render_html", lambda *_: "half a page")
    with pytest.raises(OSError, match="No space"):
        write_html(report, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["evaluation.html"]
