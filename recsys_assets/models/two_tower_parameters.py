"""Hyper-parameters of the two-tower model."""

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from recsys_assets.models.parameters import STRICT, Days, NotNegative, PersonalParameters, Positive, Whole, WholeOrZero


@dataclass(frozen=True, config=STRICT)
class TwoTowerParameters(PersonalParameters):
    """See `recsys_assets.models.two_tower.TwoTower`. ``type_weights`` are the grades of targets.

    Attributes:
        size: of the vectors; heads: of the attention over events.
        described_by: dimensions of the reduced description; 0 for ids alone.
        horizon_days: how far ahead a target may lie.
        dropout, learning_rate, weight_decay, batch_size: of the training (AdamW).
        epochs: at most; with ``patience`` > 0 the number that predicted the newest horizon best, tried until so many
            in a row were no better.
        sampled_products: draws per batch where the catalogue has more than twice as many products.
        most_samples: moments learned from; a larger log is sampled evenly.
        threads: of torch while fitting; the last bits of a model depend on it.
        event_half_life_days: age, counted back from the end of the data, at which a moment weighs half; ``None`` for
            no decay.
    """

    name: ClassVar[str] = "two_tower"

    size: Whole = 64
    heads: Whole = 4
    described_by: WholeOrZero = 64
    horizon_days: Positive = 20.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    learning_rate: Positive = 0.003
    weight_decay: NotNegative = 0.001
    batch_size: Whole = 128
    epochs: Whole = 10
    patience: WholeOrZero = 2
    sampled_products: Whole = 4096
    most_samples: Whole = 40_000
    seed: WholeOrZero = 0
    threads: Whole = 1
    event_half_life_days: Days = None
