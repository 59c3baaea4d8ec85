"""Merges the stored events of a shopper with those of the request, each event once."""

from collections.abc import Sequence

from lambda_api.interactions import Event

SAME_EVENT_S = 300
"""A stored event at most this old equals an event of the request without timestamp, of the same product and kind."""


def merged(stored: Sequence[Event], request_events: Sequence[Event], now: int) -> tuple[Event, ...]:
    """Stored events and those of the request as one history, oldest first, without duplicates.

    ``stored`` is oldest first. Events are duplicates when product, kind and time are equal, or when the client sent no
    time (it is then ``now``) and a stored event of the same product and kind is at most `SAME_EVENT_S` old.
    """
    if not request_events:
        return tuple(stored)  # oldest first already
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
