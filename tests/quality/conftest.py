"""Fixtures of the quality tests."""

from pathlib import Path

import pytest

from tests.quality.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop with good products and users, and no drops yet."""
    return Shop(tmp_path)
