"""One interaction of a shopper with a product: its kinds, their compact codes, and the event itself.

Put vocabulary of the interaction log here when serving and the asset graph both speak it. No numpy: handlers and state
stores speak it too.
Keep table schemas (``recsys_assets.schema``) and weights (a choice of each model) out.
"""

from dataclasses import dataclass
from enum import IntEnum


class InteractionType(IntEnum):
    """Kind of one interaction. The integer is what arrays and bundles store; the label is what tables store."""

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
        for kind in cls:
            if kind.label == label:
                return kind
        accepted = ", ".join(kind.label for kind in cls)
        raise ValueError(f"unknown interaction type {label!r}; expected one of: {accepted}")


INTERACTION_LABELS: tuple[str, ...] = tuple(kind.label for kind in InteractionType)
"""Labels in code order, so that ``INTERACTION_LABELS[code]`` is the label of a stored code."""


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction as a request or a state store holds it. ``timestamp`` is in seconds since 1970 UTC."""

    # Read by pydantic where an event comes from outside; nothing is imported for it.
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    product_id: str
    interaction_type: InteractionType
    timestamp: int
