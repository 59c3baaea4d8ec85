"""What a source of candidates is: its kind, how much it takes, what the shopper's events weigh in it.

Put what describes a source, and travels in a bundle, here. Keep asking it (``candidates``) and fitting its graph
(``recsys_assets.models.hybrid_graphs``) out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from lambda_api.recommender.profiles import EventWeighting

SourceKind = Literal["graph", "trending", "category", "again", "factors", "towers"]

WITHOUT_PROFILE: tuple[SourceKind, ...] = ("trending", "factors", "towers")
"""Sources that score whatever is proposed, and follow no past product."""


@dataclass(frozen=True, slots=True)
class Source:
    """One way of proposing products.

    Attributes:
        name: of the source, in feature names and tables.
        kind: ``graph`` follows item-to-item weights from the shopper's profile; ``trending`` proposes what sells now to
            everybody; ``category`` what sells now in the shopper's categories; ``again`` the shopper's own products;
            ``factors`` proposes nothing, which would take a look at every product, but scores what others propose;
            ``towers`` proposes what is near the shopper's vector.
        take: proposals per shopper.
        weighting: what the shopper's events weigh (``graph``, ``category`` and ``again``).
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
        return {
            "name": self.name,
            "kind": self.kind,
            "take": self.take,
            "weighting": self.weighting.parameters(),
            "graph": self.graph,
            "prior": self.prior,
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Inverse of `parameters`."""
        return cls(**{**parameters, "weighting": EventWeighting.from_parameters(parameters["weighting"])})


def source_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """Names in column order."""
    return tuple(source.name for source in sources)
