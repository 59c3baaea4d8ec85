"""Chooses the hyper-parameters of a training: defaults or tuned values, overridden by the shop's and the run's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lambda_api.settings import Settings
from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import make_trainer, parameters_of
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.training.stored_parameters import tuned_parameters

THREADS = 1
"""Of a model that can use several. Waiting OpenMP threads spin: on cores that other steps use, two are slower than one.
A run that has the machine to itself may ask for more."""


@dataclass(frozen=True)
class ParameterChoice:
    """A trainer ready to fit, and one sentence on where its hyper-parameters come from."""

    trainer: Trainer
    origin: str


def settled_parameters(model: str, settings: Settings) -> dict[str, Any]:
    """The hyper-parameters of ``model`` that the shop or the machine determines; tuning never varies them."""
    settled = {"seed": settings.seed, "allow_repeats": settings.allow_repeats, "threads": THREADS}
    return parameters_of(model, settled)


def choose_parameters(
    model: str,
    given: Mapping[str, Any],
    settings: Settings,
    registry: ModelRegistry,
    before: datetime,
    *,
    tuned: bool,
) -> ParameterChoice:
    """The trainer called ``model``.

    In order of precedence: ``given``, then `settled_parameters`, then (if ``tuned``) the values found by tuning on data
    before ``before`` (aware, UTC; `tuned_parameters`), then the defaults. Tuned values that the model no longer accepts
    are ignored, and the origin says so.

    Raises:
        ValueError: a given hyper-parameter is unknown or out of range; the message names it and what is accepted.
    """
    settled = settled_parameters(model, settings)
    by_default = make_trainer(model, {**settled, **given})
    if not tuned:
        return ParameterChoice(by_default, "defaults")
    found = tuned_parameters(registry, model, before, allow_repeats=settings.allow_repeats)
    if found is None:
        return ParameterChoice(by_default, f"defaults: no tuning before {before:%Y-%m-%d %H:%M} UTC; run `recsys tune`")
    try:
        trainer = make_trainer(model, {**found.parameters, **settled, **given})
    except ValueError as error:
        # The defaults accept what is given, so it is a tuned value that a change of the code has outdated.
        return ParameterChoice(by_default, f"defaults: those of {found.run_id} are outdated ({error}); tune again")
    return ParameterChoice(trainer, f"{found.run_id}, NDCG {found.score:.4f} on its folds")
