"""Hyper-parameters of neural collaborative filtering."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from recsys_assets.models.parameters import STRICT, Days, NotNegative, PersonalParameters, Positive, Whole, WholeOrZero
from recsys_assets.models.positives import Sampling

Layers = Annotated[tuple[Whole, ...], BeforeValidator(tuple), Field(min_length=1)]
"""Widths. JSON has no tuples: parameters that come back from a file hold a list."""


@dataclass(frozen=True, config=STRICT)
class NcfParameters(PersonalParameters):
    """See `recsys_assets.models.ncf.Ncf`.

    Attributes:
        gmf_size, mlp_size: embedding dimensions of the two towers.
        mlp_layers: widths of the perceptron's layers; the first takes the user's and the item's embedding together.
        negatives: sampled products per positive and epoch, never one the user touched.
        sampling: ``uniform`` over products sold, or by ``popularity`` to the power 0.75.
        learning_rate, weight_decay: of Adam.
        batch_size: positives per step; each brings its negatives. ``None`` takes as many as give an epoch
            `STEPS_PER_EPOCH` steps, within `BATCH_SIZES`: small shops learn nothing from a few steps an epoch.
        epochs: at most this many in each phase.
        patience: epochs without improvement before stopping; 0 turns the selection phase off. A network first learns
            popularity, and for some epochs its NDCG stays the same while the loss falls; so either counts as
            improvement.
        holdout_share: latest share of the events that selection measures on, in (0, 0.5].
        seed: of initial weights, order and negatives.
        threads: of torch while fitting; the last bits of a model depend on it. Several models usually train side by
            side, where more threads than cores are slower; raise it where training has the machine to itself.
        event_half_life_days: age, counted back from the end of the data, at which a positive weighs half; ``None`` for
            no decay.
    """

    name: ClassVar[str] = "ncf"

    gmf_size: Whole = 16
    mlp_size: Whole = 32
    mlp_layers: Layers = (32, 16, 8)
    negatives: Whole = 8
    sampling: Sampling = "uniform"
    learning_rate: Positive = 0.004
    weight_decay: NotNegative = 0.0
    batch_size: Whole | None = None
    epochs: Whole = 20
    patience: WholeOrZero = 3
    holdout_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    seed: WholeOrZero = 0
    threads: Whole = 1
    event_half_life_days: Days = None
