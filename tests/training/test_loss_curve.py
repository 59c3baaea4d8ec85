"""What a trainer reports becomes rows, lines of text and a picture."""

import base64
from xml.etree import ElementTree

from recsys_assets.training.loss_curve import LossCurve, as_markdown_image, describe, loss_curve_svg

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    {"loss": 3.0, "validation_ndcg": 0.1, "epoch": 1.0},
    {"loss": 1.0, "validation_ndcg": 0.3, "epoch": 2.0},
    {"loss": 2.0, "validation_ndcg": 0.2, "epoch": 3.0},
    {"final_loss": 2.5, "epoch": 4.0},
]


def points(svg: str) -> dict[str, list[tuple[float, float]]]:
    """The lines of a picture by the text in their colour."""
    root = ElementTree.fromstring(svg)
    names = {text.get("fill"): text.text for text in root.iter(f"{SVG}text")}
    return {
        str(names[line.get("stroke")]): [
            (float(x), float(y)) for x, y in (point.split(",") for point in line.get("points", "").split())
        ]
        for line in root.iter(f"{SVG}polyline")
    }


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


def test_lines_follow_the_figures() -> None:
    lines = points(loss_curve_svg(ROWS))
    assert lines.keys() == {"loss", "validation_ndcg", "final_loss"}
    (x1, y1), (x2, y2), (x3, y3) = lines["loss"]
    assert x1 < x2 < x3 < lines["final_loss"][0][0]
    assert x2 - x1 == x3 - x2 or abs((x2 - x1) - (x3 - x2)) < 0.2
    assert y2 > y3 > lines["final_loss"][0][1] > y1, "a larger value stands higher, and y grows downwards"
    assert abs((y2 - y3) - (y3 - y1)) < 0.2
    (_, y1), (_, y2), (_, y3) = lines["validation_ndcg"]
    assert y1 > y3 > y2


def test_flat_single_and_empty_curves_are_drawn() -> None:
    assert points(loss_curve_svg([])) == {}
    flat = points(loss_curve_svg([{"loss": 1.0, "epoch": 1.0}] * 3))["loss"]
    assert len({y for _, y in flat}) == 1
    assert len(points(loss_curve_svg([{"a<b loss": 0.5, "epoch": 1.0}]))["a<b loss"]) == 1


def test_the_markdown_holds_the_picture() -> None:
    svg = loss_curve_svg(ROWS)
    text = as_markdown_image(svg, "loss curve")
    prefix = "![loss curve](data:image/svg+xml;base64,"
    assert text.startswith(prefix)
    assert base64.b64decode(text.removeprefix(prefix).removesuffix(")")).decode() == svg
