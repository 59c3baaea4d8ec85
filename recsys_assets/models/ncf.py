"""Neural collaborative filtering: its hyper-parameters and what fitting means.

Put choices a user of the model can make here. Keep pairs and negatives (``positives.py``), phases and checkpoints
(``ncf_fit.py``), steps (``ncf_loop.py``) and the network (``ncf_network.py``) out; those with torch load on fit.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from lambda_api.recommender.ncf import NcfRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_interactions,
    require_not_negative,
    require_positive,
    require_whole,
)
from recsys_assets.models.popularity import DEFAULT_HALF_LIFE_DAYS
from recsys_assets.models.positives import SAMPLINGS, Sampling
from recsys_assets.models.resumable import Checkpoints, ForgetfulCheckpoints, ShouldStop, never
from recsys_assets.models.trainer import Report


@dataclass(frozen=True)
class Ncf:
    """NeuMF: generalised matrix factorisation and a multi-layer perceptron, fused in one logit.

    Implicit feedback as binary classification of observed against sampled pairs (He et al. 2017, "Neural Collaborative
    Filtering", arXiv 1708.05031), trained with Adam from random embeddings (no pre-training). Fitting has two phases:

    1. selection: train on all but the latest ``holdout_share`` of the log, measure NDCG@10 and the loss on that holdout
       after every epoch, and stop when neither has improved for ``patience`` epochs;
    2. final: train afresh on the whole log for as many epochs as were best.

    Without ``patience``, or where the holdout has fewer than ``MIN_HOLDOUT_USERS`` users, phase 2 alone runs,
    for ``epochs``. Cold shoppers get popular products; cold products come last (`NcfRecommender`).

    Equal data and parameters give an equal model on one machine, to the bit; so does a fit that was interrupted and
    resumed (`fit_resumable`).

    Attributes:
        gmf_size, mlp_size: embedding dimensions of the two towers.
        mlp_layers: widths of the perceptron's layers; the first takes the user's and the item's embedding together.
        negatives: sampled products per positive and epoch, never one the user touched.
        sampling: ``uniform`` over products sold, or by ``popularity`` to the power 0.75.
        learning_rate, weight_decay: of Adam.
        batch_size: positives per step; each brings its negatives. ``None`` takes as many as give an epoch
            `STEPS_PER_EPOCH` steps, within `BATCH_SIZES`: small shops learn nothing from a few steps an epoch.
        epochs: at most this many in each phase.
        patience: epochs without improvement before stopping; 0 turns the selection phase off. The first thing a
            network learns is what sells, and for some epochs its lists stay those of popularity while the loss falls:
            so the NDCG alone must not stop it.
        holdout_share: latest share of the events that selection measures on, in (0, 0.5].
        seed: of initial weights, order and negatives.
        threads: of torch while fitting; the last bits of a model depend on it. One by default, because several models
            usually train side by side and threads that wait for each other on busy cores cost many times what they
            save; raise it where training has the machine to itself.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: weight of each interaction type, by label; types with weight 0 make no positive.
    """

    name: ClassVar[str] = "ncf"

    gmf_size: int = 16
    mlp_size: int = 32
    mlp_layers: tuple[int, ...] = (32, 16, 8)
    negatives: int = 8
    sampling: Sampling = "uniform"
    learning_rate: float = 0.004
    weight_decay: float = 0.0
    batch_size: int | None = None
    epochs: int = 20
    patience: int = 3
    holdout_share: float = 0.1
    seed: int = 0
    threads: int = 1
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        # JSON has no tuples: parameters that come back from a file hold a list.
        object.__setattr__(self, "mlp_layers", tuple(self.mlp_layers))
        if not self.mlp_layers:
            raise ValueError("mlp_layers needs at least one layer")
        require_whole(
            gmf_size=self.gmf_size,
            mlp_size=self.mlp_size,
            negatives=self.negatives,
            batch_size=self.batch_size,
            epochs=self.epochs,
            threads=self.threads,
            **{f"mlp_layers[{index}]": width for index, width in enumerate(self.mlp_layers)},
        )
        require_positive(learning_rate=self.learning_rate, popularity_half_life_days=self.popularity_half_life_days)
        require_not_negative(weight_decay=self.weight_decay)
        for name in ("patience", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number >= 0, not {value!r}")
        if not 0 < self.holdout_share <= 0.5:
            raise ValueError(f"holdout_share must lie in (0, 0.5], not {self.holdout_share!r}")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, not {self.sampling!r}")
        by_type(self.type_weights)

    def fit(self, data: TrainingData, report: Report | None = None) -> NcfRecommender:
        """Train, export and check the export.

        Reports ``loss``, ``validation_loss`` and ``validation_ndcg`` in the selection phase, ``final_loss`` in the
        final one, each followed by ``epoch`` (counted through both phases); and at the end ``best_epoch``, the
        number of epochs the returned model was trained for.

        Raises:
            ValueError: no interaction has a weight, or the loss did not stay finite.
            ExportError: ONNX Runtime does not reproduce torch's scores.
        """
        return self.fit_resumable(data, report, ForgetfulCheckpoints(), never)

    def fit_resumable(
        self, data: TrainingData, report: Report | None, checkpoints: Checkpoints, should_stop: ShouldStop
    ) -> NcfRecommender:
        """`fit`, with a checkpoint after every epoch and, when told to stop, between two batches.

        A checkpoint of other data or parameters is ignored. Epochs found in it are reported again.

        Raises:
            TrainingInterrupted: ``should_stop`` said so; the state is in ``checkpoints``.
        """
        from recsys_assets.models.ncf_fit import fit_network

        require_interactions(data, by_type(self.type_weights), self.name)
        return fit_network(self, data, report, checkpoints, should_stop)

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return {**asdict(self), "mlp_layers": list(self.mlp_layers)}
