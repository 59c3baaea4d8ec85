"""Fixtures of the quality tests."""

from pathlib import Path

import pytest

from recsys_assets.quality import checks
from tests.quality.shop import Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop with good products and users, and no deliveries yet. No Data Docs: rendering them takes most of a run."""
    monkeypatch.setattr(checks, "document_days", lambda *_: None)
    monkeypatch.setattr(checks, "document_table", lambda *_: None)
    return Shop(tmp_path)
