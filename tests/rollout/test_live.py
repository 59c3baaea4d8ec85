"""A rollout on a running shop, from its first shopper to its verdict, with the API under load."""

from pathlib import Path

import pytest

from benchmarks.rollout_live import live
from recsys_deploy.rollout.record import Status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_version_that_fails_is_taken_back_and_no_shopper_gets_an_error(tmp_path: Path) -> None:
    ended = live("fails", tmp_path)
    assert (ended.record.status, ended.live) == (Status.ROLLED_BACK, [("v1.0.0", 10_000)]), ended.record.reason
    assert "failed" in ended.record.reason
    assert set(ended.watched.statuses) == {200}
    assert ended.watched.first < ended.watched.last, "shoppers were given to the version"
