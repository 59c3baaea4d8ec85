"""Tables of the registry and of the API keys, for a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lambda_api.state.api_keys import StoredKey
from recsys_assets.registry.records import VALIDATION_NDCG, ExperimentRun, ModelVersion


def print_versions(console: Console, versions: Sequence[ModelVersion]) -> None:
    """The registry, newest first."""
    table = Table(
        "version", "model", "status", "NDCG", "data until", "registered", title="registered models", box=SIMPLE_HEAD
    )
    for version in reversed(versions):
        ndcg = next((value for name, value in version.metrics.items() if name.startswith("ndcg@")), None)
        table.add_row(
            str(version.version),
            version.model,
            str(version.status),
            "" if ndcg is None else f"{ndcg:.4f}",
            f"{version.data_window.end:%Y-%m-%d}",
            f"{version.created_at:%Y-%m-%d %H:%M}",
        )
    console.print(table)


def print_runs(console: Console, runs: Sequence[ExperimentRun]) -> None:
    """Experiment runs, in the order given."""
    table = Table(
        "started",
        "model",
        "NDCG",
        "seconds",
        "data until",
        "code",
        title="experiment runs",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for run in runs:
        ndcg = run.metrics.get(VALIDATION_NDCG)
        table.add_row(
            f"{run.started_at:%Y-%m-%d %H:%M}",
            run.model,
            "" if ndcg is None else f"{ndcg:.4f}",
            f"{run.duration_s:.1f}",
            f"{run.data_window.end:%Y-%m-%d}",
            run.git_revision[:10],
        )
    console.print(table)


def print_keys(console: Console, keys: Sequence[StoredKey], now: float) -> None:
    """API keys, oldest first; a secret is known to nobody by now."""
    table = Table(
        "id", "name", "scopes", "made", "expires", "a day", "state", title="API keys", box=SIMPLE_HEAD, padding=0
    )
    for key in keys:
        expired = key.expires_at is not None and key.expires_at <= now
        state = f"revoked {_day(key.revoked_at)}" if key.revoked_at is not None else "expired" if expired else "valid"
        scopes = ", ".join(sorted(key.scopes))
        expires = "never" if key.expires_at is None else _day(key.expires_at)
        quota = "no limit" if key.requests_per_day is None else f"{key.requests_per_day:,}"
        table.add_row(key.key_id, escape(key.name), scopes, _day(key.created_at), expires, quota, state)
    console.print(table)


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
