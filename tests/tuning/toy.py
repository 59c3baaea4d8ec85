"""A trainer whose best parameters are known, and folds that judge it by formula."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from recsys_assets.training.search_spaces import OneOf, Real, SearchSpace, Whole

BEST = {"x": 0.02, "n": 7, "kind": "b"}
SPACE: SearchSpace = {"x": Real(0.001, 10.0, log=True), "n": Whole(1, 20), "kind": OneOf(("a", "b", None))}


@dataclass(frozen=True)
class Toy:
    """Quality falls with the distance from `BEST`: at most 1, and 0.5 off for the wrong kind."""

    name: ClassVar[str] = "toy"

    x: float = 1.0
    n: int = 15
    kind: str | None = "a"
    refuses: str | None = None
    untouched: float = 4.0

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind == self.refuses:
            raise ValueError(f"kind {self.kind!r} is refused")

    def fit(self, data: Any, report: Any = None) -> Any:
        return self

    def parameters(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def quality(self) -> float:
        import math

        off = abs(math.log10(self.x / BEST["x"])) / 4 + abs(self.n - BEST["n"]) / 40
        return 1.0 - off - (0.0 if self.kind == BEST["kind"] else 0.5)


def make_toy(name: str, parameters: Mapping[str, Any]) -> Any:
    """`MakeTrainer` for the toy."""
    return Toy(**parameters)


@dataclass
class ToyFold:
    """Judges a toy by its quality plus a constant of the fold, and notes who came."""

    number: int
    ease: float = 0.0
    data: Any = None
    seen: list[Toy] = field(default_factory=list)

    def score(self, name: str, recommender: Any, k: int) -> float:
        self.seen.append(recommender)
        return float(recommender.quality) + self.ease
