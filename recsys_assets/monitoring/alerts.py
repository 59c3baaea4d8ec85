"""Alerts: what happened, since when, how sure, and what to do, sent to a log, an SNS topic or a webhook."""

import json
import logging
import random
import time
import urllib.request
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final, Protocol

from lambda_api.errors import RecsysError

ATTEMPTS: Final = 3
TIMEOUT_S: Final = 5.0


class AlertError(RecsysError):
    """An alert could not be sent."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        title: what happened, in a few words.
        since: first day of the change.
        certainty: how sure it is, with the figures.
        action: what to do.
    """

    title: str
    since: date
    certainty: str
    action: str

    @property
    def text(self) -> str:
        """All of it as sentences."""
        return f"{self.title}, since {self.since}. {self.certainty} {self.action}"


class Alerts(Protocol):
    """Sends alerts somewhere."""

    def send(self, alert: Alert) -> None:
        """Send one. Raises `AlertError` when it could not be delivered."""


class LogAlerts:
    """Writes alerts to the log, as warnings."""

    def send(self, alert: Alert) -> None:
        logging.getLogger("recsys.alerts").warning(alert.text)


@dataclass(frozen=True, slots=True)
class SnsAlerts:
    """Publishes to an SNS topic; ``client`` is boto3's, which retries by itself."""

    topic_arn: str
    client: Any

    def send(self, alert: Alert) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.publish(TopicArn=self.topic_arn, Subject=alert.title[:100], Message=alert.text)
        except (BotoCoreError, ClientError) as error:
            raise AlertError(f"SNS topic {self.topic_arn}: {error}", remedy="check RECSYS_ALERTS") from error


@dataclass(frozen=True, slots=True)
class WebhookAlerts:
    """Posts JSON with ``text`` (as chat services expect it) and the fields of the alert."""

    url: str

    def send(self, alert: Alert) -> None:
        body = json.dumps({"text": alert.text, **asdict(alert), "since": alert.since.isoformat()}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"}, method="POST")
        for attempt in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                    return
            except OSError as error:
                if attempt == ATTEMPTS - 1:
                    raise AlertError(f"webhook {self.url}: {error}", remedy="check RECSYS_ALERTS") from error
                time.sleep(random.uniform(0.5, 1.5) * 2**attempt)


def open_alerts(address: str) -> Alerts:
    """The port for the setting ``alerts``: empty (the log), ``arn:aws:sns:...`` or an ``https://`` address.

    Raises:
        AlertError: another kind of address.
    """
    if not address:
        return LogAlerts()
    if address.startswith("arn:aws"):
        from recsys_assets.aws_clients import open_clients

        return SnsAlerts(address, open_clients("sns")[0])
    if address.startswith(("https://", "http://")):
        return WebhookAlerts(address)
    raise AlertError(f"RECSYS_ALERTS={address} is neither an SNS topic's ARN nor an https:// address")
