"""The champion in an evaluation: its recipe fitted on this cut, and the model as it serves where that is fair.

Recipes are compared, not artefacts: the serving model has usually learned from part of the test window, and a
challenger would otherwise win or lose by the age of its data. The serving model itself is evaluated only when it has
learned from nothing in the window; that is what a refresh is compared with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lambda_api.recommender.bundle import BundleInfo, LoadedBundle
from lambda_api.state.encoding import canonical_json
from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import make_trainer
from recsys_assets.registry.records import ModelVersion

CHAMPION: Final = "champion"
"""Evaluation name of the champion's recipe, where no candidate has the same recipe."""

AS_SERVED: Final = "champion as served"
"""Evaluation name of the serving model."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class Champion:
    """How the champion takes part in an evaluation.

    Attributes:
        version: of the registered model.
        data_end: aware, UTC; where its training data end.
        recipe: evaluation name of its recipe: a candidate's name, or `CHAMPION`.
        bundles: what is evaluated besides the candidates, by evaluation name.
    """

    version: str
    data_end: datetime
    recipe: str
    bundles: Mapping[str, LoadedBundle]


def champion_in(
    version: ModelVersion,
    served: LoadedBundle,
    candidates: Mapping[str, LoadedBundle],
    test_start: datetime,
    fit: Callable[[Trainer], LoadedBundle],
    log: Log,
) -> Champion:
    """Choose what stands for the champion.

    Args:
        version: the registered champion, and ``served`` its bundle.
        candidates: bundles by model name, fitted before the test window.
        test_start: start of the test window.
        fit: fits a recipe on the data before the test window; called only when no candidate has the champion's recipe.
        log: receives what is done, as sentences.
    """
    bundles = {AS_SERVED: served} if version.data_window.end <= test_start else {}
    recipe = next((name for name, one in candidates.items() if is_same_recipe(one.manifest.info, version)), CHAMPION)
    if recipe == CHAMPION:
        try:
            trainer = make_trainer(version.model, version.parameters)
        except ValueError as error:
            # It may have learned from the test window, which favours it: the safe side for what serves.
            log(f"the recipe of {version.version} cannot be fitted by this code ({error}); compared as it serves")
            bundles[CHAMPION] = served
        else:
            log(f"fitting the recipe of the champion {version.version} on the data before the test window")
            bundles[CHAMPION] = fit(trainer)
    return Champion(str(version.version), version.data_window.end, recipe, bundles)


def is_same_recipe(info: BundleInfo, version: ModelVersion) -> bool:
    """Whether a bundle has the trainer and hyper-parameters of a registered version."""
    parameters = [canonical_json(dict(one)) for one in (info.hyper_parameters, version.parameters)]
    return info.trainer == version.model and parameters[0] == parameters[1]
