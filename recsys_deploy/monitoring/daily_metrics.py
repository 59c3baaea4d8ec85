"""The figures of one day's reports as CloudWatch metrics, which the alarms of ``terraform/stack/daily.tf`` watch.

One dimension, ``service`` = ``daily``: every combination of dimension values is charged as a metric of its own.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from lambda_api.handlers.observe import NAMESPACE
from recsys_assets.aws_errors import AwsCallFailed, translate_aws_errors
from recsys_assets.data_gate import closed_gates
from recsys_assets.lake import Lake
from recsys_assets.monitoring.drift import stored_evidence
from recsys_assets.monitoring.served_hits import daily_rates

SERVICE: Final = "daily"


def figures_of(lake: Lake, day: date) -> dict[str, float]:
    """Figures of ``day`` (UTC) by name of the metric; those that cannot be computed are left out.

    ``DriftFamilies``: families of detectors in alarm; ``GatesClosed``: deliveries that may not be used; ``DataAge`` and
    ``StreamAge``: days from the newest interactions and the newest list shown to ``day``; ``HitRate``: of what was
    served, the mean over shoppers of the newest day with purchases.
    """
    found = {
        "DriftFamilies": float(len({one.family for one in stored_evidence(lake, day, days=1)})),
        "GatesClosed": float(len(closed_gates(lake))),
    }
    for name, table in (("DataAge", "interactions"), ("StreamAge", "served_lists")):
        if days := lake.days(table):
            found[name] = float(max((day - days[-1]).days, 0))
    if rates := daily_rates(lake, day):
        found["HitRate"] = rates[-1].rate
    return found


def put_figures(cloudwatch: Any, figures: Mapping[str, float]) -> None:
    """Store them under the current time. Raises `AwsCallFailed`."""
    dimensions = [{"Name": "service", "Value": SERVICE}]
    data = [{"MetricName": name, "Value": value, "Dimensions": dimensions} for name, value in figures.items()]
    with translate_aws_errors("cloudwatch:PutMetricData", AwsCallFailed):
        cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=data)
