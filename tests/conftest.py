"""Fixtures every test may use."""

import os
import signal
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

# One calendar that covers every data set the tests touch, read when the asset modules are first imported.
os.environ.setdefault("RECSYS_FIRST_DAY", "2010-12-01")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Waiting OpenMP threads spin; on cores shared with other processes that makes two many times slower than one.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

# Time limits per example would fail tests on a machine that is busy with something else.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A shell's background job ignores Ctrl-C and so would every process the tests start and then interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class FailuresAtOnce:
    """Prints a failure when it happens: a run that is cut short prints no summary."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            print(f"\n{report.nodeid} failed in {report.when}\n{report.longreprtext[-3_000:]}", flush=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse ids that stand twice: pytest-xdist runs one of their tests and says nothing of the others."""
    if twice := [name for name, count in Counter(item.nodeid for item in session.items).items() if count > 1]:
        raise pytest.UsageError(f"several tests have one id: {', '.join(twice)}; give each case an id of its own")


SHARED_DATA = Path(os.environ.get("SHOP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets; the test is skipped, loudly, where it is not present."""
    if not SHARED_DATA.is_dir():
        warnings.warn(
            f"REAL DATA NOT FOUND at {SHARED_DATA}: tests on real shops are skipped. "
            "Set SHOP_TEST_DATA to a folder holding online_retail/, retailrocket_buyers/ and amazon_beauty/.",
            stacklevel=1,
        )
        pytest.skip(f"real data not found at {SHARED_DATA}; set SHOP_TEST_DATA")
    return SHARED_DATA
