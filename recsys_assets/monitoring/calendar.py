"""Days that a shop's log lacks, apart from weekdays on which the shop is closed."""

from collections.abc import Collection
from datetime import date, timedelta
from typing import Final

WEEKS: Final = 8


def missing_days(held: Collection[date], last: date, count: int) -> list[date]:
    """Days without events among the ``count`` that end with ``last``, ascending; none before the log begins.

    A day is missed when at least half of the same weekdays of the `WEEKS` before have events: a shop that is closed on
    Saturdays misses no Saturday. Without any such weekday in the log it is missed.
    """
    first = min(held, default=last)
    days = [last - timedelta(days=number) for number in reversed(range(count))]
    return [day for day in days if day >= first and day not in held and _is_usual(held, first, day)]


def _is_usual(held: Collection[date], first: date, day: date) -> bool:
    before = [day - timedelta(weeks=week) for week in range(1, WEEKS + 1)]
    inside = [one for one in before if one >= first]
    return not inside or 2 * sum(one in held for one in inside) >= len(inside)
