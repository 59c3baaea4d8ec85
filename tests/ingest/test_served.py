"""Daily tables of lists shown and their outcomes, against the stream they were made of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.fs as pa_fs
import pytest

from lambda_api.atomic_files import write_text
from lambda_api.settings import make_settings
from lambda_api.state.event_sink import JsonLinesSink
from recsys_assets import event_stream
from recsys_assets.event_stream import ATTRIBUTION_S, events_root
from recsys_assets.ingest.served import days_to_make, list_outcomes, served_lists
from recsys_assets.ingest.served_assets import list_outcomes as outcomes_asset
from recsys_assets.ingest.served_assets import served_lists as lists_asset
from recsys_assets.lake import Lake, open_filesystem
from recsys_assets.partitions import DAYS
from tests.rollout.streams import Stream

FIRST = datetime.fromisoformat(DAYS.get_first_partition_key() or "").replace(tzinfo=UTC) + timedelta(days=3, hours=12)
DAY = FIRST.date()
NOON = FIRST.timestamp()


def stream(root: str, at: float = NOON) -> Stream:
    return Stream(JsonLinesSink(root, clock=lambda: at), NOON, "e-1")


def test_every_shown_product_has_a_row_and_counts_what_answered_it(tmp_path: Path) -> None:
    root = str(tmp_path)
    shop = stream(root)
    request = shop.shown("ann", "challenger", products=("p1", "p2"))
    other = shop.shown("ann", "challenger", at=60, products=("p1",))
    shop.did("ann", "view", at=10, request_id=request)
    shop.did("ann", "purchase", at=20, request_id=request, price=3.0, quantity=2)
    shop.did("ann", "purchase", at=20, request_id=request, price=3.0, quantity=2, event_id=f"e-{shop.count}")
    shop.did("ann", "view", at=ATTRIBUTION_S + 1, request_id=request)
    shop.did("bob", "view", at=30, request_id=request)
    shop.did("ann", "view", at=30)
    shop.close()
    lists = served_lists(root, DAY)
    assert [(one["request_id"], one["place"], one["product_id"]) for one in lists.to_pylist()] == [
        (request, 1, "p1"), (request, 2, "p2"), (other, 1, "p1"),
    ]  # fmt: skip
    assert set(lists["variant"].to_pylist()) == {"challenger"} and lists["shown_at"][0].as_py() == FIRST
    rows = list_outcomes(root, DAY).to_pylist()
    counts = [(one["views"], one["carts"], one["purchases"], one["revenue"], one["seconds"]) for one in rows]
    assert counts == [(1, 0, 1, 6.0, 10.0), (0, 0, 0, 0.0, None), (0, 0, 0, 0.0, None)]
    assert served_lists(root, DAY + timedelta(days=1)).num_rows == 0


def test_late_feedback_makes_the_day_again(tmp_path: Path) -> None:
    settings = make_settings({"home": tmp_path, "first_day": DAYS.get_first_partition_key()})
    lake, root = Lake(settings.lake_uri), events_root(settings)
    shop = stream(root)
    request = shop.shown("ann", "challenger", products=("p1",))
    shop.close()
    resources = {"settings": settings, "lake": lake}
    assert days_to_make(root, lake) == [DAY]

    def make() -> int:
        done = dg.materialize([lists_asset, outcomes_asset], resources=resources, partition_key=DAY.isoformat())
        assert done.success
        return int(lake.read("list_outcomes")["views"].to_pylist()[0])

    assert make() == 0 and days_to_make(root, lake) == []
    late = stream(root, NOON + 3 * 86_400)
    late.count = 50
    late.did("ann", "view", at=30, request_id=request)
    late.close()
    assert days_to_make(root, lake) == [DAY]
    assert make() == 1 and days_to_make(root, lake) == []


def test_a_stream_of_many_days_is_listed_once_and_a_day_by_its_own_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days, root, asked = [DAY + timedelta(days=offset) for offset in range(30)], str(tmp_path / "events"), []
    for kind in ("exposure", "feedback"):
        for day in days:
            write_text(tmp_path / "events" / kind / f"date={day}" / "a.jsonl", "{}\n")

    class Counting:
        def __init__(self, filesystem: pa_fs.FileSystem) -> None:
            self.open_input_stream = filesystem.open_input_stream
            self.list = filesystem.get_file_info

        def get_file_info(self, folder: pa_fs.FileSelector) -> list[pa_fs.FileInfo]:
            asked.append(Path(folder.base_dir).relative_to(root).as_posix())
            return self.list(folder)

    def counted(uri: str) -> tuple[Counting, str]:
        filesystem, path = open_filesystem(uri)
        return Counting(filesystem), path

    monkeypatch.setattr(event_stream, "open_filesystem", counted)
    assert days_to_make(root, Lake(str(tmp_path / "lake"))) == days
    assert len(asked) == len(set(asked)) == 2 * (1 + len(days))
    asked.clear()
    assert served_lists(root, days[3]).num_rows == 0
    assert sorted(asked) == ["exposure", f"exposure/date={days[3]}", f"exposure/date={days[4]}"]


def test_nothing_served_is_no_day(tmp_path: Path) -> None:
    assert days_to_make(str(tmp_path / "none"), Lake(str(tmp_path / "lake"))) == []


@pytest.mark.parametrize("table", [served_lists, list_outcomes])
def test_a_day_without_lists_is_an_empty_table(tmp_path: Path, table: object) -> None:
    assert table(str(tmp_path / "none"), DAY).num_rows == 0  # type: ignore[operator]
