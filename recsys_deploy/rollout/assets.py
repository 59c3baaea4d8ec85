"""The rollout as a Dagster asset: started by a run, drawn with its stages, looks and verdict.

A run never waits for a rollout: it starts one in a process of its own (on AWS the state machine runs it) and ends.
"""

import base64
import io
from typing import Any

import dagster as dg
from pydantic import Field

from lambda_api.settings import Settings
from lambda_api.state.table import Table
from recsys_assets.tags import OWNERS
from recsys_deploy.rollout.commands import new_id, start_detached
from recsys_deploy.rollout.plan import in_words, usual_plan
from recsys_deploy.rollout.record import RolloutRecord, current_rollout, running_rollout

GROUP = "release"
SHOWN_LOOKS = 40
COLOURS = {"hold": "#8a8f98", "advance": "#2f7ed8", "promote": "#2e9e5b", "abort": "#c8102e"}


class RolloutConfig(dg.Config):
    """Which version to roll out."""

    version: str | None = Field(default=None, description="A registered version. Without one, the state is shown.")


@dg.asset(group_name=GROUP, owners=OWNERS, deps=[dg.AssetKey("registered_model")], kinds={"python"})
def canary_rollout(
    context: dg.AssetExecutionContext,
    config: RolloutConfig,
    settings: dg.ResourceParam[Settings],
    serving: dg.ResourceParam[Table],
) -> dg.MaterializeResult[None]:
    """The rollout of a new version: which stage it is in, what every look said, and how it ended."""
    if config.version is not None:
        running = running_rollout(serving)
        if running is not None and running.version == config.version:
            context.log.info("%s is being rolled out already (%s)", config.version, running.id)
        else:
            rollout_id = new_id(config.version)
            where = start_detached(settings, rollout_id, config.version, usual_plan(settings))
            context.log.info("%s runs in %s", rollout_id, where)
    record = current_rollout(serving)
    if record is None:
        return dg.MaterializeResult(metadata={"state": "no version was rolled out yet"})
    return dg.MaterializeResult(metadata=metadata_of(record))


start_rollout_job = dg.define_asset_job(
    "start_rollout_job",
    selection=[canary_rollout],
    description="Start the rollout of a registered version in a process of its own, or show how the newest one stands.",
)


def metadata_of(record: RolloutRecord) -> dict[str, dg.MetadataValue]:
    """Stages, looks, verdict and a picture of a rollout."""
    return {
        "rollout": dg.MetadataValue.text(record.id),
        "version": dg.MetadataValue.text(record.version),
        "former champion": dg.MetadataValue.text(record.former.version),
        "status": dg.MetadataValue.text(str(record.status)),
        "stage": dg.MetadataValue.text(record.current_stage.name),
        "reason": dg.MetadataValue.text(record.reason or (record.looks[-1].reason if record.looks else "no look yet")),
        "looks": dg.MetadataValue.int(len(record.looks)),
        "stages": dg.MetadataValue.md(_stages(record)),
        "newest looks": dg.MetadataValue.md(_looks(record)),
        "picture": dg.MetadataValue.md(f"![stages and looks of {record.id}](data:image/png;base64,{_picture(record)})"),
    }


def _stages(record: RolloutRecord) -> str:
    rows = [
        f"| {'**' if place == record.stage else ''}{stage.name}{'**' if place == record.stage else ''} | {stage.kind} "
        f"| {stage.weight / 100:g} % | {in_words(stage.min_s)} to {in_words(stage.max_s)} |"
        for place, stage in enumerate(record.plan.stages)
    ]
    return "\n".join(["| stage | judged by | shoppers | length |", "|---|---|--:|---|", *rows])


def _looks(record: RolloutRecord) -> str:
    rows = [f"| {look.stage} | {look.answer} | {look.reason} |" for look in record.looks[-SHOWN_LOOKS:]]
    return "\n".join(["| stage | answer | why |", "|---|---|---|", *rows])


def _picture(record: RolloutRecord) -> str:
    """Share of shoppers over time and the answers of the looks, as a base64 PNG."""
    from matplotlib.figure import Figure

    weights = {stage.name: stage.weight / 100 for stage in record.plan.stages}
    hours: list[float] = [0.0]
    shares: list[float] = [0.0]
    for look in record.looks:
        hours.append((look.at - record.started_at) / 3600)
        shares.append(weights.get(look.stage, 0.0))
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.step(hours, shares, where="post", color="#444a54", linewidth=1.2)
    for answer, colour in COLOURS.items():
        points = [at for at, look in enumerate(record.looks, 1) if look.answer == answer]
        axes.scatter([hours[at] for at in points], [shares[at] for at in points], color=colour, s=18, label=answer)
    axes.set(
        xlabel="hours since the start",
        ylabel="% of shoppers",
        ylim=(-4, 104),
        title=f"{record.version}: {record.status}",
    )
    if record.looks:
        axes.legend(loc="upper left", fontsize=8, ncols=4)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return base64.b64encode(content.getvalue()).decode()


def materialisation(record: RolloutRecord) -> dg.AssetMaterialization:
    """The state of a rollout as an event that a sensor may report."""
    metadata: dict[str, Any] = metadata_of(record)
    return dg.AssetMaterialization(asset_key=canary_rollout.key, metadata=metadata)
