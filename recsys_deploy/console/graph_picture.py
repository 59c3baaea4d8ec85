"""The asset graph as an SVG picture, drawn from the definitions themselves (``recsys graph``).

``docs/asset_graph.svg`` is its output; a test draws it again and compares.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Final
from xml.sax.saxutils import escape

import dagster as dg

COLUMN_WIDTH: Final = 236
BOX_WIDTH: Final = 188
BOX_HEIGHT: Final = 34
ROW_HEIGHT: Final = 50
MARGIN: Final = 24
HEADER: Final = 34

GROUP_COLOURS: Final[Mapping[str, str]] = {
    "ingest": "#2f6690",
    "quality": "#3a7d44",
    "features": "#7a5195",
    "splits": "#7a5195",
    "training": "#b5651d",
    "evaluation": "#9b2226",
    "registry": "#44475a",
    "publishing": "#8a6d1f",
    "release": "#1b4965",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One asset of the picture. ``checks`` counts its blocking checks."""

    name: str
    group: str
    parents: tuple[str, ...]
    checks: int


def nodes_of(*definitions: dg.Definitions) -> list[Node]:
    """The assets of one or more code locations as one graph, in name order.

    Two locations may both know an asset (one makes it, the other waits for it): the one that can make it counts.
    """
    nodes: dict[str, Node] = {}
    for location in definitions:
        graph = location.resolve_asset_graph()
        blocking = Counter(key.asset_key for key in graph.asset_check_keys if graph.get(key).blocking)
        for asset_key in graph.executable_asset_keys:
            asset = graph.get(asset_key)
            name = asset_key.to_user_string()
            parents = tuple(sorted(parent.to_user_string() for parent in asset.parent_keys))
            nodes[name] = Node(name, asset.group_name or "default", parents, blocking[asset_key])
    return sorted(nodes.values(), key=lambda node: node.name)


def without_shortcuts(nodes: Sequence[Node]) -> list[Node]:
    """The same graph with only the edges that no longer path implies (its transitive reduction): a readable picture."""
    known = {node.name for node in nodes}
    parents = {node.name: set(node.parents) & known for node in nodes}
    ancestors: dict[str, set[str]] = {}
    for name in TopologicalSorter(parents).static_order():
        ancestors[name] = parents[name].union(*(ancestors[parent] for parent in parents[name]))
    reduced = []
    for node in nodes:
        implied = set[str]().union(*(ancestors[parent] for parent in parents[node.name]))
        reduced.append(replace(node, parents=tuple(sorted(parents[node.name] - implied))))
    return reduced


def _depths(nodes: Sequence[Node]) -> dict[str, int]:
    """Length of the longest path to each node, by name."""
    parents = {node.name: node.parents for node in nodes}
    depths: dict[str, int] = {}
    for name in TopologicalSorter(parents).static_order():
        depths[name] = 1 + max((depths[parent] for parent in parents[name]), default=-1)
    return depths


def draw(nodes: Sequence[Node]) -> str:
    """A self-contained SVG, left to right by distance from the raw data, coloured by stage. Deterministic."""
    nodes = without_shortcuts(nodes)
    depths = _depths(nodes)
    columns: dict[int, list[Node]] = {}
    stages = list(GROUP_COLOURS)
    for node in sorted(nodes, key=lambda n: (stages.index(n.group) if n.group in stages else 99, n.name)):
        columns.setdefault(depths[node.name], []).append(node)
    tallest = max(len(column) for column in columns.values())
    width = 2 * MARGIN + (max(columns) + 1) * COLUMN_WIDTH - (COLUMN_WIDTH - BOX_WIDTH)
    height = 2 * MARGIN + HEADER + tallest * ROW_HEIGHT
    place: dict[str, tuple[float, float]] = {}
    for depth, column in columns.items():
        top = MARGIN + HEADER + (tallest - len(column)) * ROW_HEIGHT / 2
        for row, node in enumerate(column):
            place[node.name] = (MARGIN + depth * COLUMN_WIDTH, top + row * ROW_HEIGHT)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif">',
        "<title>The asset graph, from raw events to a checked release</title>",
        f'<rect width="{width}" height="{height}" rx="10" fill="#fbfaf7"/>',
    ]
    parts += [_edge(place[parent], place[node.name]) for node in nodes for parent in node.parents]
    parts += [_box(node, *place[node.name]) for node in nodes]
    parts += _legend([group for group in stages if any(node.group == group for node in nodes)])
    return "\n".join([*parts, "</svg>", ""])


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + BOX_WIDTH, start[1] + BOX_HEIGHT / 2
    x2, y2 = end[0], end[1] + BOX_HEIGHT / 2
    middle = (x1 + x2) / 2
    return (
        f'<path d="M{x1:g},{y1:g} C{middle:g},{y1:g} {middle:g},{y2:g} {x2:g},{y2:g}" '
        'fill="none" stroke="#9aa0a6" stroke-width="1.4"/>'
    )


def _box(node: Node, x: float, y: float) -> str:
    colour = GROUP_COLOURS.get(node.group, "#555555")
    badge = ""
    if node.checks:
        badge = (
            f'<text x="{x + BOX_WIDTH - 8:g}" y="{y + 21:g}" font-size="10" fill="#ffffff" text-anchor="end" '
            f'opacity="0.85">{node.checks} check{"s" if node.checks > 1 else ""}</text>'
        )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="{colour}"/>'
        f'<text x="{x + 10:g}" y="{y + 21:g}" font-size="12" fill="#ffffff">{escape(node.name)}</text>{badge}'
    )


def _legend(groups: Sequence[str]) -> list[str]:
    parts = []
    x = MARGIN
    for group in groups:
        parts.append(
            f'<rect x="{x}" y="{MARGIN - 8}" width="12" height="12" rx="3" fill="{GROUP_COLOURS[group]}"/>'
            f'<text x="{x + 18}" y="{MARGIN + 2}" font-size="12" fill="#333333">{escape(group)}</text>'
        )
        x += 40 + 8 * len(group)
    return parts
