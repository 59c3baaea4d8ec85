"""``recsys package`` and ``recsys graph``: zips for Lambda, and the picture of the asset graph."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_deploy.console.terminal import terminal
from recsys_deploy.packaging.targets import Platform, Target

console = terminal()


def package(
    out: Annotated[Path, typer.Option(help="Folder of the zips and their manifests.")] = Path("build/lambda"),
    platform: Annotated[Platform, typer.Option(help="What the zips run on.")] = Platform.LINUX_ARM64,
    python: Annotated[str, typer.Option(help="The CPython they run on.")] = "3.13",
    function: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable.")] = None,
) -> None:
    """Make zips for Lambda: the same code and pins give the same bytes."""
    from recsys_deploy.packaging.build import package as make_packages
    from recsys_deploy.packaging.functions import FUNCTIONS

    target = Target(platform, python)
    for made in make_packages(out, target, function or tuple(FUNCTIONS)):
        size = f"{made.zipped_bytes / 1e6:.1f} MB, {made.unzipped_bytes / 1e6:.1f} MB unzipped"
        console.print(
            f"{out / made.zip}  {size}, {target}\n  sha256 {made.sha256}, source_code_hash {made.source_code_hash}",
            soft_wrap=True,
        )


def graph(
    out: Annotated[Path, typer.Option(help="Where to write the picture.")] = Path("docs/asset_graph.svg"),
) -> None:
    """Draw the asset graph from the definitions."""
    from recsys_assets.definitions import defs as assets_defs
    from recsys_deploy.console.graph_picture import draw, nodes_of
    from recsys_deploy.definitions import defs as deploy_defs

    out.write_text(draw(nodes_of(deploy_defs, assets_defs)), encoding="utf-8")
    console.print(f"wrote {out}", markup=False)
