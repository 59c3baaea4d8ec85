"""The result of a data check: facts, problems and the mapping that reads the data."""

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from datetime import date

from recsys_assets.ingest.mapping import Mapping


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person should know or correct.

    Attributes:
        blocking: whether nothing can be built before it is corrected; otherwise it is a warning.
        where: file, with row and column where there is one.
        message: what is wrong, with the value.
        remedy: what to do.
    """

    blocking: bool
    where: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Report:
    """What a data check found.

    Attributes:
        location: the data.
        mapping: how the data are read; ``None`` when the files were not recognised.
        files: table -> names of its files.
        unread: names of the data files that no table is read from.
        unused: table -> the columns of its files that nothing reads, as text.
        formats: what the interaction files look like: delimiter, decimal sign, encoding, times; name -> value.
        rows: rows of the interactions that were read; ``sampled`` tells that there are more.
        days: first and last day and how many have events.
        shoppers, products: different ids in the interactions.
        listed_products: rows of the catalogue, 0 without one.
        event_counts: interaction type -> rows.
        set_aside: reason -> rows.
        evaluation: whether a model can be evaluated on these data, as a sentence.
        settings: environment variables that make an evaluation possible, name -> value; empty when none are needed.
        problems: blocking ones first.
    """

    location: str
    mapping: Mapping | None = None
    files: Dictionary[str, tuple[str, ...]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    unused: Dictionary[str, str] = field(default_factory=dict)
    formats: Dictionary[str, str] = field(default_factory=dict)
    rows: int = 0
    sampled: bool = False
    days: tuple[date, date, int] | None = None
    shoppers: int = 0
    products: int = 0
    listed_products: int = 0
    event_counts: Dictionary[str, int] = field(default_factory=dict)
    set_aside: Dictionary[str, int] = field(default_factory=dict)
    evaluation: str = ""
    settings: Dictionary[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def blocking(self) -> tuple[Problem, ...]:
        """Problems that must be corrected first."""
        return tuple(problem for problem in self.problems if problem.blocking)

    @property
    def can_be_built(self) -> bool:
        """Whether a shop can be built from these data."""
        return self.mapping is not None and not self.blocking
