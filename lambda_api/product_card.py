"""What a shop shows of a product. Without numpy, since processes that never score import it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProductCard:
    """One product as shown to people. ``price`` is in the shop's currency; ``None`` means unknown."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012

    product_id: str
    name: str | None
    category: str | None
    brand: str | None
    price: float | None
    available: bool
