"""The fault table, printed at the end of the run."""

from typing import Any

from tests.faults.server import TABLE


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What every fault did to shoppers and to feedback."""
    if TABLE:
        terminalreporter.section("faults under load")
        for fault, shoppers, feedback in TABLE:
            terminalreporter.write_line(f"{fault}\n    {shoppers}\n    feedback: {feedback}")
