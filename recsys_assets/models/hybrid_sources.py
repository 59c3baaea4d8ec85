"""Candidate sources of the hybrid: how each is made, and what it needs of the shop's data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lambda_api.recommender.two_stage.sources import Source, SourceKind
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import weighting

LONG, SHORT = 90.0, 3.0
"""Half-lives in days of a shopper's events, counted back from the newest: lasting taste, and current interest."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a `Source` is made; attributes that are not listed are those of `Source` and its weighting.

    Attributes:
        step_decay: factor by which an event loses weight with every later moment of the shopper.
        needs: catalogue columns of which at least one must hold values; none by default.
    """

    kind: SourceKind
    take: int
    half_life_days: float | None = LONG
    graph: str = ""
    prior: bool = False
    combine: Literal["sum", "max"] = "max"
    step_decay: float = 1.0
    needs: tuple[str, ...] = ()

    def applies(self, data: TrainingData) -> bool:
        """Whether the shop has what the source needs; the same for every window of a log."""
        catalogue = data.catalogue
        return not self.needs or any(
            column in catalogue.column_names and catalogue[column].null_count < catalogue.num_rows
            for column in self.needs
        )

    def source(self, name: str, type_weights: Mapping[str, float]) -> Source:
        """The source called ``name``, with the shop's weights of interaction types."""
        return Source(
            name=name,
            kind=self.kind,
            take=self.take,
            weighting=weighting(type_weights, self.half_life_days, self.step_decay, self.combine),
            graph=self.graph,
            prior=self.prior,
        )


RECIPES: Mapping[str, Recipe] = {
    "co_purchase": Recipe("graph", 80, graph="co_purchase", prior=True),
    "recent": Recipe("graph", 80, graph="recent"),
    "content": Recipe("graph", 40, graph="content", prior=True, needs=("name", "category", "brand", "price")),
    "same_session": Recipe("graph", 40, SHORT, "same_session", prior=True),
    "next_session": Recipe("graph", 40, SHORT, "next_session"),
    "factors": Recipe("factors", 0),
    "trending": Recipe("trending", 60),
    "category": Recipe("category", 40, needs=("category",)),
    "repurchase": Recipe("repurchase", 100, combine="sum"),
}
"""Every source by name, for shoppers between two visits."""

SESSION_RECIPES: Mapping[str, Recipe] = {
    "session": Recipe("graph", 60, None, "same_session", step_decay=0.8),
    "session_walk": Recipe("graph", 60, None, "session_walk", step_decay=0.8),
    "session_recent": Recipe("graph", 40, None, "recent", step_decay=0.6),
    "next_click": Recipe("graph", 40, None, "next_click", step_decay=0.4),
}
"""Sources that only shoppers within a session have; the newest clicks count most."""

SESSION_ALSO = ("co_purchase", "content", "factors", "trending", "category", "repurchase")
"""Sources of `RECIPES` that shoppers within a session have as well: their taste, and what there is for new visitors."""

SOURCES = tuple(RECIPES)
