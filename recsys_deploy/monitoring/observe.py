"""Collects facts about an environment: API, route, registry, lake, alarms. One failure does not hide the others."""

from collections.abc import Callable
from datetime import UTC
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from lambda_api.client import Recommendations, RecommendationsError
from lambda_api.settings import Settings
from lambda_api.state.addressing import MalformedRecord
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import TableUnavailable
from recsys_assets.lake import Lake, LakeError
from recsys_assets.registry.model_registry import ModelRegistry, RegistryError
from recsys_deploy.monitoring.findings import Alarm, Observed, Seen

RELEASE_ALARM = "release"
"""Name of the composite alarm of releases, after the prefix (terraform/modules/monitoring)."""

_Fact = TypeVar("_Fact")
_EXPECTED = (
    RecommendationsError,
    TableUnavailable,
    MalformedRecord,
    RegistryError,
    LakeError,
    ClientError,
    BotoCoreError,
    OSError,
)
"""What a part that is down raises; anything else is a defect here and keeps its traceback."""


def observe(
    settings: Settings, url: str | None, cloudwatch: Callable[[], Any] | None, releasing: bool = False
) -> Observed:
    """Look once.

    Args:
        url: of the API; ``None``: it is not asked.
        cloudwatch: makes a client; ``None``: there are no alarms to ask for. Alarms are those whose names begin with
            ``settings.table_prefix``, which is how Terraform calls everything of an environment.
        releasing: a version is being released: the composite alarm of releases decides, where there is one.
    """
    return Observed(
        route=_see(lambda: read_routing(open_table(settings, "serving"))),
        champion=_see(lambda: ModelRegistry(open_table(settings, "registry")).champion()),
        newest_day=_see(lambda: max(Lake(settings.lake_uri).days("interactions"), default=None)),
        health=None if url is None else _see(lambda: Recommendations(url, key="").health()),
        alarms=None if cloudwatch is None else _see(lambda: _sounding(cloudwatch(), settings.table_prefix, releasing)),
    )


def _sounding(cloudwatch: Any, prefix: str, releasing: bool) -> list[Alarm]:
    kinds = ["CompositeAlarm", "MetricAlarm"]
    pages = list(cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix, AlarmTypes=kinds))
    composite = [alarm for page in pages for alarm in page.get("CompositeAlarms", ())]
    single = [alarm for page in pages for alarm in page.get("MetricAlarms", ())]
    of_releases = [alarm for alarm in composite if alarm["AlarmName"] == f"{prefix}{RELEASE_ALARM}"]
    return [
        Alarm(alarm["AlarmName"], alarm["StateUpdatedTimestamp"].astimezone(UTC))
        for alarm in (of_releases if releasing and of_releases else single)
        if alarm["StateValue"] == "ALARM"
    ]


def _see(look: Callable[[], _Fact | None]) -> Seen[_Fact]:
    try:
        return Seen(look())
    except _EXPECTED as error:
        return Seen(trouble=f"{type(error).__name__}: {error}")
