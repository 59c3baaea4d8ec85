"""Neural collaborative filtering: the trainer.

Phases and checkpoints are in ``ncf_fit``, steps in ``ncf_loop``, the network in ``ncf_network``; these import torch and
are imported when a model is fitted.
"""

from pydantic.dataclasses import dataclass

from lambda_api.recommender.ncf import NcfRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ncf_parameters import NcfParameters
from recsys_assets.models.parameters import STRICT
from recsys_assets.models.resumable import Checkpoints, ForgetfulCheckpoints, ShouldStop, never
from recsys_assets.models.trainer import Report


@dataclass(frozen=True, config=STRICT)
class Ncf(NcfParameters):
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
    """

    def fit(self, data: TrainingData, report: Report | None = None) -> NcfRecommender:
        """Train, export and check the export.

        Reports ``loss``, ``validation_loss`` and ``validation_ndcg`` in the selection phase, ``final_loss`` in the
        final one, each followed by ``epoch`` (counted through both phases); and at the end ``best_epoch``, the
        number of epochs the returned model was trained for.

        Raises:
            NothingToLearn: no interaction has a weight.
            Diverged: the loss did not stay finite.
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

        data = self.learnable(data)
        return fit_network(self, data, report, checkpoints, should_stop)
