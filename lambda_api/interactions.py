"""Interactions of shoppers with products: the kinds, their integer codes, and one event.

Without numpy, since handlers and state stores that never score import it. Table schemas: ``recsys_assets.schema``.
"""

from dataclasses import dataclass
from enum import IntEnum


class InteractionType(IntEnum):
    """Kind of one interaction. Arrays and bundles store the integer, tables the label."""

    VIEW = 0
    ADD_TO_CART = 1
    PURCHASE = 2
    RATING = 3

    @property
    def label(self) -> str:
        """The name in the canonical tables: ``view``, ``add_to_cart``, ``purchase`` or ``rating``."""
        return self.name.lower()

    @classmethod
    def from_label(cls, label: str) -> "InteractionType":
        """Inverse of `label`. Raises ``ValueError`` naming the accepted labels."""
        kind = _KINDS.get(label)
        if kind is None:
            raise ValueError(f"unknown interaction type {label!r}; expected one of: {', '.join(_KINDS)}")
        return kind


INTERACTION_LABELS: tuple[str, ...] = tuple(kind.label for kind in InteractionType)
"""Labels in the order of the codes: ``INTERACTION_LABELS[code]``."""

_KINDS = {kind.label: kind for kind in InteractionType}


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction as a request or a state store holds it. ``timestamp`` is in seconds since 1970 UTC."""

    # Settings for pydantic where it validates an event from a request; needs no import.
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    product_id: str
    interaction_type: InteractionType
    timestamp: int
