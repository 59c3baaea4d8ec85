"""What a shop shows of a product: the card that catalogues make, rankings carry and pages draw.

Put a field here when people are to see it. Keep how a catalogue stores it (``recommender.catalogue``) out. No numpy:
cards travel through processes that never score.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProductCard:
    """What a shop shows of a product. ``price`` in the shop's currency; ``None`` is unknown."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012 - a setting of pydantic, no field

    product_id: str
    name: str | None
    category: str | None
    brand: str | None
    price: float | None
    available: bool
