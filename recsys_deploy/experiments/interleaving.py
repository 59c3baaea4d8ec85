"""Interleaved lists: what each shopper took from the places of either version, and the comparison of the two.

Both versions place products in every list (``lambda_api.serving.team_draft``). A purchase or click credits the version
that placed the product in the list that the event names. Credits are summed per shopper, and shoppers are the unit of
the statistics: the lift is what all shoppers took from the challenger's places over what they took from the
champion's. Every shopper is compared with themself, so that differences between shoppers are no noise.

The lift says which list shoppers prefer where they see both. It is no estimate of what sales the challenger would make
alone: products that one version has and the other lacks compete within one list, which makes differences larger.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_assets.event_stream import ATTRIBUTION_S
from recsys_deploy.experiments.comparison import PRIMARY, BusinessRules, Comparison, compared
from recsys_deploy.experiments.inference import FloatArray, Lift, paired_lift, winsorised
from recsys_deploy.experiments.stream_tables import once
from recsys_deploy.experiments.totals import CLICKS, Scope, assignment, rows_of


@dataclass(frozen=True)
class Credits:
    """Shoppers with interleaved lists; arrays are ``[n, 2]``: from the champion's places, from the challenger's.

    Attributes:
        first_ms: moment of the first list ``[n]``, milliseconds since 1970 UTC.
        conversions, clicks, revenue: purchases, products clicked, what was paid, within the shopper's window.
        led: lists in which the champion, and in which the challenger, placed first; a coin decides.
    """

    first_ms: NDArray[np.int64]
    conversions: FloatArray
    clicks: FloatArray
    revenue: FloatArray
    led: tuple[int, int]


def credits_of(
    lists: pa.Table, events: pa.Table, scope: Scope, versions: tuple[str, str], *, window_ms: int | None
) -> Credits:
    """Credits of the shoppers of ``scope`` whose window of ``window_ms`` has closed by ``scope.until_ms``.

    Lists that fell back to one version credit nobody, but begin a shopper's window.

    Args:
        lists, events: of `stream_tables`, in any order, repetitions allowed.
        versions: of champion and challenger.
        window_ms: ``None``: everything until ``scope.until_ms`` counts, for every shopper.
    """
    shown = scope.of(lists)
    shown = shown.filter(pc.equal(shown["variant"], scope.treatment))
    found = assignment(shown, scope)
    end = np.full(len(found.users), scope.until_ms) if window_ms is None else found.first_ms + window_ms
    closed = end <= scope.until_ms
    users, end = found.users.filter(pa.array(closed)), end[closed]
    drafted = shown.filter(pc.is_valid(shown["teams"]))
    credited = _credited(drafted.filter(pc.is_in(drafted["user_id"], users)), events, versions)
    within = credited["at"].to_numpy() * 1000 < end[rows_of(credited["user_id"], users)]
    credited = credited.filter(pa.array(within))
    cell = 2 * rows_of(credited["user_id"], users) + credited["side"].to_numpy()

    def total(kept: NDArray[np.bool_], weights: FloatArray | None = None) -> FloatArray:
        counts = np.bincount(cell[kept], None if weights is None else weights[kept], 2 * len(users))
        return counts.astype(np.float64).reshape(-1, 2)

    bought = pc.equal(credited["kind"], "purchase").to_numpy()
    is_click = pc.is_in(credited["kind"], pa.array(CLICKS)).to_numpy() & _is_first_of_place(credited)
    return Credits(
        first_ms=found.first_ms[closed],
        conversions=total(bought),
        clicks=total(is_click),
        revenue=total(bought, credited["revenue"].to_numpy()),
        led=led_by(drafted, versions),
    )


def lifts_of(credits: Credits) -> dict[str, Lift | None]:
    """Lift of the challenger's places over the champion's by metric; ``None`` where there are too few credits."""
    revenue = winsorised(credits.revenue.ravel()).reshape(-1, 2)
    totals = {PRIMARY: credits.conversions, "click_through": credits.clicks, "revenue": revenue}
    return {name: paired_lift(one[:, 0], one[:, 1]) for name, one in totals.items()}


def compare_credits(credits: Credits, rules: BusinessRules) -> Comparison:
    """Intervals of all metrics; the test for a sample-ratio mismatch is one of the coin that decides who places first.

    ``reached`` of the result are the lists that champion and challenger led.
    """
    n = len(credits.first_ms)
    return compared(lifts_of(credits), (n, n), credits.led, 0.5, rules)


def _credited(drafted: pa.Table, events: pa.Table, versions: tuple[str, str]) -> pa.Table:
    """Events that answer a place of one version, with ``side`` (0 champion, 1 challenger) and its ``list`` (row)."""
    answers = once(events.filter(pc.is_in(events["request_id"], drafted["request_id"].combine_chunks())), "event_id")
    listed = rows_of(answers["request_id"], drafted["request_id"].combine_chunks())
    answered = drafted.take(listed)
    late = answers["at"].to_numpy() - answered["at_ms"].to_numpy() / 1000
    # An event's time has whole seconds: one of the same second as the list counts as after it.
    counts = (late > -1) & (late <= ATTRIBUTION_S) & pc.equal(answers["user_id"], answered["user_id"]).to_numpy()
    products, teams = (answered[name].combine_chunks() for name in ("products", "teams"))
    owner = pc.list_parent_indices(teams).to_numpy()
    wanted = answers["product_id"].combine_chunks().take(pa.array(owner))
    side = rows_of(pa.chunked_array([teams.flatten()]), pa.array(versions))
    hit = pc.equal(products.flatten(), wanted).to_numpy(zero_copy_only=False) & (side >= 0) & counts[owner]
    found = answers.take(owner[hit])
    return found.append_column("side", pa.array(side[hit])).append_column("list", pa.array(listed[owner[hit]]))


def _is_first_of_place(credited: pa.Table) -> NDArray[np.bool_]:
    """Marks the first click on each product of each list: a product that is opened twice is one click."""
    products = credited["product_id"].combine_chunks().dictionary_encode()
    code = products.indices.to_numpy(zero_copy_only=False)
    is_first = np.zeros(credited.num_rows, dtype=bool)
    _, first = np.unique(credited["list"].to_numpy() * len(products.dictionary) + code, return_index=True)
    is_first[first] = True
    return is_first


def led_by(drafted: pa.Table, versions: tuple[str, str]) -> tuple[int, int]:
    """Lists whose first place of a single version is the champion's, and the challenger's."""
    teams = drafted["teams"].combine_chunks()
    side = rows_of(pa.chunked_array([teams.flatten()]), pa.array(versions))
    owner = pc.list_parent_indices(teams).to_numpy()[side >= 0]
    _, first = np.unique(owner, return_index=True)
    ours, theirs = np.bincount(side[side >= 0][first], minlength=2).tolist()
    return ours, theirs
