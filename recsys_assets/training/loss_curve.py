"""The figures a training reports per epoch, and their plot."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Row = Mapping[str, float]

CLOSING_NAMES = ("epoch", "iteration")
"""A report of one of these names completes a row: trainers report an epoch's figures first and its number last."""


@dataclass
class LossCurve:
    """Collects what a trainer reports.

    Attributes:
        rows: one per epoch, in order; each holds ``epoch`` (or ``iteration``) and the figures reported before it.
        totals: the newest value of every name.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    totals: dict[str, float] = field(default_factory=dict)
    _open: dict[str, float] = field(default_factory=dict)

    def report(self, name: str, value: float) -> Row | None:
        """Take one figure; returns the row it completes, if it completes one."""
        self.totals[name] = float(value)
        self._open[name] = float(value)
        if name not in CLOSING_NAMES:
            return None
        row, self._open = self._open, {}
        self.rows.append(row)
        return row


def describe(row: Row) -> str:
    """One epoch as a line of text: ``epoch 3: loss 0.2134, validation_ndcg 0.0651``."""
    number = next((f"{name} {row[name]:.0f}" for name in CLOSING_NAMES if name in row), "progress")
    figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in CLOSING_NAMES)
    return f"{number}: {figures}" if figures else number


def loss_plot(rows: Sequence[Row]) -> str:
    """The figures over epochs as a Markdown image (SVG): losses in one panel, everything else in another.

    Args:
        rows: at least one.
    """
    # matplotlib takes half a second to import; only finished trainings are drawn.
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for row in rows for name in row if name not in CLOSING_NAMES))
    losses = [name for name in names if name.endswith("loss")]
    panels = [panel for panel in (losses, [name for name in names if name not in losses]) if panel]
    figure = Figure(figsize=(7, 2.2 * max(1, len(panels))), layout="constrained")
    for panel, axes in zip(panels, figure.subplots(len(panels), squeeze=False)[:, 0] if panels else [], strict=True):
        for name in panel:
            points = [(number, row[name]) for number, row in enumerate(rows, start=1) if name in row]
            axes.plot(*zip(*points, strict=True), label=name)
        axes.legend()
        axes.set_xlabel(next((name for name in CLOSING_NAMES if name in rows[0]), "report"))
    image = io.BytesIO()
    figure.savefig(image, format="svg", metadata={"Date": None})
    return f"![loss curve](data:image/svg+xml;base64,{base64.b64encode(image.getvalue()).decode()})"
