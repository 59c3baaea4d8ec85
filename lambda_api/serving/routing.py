"""Assigns shoppers to variants, and caches the routing record for up to 30 s.

A shopper's bucket is a number below 10,000 drawn from SHA-256 of salt and user id: the same on every machine and in
every process, uniform, and independent between experiments because each has its own salt. Variants own buckets:

* ``variants[1]``, the first challenger, owns those from 0 upwards,
* ``variants[2]``, the second, those from 9,999 downwards,
* ``variants[0]``, the champion, all in between.

So a challenger that grows takes shoppers from the champion only, and one that shrinks returns them to it: nobody moves
between challengers, and who met a challenger at 10 % meets it at 50 %. With weights alone this is possible for two
challengers and no more. Say variant ``i`` owns a set ``S_i(w)`` that grows with its weight ``w`` and ignores the
others'. When two fill everything between them, ``S_1(w)`` and ``S_2(10,000 - w)`` are complements for every ``w``:
``S_2`` fills the buckets in the reverse order of ``S_1``. A third set would have to be the reverse of ``S_1`` too, and
would collide with ``S_2`` in its first bucket. Hence at most three variants in a record.

Shoppers who are held out (``record.holdout``) keep an old version whatever the variants are. They are drawn first, by a
salt of their own: independently of every experiment, so that the shares among the others stay as the weights say.
"""

import hashlib
import time
from collections.abc import Callable

from lambda_api.serving.guard import Guard
from lambda_api.serving.refreshed import RefreshedValue
from lambda_api.state.routing_record import SEPARATOR, WHOLE, RoutingRecord, Variant, check_salt, read_routing
from lambda_api.state.table import Table

BUDGET_S = 0.05

HOLDOUT_SALT = "held out"
"""Always the same, so that no experiment and no rollout changes who is held out; a larger share only adds shoppers."""


def bucket(salt: str, user_id: str) -> int:
    """The shopper's bucket: the first 8 bytes of SHA-256(salt, U+001F, user id), big-endian, modulo 10,000.

    No salt contains U+001F, so the first one ends the salt, and no two pairs hash the same bytes. Buckets differ in
    probability by less than 1e-15 (2**64 is no multiple of 10,000).

    Raises:
        ValueError: an empty salt, or one that contains U+001F.
    """
    check_salt(salt)
    content = f"{salt}{SEPARATOR}{user_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % WHOLE


def assign(record: RoutingRecord, user_id: str) -> Variant:
    """The variant that answers this shopper; see the module for who owns which bucket.

    An anonymous visitor takes part with a visitor id passed as ``user_id``. Without any id the champion answers: a
    shared empty id would put all anonymous traffic into one variant.
    """
    champion, *challengers = record.variants
    if user_id and record.holdout is not None and bucket(HOLDOUT_SALT, user_id) < record.holdout.weight:
        return record.holdout
    if not user_id or not challengers:
        return champion
    at = bucket(record.salt, user_id)
    if at < challengers[0].weight:
        return challengers[0]
    if len(challengers) > 1 and at >= WHOLE - challengers[1].weight:
        return challengers[1]
    return champion


class RoutingCache(RefreshedValue[RoutingRecord]):
    """The routing record as `RefreshedValue`; a malformed record is a failed reading.

    Args:
        table: the table ``serving``.
        clock: monotonic seconds.
        guard: around the reading; by default one of 50 ms. `current` needs no other.
    """

    def __init__(
        self, table: Table, *, clock: Callable[[], float] = time.monotonic, guard: Guard | None = None
    ) -> None:
        guard = guard or Guard("routing", BUDGET_S, clock=clock)
        super().__init__(lambda: read_routing(table), guard, ttl_s=30.0, retry_s=2.0, clock=clock)
