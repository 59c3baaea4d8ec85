"""What a trainer reports becomes rows, lines of text and a picture."""

import base64
from xml.etree import ElementTree

from recsys_assets.training.loss_curve import LossCurve, describe, loss_plot

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    {"loss": 3.0, "validation_ndcg": 0.1, "epoch": 1.0},
    {"loss": 1.0, "validation_ndcg": 0.3, "epoch": 2.0},
    {"loss": 2.0, "validation_ndcg": 0.2, "epoch": 3.0},
    {"final_loss": 2.5, "epoch": 4.0},
]


def test_reports_are_gathered_into_rows() -> None:
    curve = LossCurve()
    completed = [curve.report(name, value) for row in ROWS for name, value in row.items()]
    curve.report("best_epoch", 2)
    assert [row for row in completed if row is not None] == ROWS
    assert curve.rows == ROWS
    assert curve.totals == {"loss": 2.0, "validation_ndcg": 0.2, "epoch": 4.0, "final_loss": 2.5, "best_epoch": 2.0}


def test_a_row_reads_as_a_sentence() -> None:
    assert describe(ROWS[0]) == "epoch 1: loss 3, validation_ndcg 0.1"
    assert describe({"iteration": 12.0}) == "iteration 12"


def test_the_plot_has_a_line_for_every_figure_and_is_an_image_in_markdown() -> None:
    text = loss_plot(ROWS)
    prefix = "![loss curve](data:image/svg+xml;base64,"
    assert text.startswith(prefix)
    svg = ElementTree.fromstring(base64.b64decode(text.removeprefix(prefix).removesuffix(")")))
    panels = [group for group in svg.iter(f"{SVG}g") if str(group.get("id")).startswith("axes_")]
    lines = [[group for group in panel if str(group.get("id")).startswith("line2d_")] for panel in panels]
    # In a panel of losses: two curves; in the other: one. (Ticks and legends are groups of their own.)
    assert [len(own) for own in lines] == [2, 1]


def test_a_single_epoch_is_drawn() -> None:
    assert loss_plot([{"loss": 1.0, "epoch": 1.0}]).startswith("![loss curve]")
