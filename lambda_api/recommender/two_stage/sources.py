"""What a source of candidates is: its kind, how many it proposes, and the weights of the shopper's events in it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from lambda_api.recommender.profiles import EventWeighting

SourceKind = Literal["graph", "trending", "category", "repurchase", "factors"]

WITHOUT_PROFILE: tuple[SourceKind, ...] = ("trending", "factors")
"""Kinds that score every proposed product and do not start from past products."""


@dataclass(frozen=True, slots=True)
class Source:
    """One way of proposing products.

    Attributes:
        name: of the source, in feature names and tables.
        kind: ``graph`` follows item-to-item weights from the shopper's products; ``trending`` proposes what sells now
            to everybody; ``category`` what sells now in the shopper's categories; ``repurchase`` the shopper's own
            products; ``factors`` proposes nothing, it scores what the others propose.
        take: proposals per shopper.
        weighting: weights of the shopper's events (``graph``, ``category`` and ``repurchase``).
        graph: name of the weights (``graph``).
        prior: multiply scores by the trend of the product.
    """

    name: str
    kind: SourceKind
    take: int
    weighting: EventWeighting
    graph: str = ""
    prior: bool = False

    def parameters(self) -> dict[str, Any]:
        """JSON-able form, the input of `from_parameters`."""
        return asdict(self)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Inverse of `parameters`."""
        return cls(**{**parameters, "weighting": EventWeighting.from_parameters(parameters["weighting"])})


def source_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """Names in column order."""
    return tuple(source.name for source in sources)
