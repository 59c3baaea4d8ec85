"""What the three reports have in common: findings with a state, and the file that `recsys monitor` reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter

from lambda_api.atomic_files import write_text

State = Literal["ok", "warning", "too few"]
FOLDER: Final = "monitoring"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report: what was looked at, its state, and a sentence with the figures."""

    name: str
    state: State
    sentence: str


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """The findings of one report of one day."""

    report: str
    day: date
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are warnings."""
        return tuple(one for one in self.findings if one.state == "warning")


def save_summary(summary: ReportSummary, reports: Path) -> Path:
    """Write it under the home's folder ``reports``; the newest of each report stays."""
    return write_text(reports / FOLDER / f"{summary.report}.json", _ADAPTER.dump_json(summary, indent=1).decode())


def load_summaries(reports: Path) -> list[ReportSummary]:
    """The newest summary of each report, by name; files that cannot be read are left out."""
    found = []
    for path in sorted((reports / FOLDER).glob("*.json")):
        try:
            found.append(_ADAPTER.validate_json(path.read_bytes()))
        except ValueError:  # of another version; the next report replaces it
            continue
    return found


def worst(findings: Sequence[Finding]) -> State:
    """``warning`` before ``ok`` before ``too few``."""
    states = {finding.state for finding in findings}
    return "warning" if "warning" in states else "ok" if "ok" in states else "too few"


_ADAPTER = TypeAdapter(ReportSummary)
