"""A shopper's history as one: what the store has and what the request brings, every click once.

Put here how the two become one. Keep storage (``lambda_api.state.history``) and scoring out.
"""

from collections.abc import Sequence

from lambda_api.interactions import Event

SAME_EVENT_S = 300
"""An untimed event of a request and a stored one this young, of one product and kind, are the same click."""


def merged(stored: Sequence[Event], request_events: Sequence[Event], now: int) -> tuple[Event, ...]:
    """Stored and sent events as one history, oldest first, without those that are in both.

    A sent event is a stored one when product, kind and time are the same, or when its time is ours (the client sent
    none) and the stored one is at most `SAME_EVENT_S` old.
    """
    known = {(event.product_id, event.interaction_type, event.timestamp) for event in stored}
    recent = {(e.product_id, e.interaction_type) for e in stored if e.timestamp >= now - SAME_EVENT_S}
    fresh: list[Event] = []
    for event in request_events:
        key = (event.product_id, event.interaction_type, event.timestamp)
        if key in known or (event.timestamp == now and key[:2] in recent):
            continue
        known.add(key)
        fresh.append(event)
    return tuple(sorted([*stored, *fresh], key=lambda event: event.timestamp))
