"""What the detection benchmark writes down of alarms that are given."""

from datetime import date, timedelta
from typing import Any, cast

from benchmarks.year.detection import PEAK, Found, _until, table_of
from recsys_assets.monitoring.retraining import Decision, Evidence, Family

START = date(2024, 5, 20)


class Alarms:
    """A follower whose reports find what is given, per day after `START`."""

    def __init__(self, given: dict[int, list[Family]]) -> None:
        self.given = given
        self.evidence: list[Evidence] = []
        self.episode = None

    def live(self, day: date, *, features: bool) -> tuple[list[Family], Decision]:
        found = self.given.get((day - START).days, [])
        self.evidence += [Evidence(family, day, day, family) for family in found]
        return found, Decision(False, "", "none", None, 0, day)


def follow(given: dict[int, list[Family]]) -> Found:
    return _until(cast(Any, Alarms(given)), PEAK, 7, START, START + timedelta(days=14))


def test_an_alarm_is_told_by_what_raised_it_and_not_by_the_first_warning() -> None:
    found = follow({5: ["feature"], 6: ["feature"], 7: ["feature", "twin"], 9: ["concept", "feature"]})

    assert (found.warned, found.families) == (6, "feature")
    assert (found.triggered, found.alarm_families) == (8, "twin")
    assert found.warned_days == 4


def test_the_table_counts_first_alarms_by_what_raised_them() -> None:
    quiet = follow({5: ["feature"]})
    assert (quiet.triggered, quiet.alarm_families) == (None, "")

    table = table_of([follow({7: ["twin"]}), follow({3: ["twin"]}), follow({3: ["concept"]}), quiet])

    column = next(one for one in table.columns if one.header == "first alarm by")
    assert list(column.cells) == ["twin: 2; concept: 1"]
