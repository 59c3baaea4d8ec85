"""The figures a training reports per epoch, and their picture.

Put collecting and drawing of training figures here; everything is pure. Keep where they are sent out (``progress.py``).
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

Row = Mapping[str, float]

CLOSING_NAMES = ("epoch", "iteration")
"""A report of one of these names completes a row: trainers report an epoch's figures first and its number last."""

_WIDTH, _PANEL_HEIGHT, _MARGIN = 640, 160, 48
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756")


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


def loss_curve_svg(rows: Sequence[Row]) -> str:
    """An SVG of the figures over epochs: losses share one panel, everything else another. Empty rows give no line.

    Colours are legible on light and dark ground; the picture is about 2 KB.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if name not in CLOSING_NAMES))
    losses = [name for name in names if name.endswith("loss")]
    panels = [panel for panel in (losses, [name for name in names if name not in losses]) if panel]
    height = max(1, len(panels)) * _PANEL_HEIGHT
    body = "".join(_panel(rows, panel, names, index * _PANEL_HEIGHT) for index, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="11">{body}</svg>'
    )


def as_markdown_image(svg: str, title: str) -> str:
    """``svg`` inlined into Markdown, as Dagster's UI shows it."""
    encoded = base64.b64encode(svg.encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded})"


def _panel(rows: Sequence[Row], names: Sequence[str], all_names: Sequence[str], top: int) -> str:
    values = [row[name] for row in rows for name in names if name in row]
    low, high = min(values), max(values)
    span = high - low or 1.0
    left, right, upper, lower = _MARGIN, _WIDTH - _MARGIN, top + 24, top + _PANEL_HEIGHT - 20
    step = (right - left) / max(1, len(rows) - 1)
    parts = [
        f'<rect x="{left}" y="{upper}" width="{right - left}" height="{lower - upper}" fill="none" stroke="#999"/>',
        f'<text x="{left - 4}" y="{upper + 4}" text-anchor="end" fill="#888">{high:.3g}</text>',
        f'<text x="{left - 4}" y="{lower}" text-anchor="end" fill="#888">{low:.3g}</text>',
        f'<text x="{left}" y="{lower + 14}" fill="#888">1</text>',
        f'<text x="{right}" y="{lower + 14}" text-anchor="end" fill="#888">{len(rows)}</text>',
    ]
    for place, name in enumerate(names):
        colour = _COLOURS[all_names.index(name) % len(_COLOURS)]
        points = " ".join(
            f"{left + index * step:.1f},{lower - (row[name] - low) / span * (lower - upper):.1f}"
            for index, row in enumerate(rows)
            if name in row
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + place * 150}" y="{upper - 8}" fill="{colour}">{escape(name)}</text>')
    return "".join(parts)
