"""Daily quotas of API keys: exact in one process, bounded over many, and never a reason to fail."""

from hypothesis import given
from hypothesis import strategies as st

from lambda_api.state.key_usage import DAY_S, SYNC_S, KeyQuota, KeyUsage
from lambda_api.state.table import Table, TableUnavailable
from tests.state.tables import Clock, ModelTable

START = 1_700_000_000


def usage(table: Table, clock: Clock) -> KeyUsage:
    return KeyUsage(table, clock=clock, now=clock)


def test_one_process_counts_exactly_and_a_new_day_begins_at_midnight() -> None:
    clock = Clock(START)
    counted, quota = usage(ModelTable(clock), clock), KeyQuota("k", 5)
    assert [counted.spend(quota) for _ in range(5)] == [None] * 5
    until_midnight = DAY_S - START % DAY_S
    assert counted.spend(quota) == until_midnight
    clock.now += until_midnight - 1
    assert counted.spend(quota) == 1
    assert counted.spend(KeyQuota("another", 1)) is None, "every key has its own"
    clock.now += 1
    assert [counted.spend(quota) is None for _ in range(6)] == [True] * 5 + [False]


def test_a_process_that_starts_later_knows_what_others_have_answered() -> None:
    clock, quota = Clock(START), KeyQuota("k", 6)
    table = ModelTable(clock)
    first = usage(table, clock)
    assert [first.spend(quota) for _ in range(4)] == [None] * 4
    clock.now += SYNC_S
    assert first.spend(quota) is None
    second = usage(table, clock)
    assert second.spend(quota) is None
    assert second.spend(quota) is not None


@given(
    processes=st.integers(1, 5),
    per_day=st.integers(1, 60),
    requests=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 4)), max_size=150),
)
def test_a_quota_is_exceeded_by_at_most_what_is_answered_between_two_looks(
    processes: int, per_day: int, requests: list[tuple[int, float]]
) -> None:
    clock = Clock(START - START % DAY_S)
    table = ModelTable(clock)
    all_of_them = [usage(table, clock) for _ in range(processes)]
    answered: list[list[float]] = [[] for _ in all_of_them]
    for number, pause in requests:
        clock.now += pause
        process = number % processes
        if all_of_them[process].spend(KeyQuota("k", per_day)) is None:
            answered[process].append(clock())
    total = sum(map(len, answered))
    if processes == 1:
        assert total == min(per_day, len(requests))
    # Unseen of another process: what it answered since it wrote, and what it answered since it was read.
    most = [
        max((sum(at <= one <= at + SYNC_S for one in moments) for at in moments), default=0) for moments in answered
    ]
    assert min(per_day, len(requests)) <= total <= per_day + 2 * sum(most)


def test_while_the_table_is_down_the_own_count_decides() -> None:
    class Down(ModelTable):
        def write(self, writes: object) -> None:
            raise TableUnavailable("throttled")

    clock = Clock(START)
    counted = usage(Down(clock), clock)
    assert [counted.spend(KeyQuota("k", 3)) is None for _ in range(5)] == [True] * 3 + [False] * 2


def test_requests_that_are_refused_are_not_counted() -> None:
    clock, quota = Clock(START), KeyQuota("k", 2)
    table = ModelTable(clock)
    first = usage(table, clock)
    for _ in range(50):
        first.spend(quota)
    clock.now += SYNC_S
    first.spend(quota)
    [record] = table.query(f"usage#k#{START // DAY_S}")
    assert record.attributes["requests"] <= 3
