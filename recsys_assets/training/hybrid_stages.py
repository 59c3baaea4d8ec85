"""Candidate recall of the hybrid's first stage on the validation window, for the metadata of its asset."""

from collections.abc import Sequence

from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.csr import offsets_of_rows
from lambda_api.recommender.histories import Ragged
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from recsys_assets.measurement.protocol import EvaluationTask
from recsys_assets.measurement.translation import Translation
from recsys_assets.models.candidate_recall import POOLED, RANKED, UNION, StageRecall, candidate_recall

MEANING = {
    UNION: "all sources together",
    POOLED: "lists of all sources, uncut",
    RANKED: "what the ranker is given",
}


def recall_on(recommender: Recommender, task: EvaluationTask) -> tuple[StageRecall, ...]:
    """`candidate_recall` on the shoppers of ``task``, over relevant products that had an event before it.

    Products without an earlier event are no candidates. Empty when none of the relevant products had one, and for a
    recommender without a first stage.
    """
    if not isinstance(recommender, TwoStageRecommender):
        return ()
    translation = Translation.between(task.products, recommender.products)
    seen = task.statistics.candidates[task.truth.values]
    hot = Ragged(offsets_of_rows(task.truth.row_of_value[seen], len(task)), task.truth.values[seen])
    truth = translation.ragged(hot)
    if len(truth.values) == 0:
        return ()
    return candidate_recall(recommender.generator, translation.histories(task.histories), truth)


def recall_figures(recalls: Sequence[StageRecall]) -> dict[str, float]:
    """Recall of the union by the name of the figure, such as ``candidate_recall_at_100``."""
    return {
        f"candidate_recall_at_{cutoff}": value
        for recall in recalls
        if recall.name == UNION
        for cutoff, value in recall.at.items()
    }


def recall_table(recalls: Sequence[StageRecall]) -> str:
    """Every stage as a Markdown table."""
    if not recalls:
        return "None of the products taken in the validation window was known before it."
    cutoffs = list(recalls[0].at)
    head = "| source | " + " | ".join(f"recall@{cutoff}" for cutoff in cutoffs) + " |"
    lines = [head, "|---|" + "--:|" * len(cutoffs)]
    for recall in recalls:
        name = MEANING.get(recall.name, recall.name)
        lines.append(f"| {name} | " + " | ".join(f"{recall.at[cutoff]:.3f}" for cutoff in cutoffs) + " |")
    return "\n".join(lines)
