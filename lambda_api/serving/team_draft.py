"""Merges the lists of two versions by team draft: in every round each version places its best product that is free.

Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?" (CIKM 2008). Who places first is
drawn anew in every round, so that both versions have equally good places on average. What a shopper then takes from one
version's places rather than the other's compares the two with that shopper.

A product that both would place next says nothing about either: it takes its place without a team, and so does what is
left once a version has no product any more.
"""

import hashlib
from collections.abc import Iterator

from lambda_api.serving.question import RankedItem, Ranking
from lambda_api.serving.scorers import Scored


def draft(champion: Scored, challenger: Scored, k: int, request_id: str) -> Scored:
    """The merged list of at most ``k`` items under the challenger's version; the same for the same request id."""
    best = (champion.ranking.items, challenger.ranking.items)
    versions = (champion.model_version, challenger.model_version)
    coins, taken = _coins(request_id), set[str]()
    items: list[RankedItem] = []
    teams: list[str | None] = []

    def place(item: RankedItem, team: str | None) -> None:
        items.append(item)
        teams.append(team)
        taken.add(item.product_id)

    while len(items) < k:
        left, right = (next((item for item in one if item.product_id not in taken), None) for one in best)
        if left is None or right is None or left.product_id == right.product_id:
            either = left or right
            if either is None:
                break
            place(either, None)
            continue
        pair, first = ((left, versions[0]), (right, versions[1])), next(coins)
        for item, team in (pair[first], pair[1 - first])[: k - len(items)]:
            place(item, team)
    personal = champion.ranking.personal or challenger.ranking.personal
    return Scored(Ranking(tuple(items), "ranked", personal), challenger.model_version, None, tuple(teams))


def _coins(request_id: str) -> Iterator[int]:
    """Bits of SHA-256 of the request id, and of as many further digests as are asked for."""
    block = hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).digest()
    while True:
        for byte in block:
            yield from (byte >> bit & 1 for bit in range(8))
        block = hashlib.sha256(block).digest()
