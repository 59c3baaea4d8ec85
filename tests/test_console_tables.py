"""Tables of the command line: they fit 80 columns, and their scores share one scale."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from lambda_api.recommender.bundle import DataWindow
from recsys_assets.registry.records import VALIDATION_NDCG, ExperimentRun, RunStatus
from recsys_deploy.answers import Answer, Suggestion, _of_hundred
from recsys_deploy.console.registry_tables import print_runs
from recsys_deploy.console.summary import print_answers, print_next_steps


def printed(show: object, *given: object, **named: object) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    show(console, *given, **named)  # type: ignore[operator]
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("scores", [[0.011, 0.004], [930.0, 12.0, 11.0], [-3.0, -9.0], [2.0, 2.0]])
def test_scores_of_every_model_are_of_100(scores: list[float]) -> None:
    shown = _of_hundred(scores)
    assert shown[0] == 100 and all(1 <= each <= 100 for each in shown)
    assert shown == sorted(shown, reverse=True)
    assert _of_hundred([1000 * score for score in scores]) == shown


def test_an_unknown_shopper_is_said_to_be_unknown() -> None:
    suggestion = (Suggestion("p", "A [bold]mug[/]", 100, "Popular this week"),)
    unknown = " ".join(printed(print_answers, [Answer("u [x]", False, (), suggestion)]))
    assert "unknown to this shop" in unknown and "u [x]" in unknown and "A [bold]mug[/]" in unknown
    assert "unknown" not in " ".join(printed(print_answers, [Answer("u", True, ("Mug",), suggestion)]))


def test_runs_fit_80_columns() -> None:
    now = datetime(2024, 3, 1, 10, 30, tzinfo=UTC)
    run = ExperimentRun(
        id="r", model="matrix_factorisation", parameters={}, metrics={VALIDATION_NDCG: 0.12345},
        data_window=DataWindow(start=now, end=now), started_at=now, duration_s=1234.5, status=RunStatus.FINISHED,
        git_revision="0123456789abcdef0123456789abcdef01234567-dirty",
    )  # fmt: skip
    lines = printed(print_runs, [run])
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if "matrix_factorisation" in line)
    assert "0.1235" in row and "1234.5" in row and "2024-03-01" in row and "0123456789" in row


def test_next_steps_after_a_refusal_do_not_propose_to_serve(tmp_path: object) -> None:
    live = "\n".join(printed(print_next_steps, tmp_path, "u1", "v1.0.1", is_live=True))
    refused = "\n".join(printed(print_next_steps, tmp_path, "u1", "v1.0.1", is_live=False))
    assert "recsys up" in live and "recsys recommend u1" in live
    assert "recsys up" not in refused and "recsys recommend" not in refused and "nothing is live" in refused
    assert "recsys release start v1.0.1" in refused
