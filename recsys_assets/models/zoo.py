"""All trainers by name, and making one from a name and plain parameters.

A trainer's module is imported when it is first used.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from lambda_api.errors import RecsysError
from recsys_assets.models.trainer import Trainer


class ParameterError(RecsysError, ValueError):
    """No such model or hyper-parameter, or a value out of range."""


BASELINES: tuple[str, ...] = ("popularity", "item_knn")
"""Models that every shop trains, because the others are compared with them; the first is the reference."""

_PLACES: dict[str, tuple[str, str]] = {
    "popularity": ("recsys_assets.models.popularity", "Popularity"),
    "item_knn": ("recsys_assets.models.item_knn", "ItemKnn"),
    "own_history": ("recsys_assets.models.own_history", "OwnHistory"),
    "ease": ("recsys_assets.models.ease", "Ease"),
    "temporal_linear": ("recsys_assets.models.temporal_linear", "TemporalLinear"),
    "matrix_factorisation": ("recsys_assets.models.matrix_factorisation", "MatrixFactorisation"),
    "ncf": ("recsys_assets.models.ncf", "Ncf"),
    "two_tower": ("recsys_assets.models.two_tower", "TwoTower"),
    "session_knn": ("recsys_assets.models.session_knn", "SessionKnn"),
    "content": ("recsys_assets.models.content", "Content"),
    "hybrid": ("recsys_assets.models.hybrid", "Hybrid"),
}


class _Trainers(Mapping[str, type[Trainer]]):
    """Trainer types by name, imported on first use."""

    def __getitem__(self, name: str) -> type[Trainer]:
        module, attribute = _PLACES[name]
        trainer: type[Trainer] = getattr(import_module(module), attribute)
        return trainer

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


TRAINERS: Mapping[str, type[Trainer]] = _Trainers()
"""``{"popularity": Popularity, ...}``, baselines first."""


def make_trainer(name: str, parameters: Mapping[str, Any] | None = None) -> Trainer:
    """The trainer called ``name`` with ``parameters`` (the others keep their defaults).

    Raises:
        ParameterError: no such trainer, no such parameter, or a value out of range; the message names it and what is
            accepted.
    """
    if name not in TRAINERS:
        raise ParameterError(f"unknown model {name!r}; expected one of: {', '.join(TRAINERS)}")
    accepted = accepted_parameters(name)
    unknown = sorted(set(parameters or {}) - set(accepted))
    if unknown:
        raise ParameterError(f"{name} has no parameter {', '.join(unknown)}; it has: {', '.join(accepted)}")
    try:
        return TRAINERS[name](**dict(parameters or {}))
    except ValidationError as error:
        raise ParameterError("; ".join(_sentence(problem) for problem in error.errors())) from None


def parameters_of(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that the trainer called ``name`` has a parameter for."""
    accepted = accepted_parameters(name)
    return {parameter: value for parameter, value in values.items() if parameter in accepted}


def _sentence(problem: Any) -> str:
    """One problem that pydantic found: field, allowed range, value."""
    if problem["type"] == "value_error":
        return str(problem["msg"]).removeprefix("Value error, ")
    message = re.sub(r"^\w+ should", "must", problem["msg"])
    return f"{'.'.join(str(part) for part in problem['loc'])} {message}, not {problem['input']!r}"


def accepted_parameters(name: str) -> list[str]:
    """Names of the hyper-parameters of the trainer called ``name``."""
    return [field.name for field in fields(TRAINERS[name]) if field.init]  # type: ignore[arg-type]
