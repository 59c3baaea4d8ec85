"""What the documents claim about the code: the picture of the graph, the settings table, the commands."""

import re
from pathlib import Path

from lambda_api.settings import PREFIX, Settings
from recsys_assets.definitions import defs as assets_defs
from recsys_deploy.console.graph_picture import Node, draw, nodes_of, without_shortcuts
from recsys_deploy.definitions import defs as deploy_defs

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_picture_is_drawn_from_the_definitions() -> None:
    drawn = draw(nodes_of(deploy_defs, assets_defs))
    assert (ROOT / "docs" / "asset_graph.svg").read_text(encoding="utf-8") == drawn, (
        "the graph changed: run `recsys graph` and look at docs/asset_graph.svg"
    )


def test_shortcuts_leave_every_asset_reachable() -> None:
    nodes = [
        Node("a", "ingest", (), 0),
        Node("b", "quality", ("a",), 0),
        Node("c", "features", ("a", "b"), 0),
        Node("d", "training", ("a", "c"), 0),
    ]
    assert {node.name: node.parents for node in without_shortcuts(nodes)} == {
        "a": (),
        "b": ("a",),
        "c": ("b",),
        "d": ("c",),
    }


def test_the_readme_lists_every_setting_and_no_other() -> None:
    table = re.findall(r"^\| `(RECSYS_[A-Z_]+)` \|", README, re.MULTILINE)
    assert table == [PREFIX + name.upper() for name in Settings.model_fields]


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named <= targets, named - targets


def test_ci_calls_the_readme_test_command() -> None:
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
