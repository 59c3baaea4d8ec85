"""Recommendations of the champion for shoppers of the lake, with names and reasons."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.errors import RecsysError
from lambda_api.interactions import Event, InteractionType
from lambda_api.product_card import ProductCard
from lambda_api.recommender.bundle import LoadedBundle, read_bundle
from lambda_api.serving.engine import Engine
from lambda_api.serving.question import Question
from lambda_api.settings import Settings
from recsys_assets.known_catalogue import catalogue_of, first_events, shop_catalogue
from recsys_assets.lake import Lake
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion


class NoChampion(RecsysError):
    """Nothing was promoted yet; the message says what to run."""


@dataclass(frozen=True)
class Suggestion:
    """One line of an answer.

    Attributes:
        score: of 100, the best product of the same list having 100; models have scales of their own.
        because: the reason as a shopper would read it.
    """

    product_id: str
    name: str
    score: int
    because: str


@dataclass(frozen=True)
class Answer:
    """What one shopper did last, newest first (names), and what to show next.

    Attributes:
        known: whether the lake holds an event of the shopper.
    """

    user_id: str
    known: bool
    recent: tuple[str, ...]
    suggestions: tuple[Suggestion, ...]


def require_champion(registry: ModelRegistry) -> ModelVersion:
    """The champion. Raises `NoChampion`; where the promotion rules refused the newest version, with their reasons."""
    champion = registry.champion()
    if champion is not None:
        return champion
    versions = registry.list_versions()
    if not versions:
        raise NoChampion("no model was promoted yet: run `make demo`, or materialise registered_model in the UI")
    newest = versions[-1]
    reasons = " ".join(newest.refusal_reasons) or f"{newest.version} is a {newest.status}."
    raise NoChampion(
        f"there is nothing to serve, because no model was promoted: {reasons.removesuffix('.')}",
        remedy="`recsys run` trains again, on the days that have come since; "
        f"`recsys release start {newest.version} --strategy immediate --even-if-refused` serves it all the same",
    )


def load_champion(registry: ModelRegistry, bundles: BundleStore, cache: Path) -> LoadedBundle:
    """The champion's bundle, fetched and verified. Raises `NoChampion`, or ``BundleError`` if it is damaged."""
    champion = require_champion(registry)
    return read_bundle(bundles.fetch(champion, cache), verify=False)


def busiest_shoppers(lake: Lake, count: int) -> list[str]:
    """Shoppers with the most events, by id where equal: somebody to show an answer for."""
    users = lake.read("interactions", ("user_id",))
    counts = users.group_by("user_id").aggregate([("user_id", "count")])
    ranked = counts.sort_by([("user_id_count", "descending"), ("user_id", "ascending")])
    return ranked["user_id"].slice(0, count).to_pylist()


def answer(bundle: LoadedBundle, lake: Lake, user_ids: Sequence[str], k: int, settings: Settings) -> list[Answer]:
    """Ask a bundle for ``k`` products for each shopper, from their whole history in the lake.

    The lists are as the shop's ``settings`` want them, without what is not available. Unknown shoppers get what is
    popular.
    """
    interactions = lake.read("interactions", ("user_id", "product_id", "interaction_type", "timestamp"))
    catalogue = catalogue_of(shop_catalogue(lake), first_events([interactions.select(("product_id", "timestamp"))]))
    engine = Engine(bundle.recommender, catalogue)
    mine = interactions.filter(pc.is_in(interactions["user_id"], pa.array(list(user_ids)))).to_pylist()
    newest = pc.max(interactions["timestamp"]).as_py()
    now = int((newest or datetime.now(UTC)).timestamp()) + 1
    asked = replace(Question.template(settings, k), now=now, include_products=True)
    answers = []
    for user_id in user_ids:
        events = _events(mine, user_id)
        ranking = engine.answer(replace(asked, user_id=user_id, events=tuple(events)))
        scores = _of_hundred([item.score for item in ranking.items])
        suggestions = tuple(
            Suggestion(item.product_id, _name(item.product, item.product_id), score, item.reason.text)
            for item, score in zip(ranking.items, scores, strict=True)
        )
        recent = [_name(catalogue.card(event.product_id), event.product_id) for event in reversed(events)]
        answers.append(Answer(user_id, bool(events), tuple(dict.fromkeys(recent))[:3], suggestions))
    return answers


def _of_hundred(scores: Sequence[float]) -> list[int]:
    """Scores of one list on one scale: 100 for the highest, 1 for the lowest, in proportion between them."""
    if not scores:
        return []
    low, high = min(scores), max(scores)
    width = high - low
    return [100 if width == 0 else round(1 + 99 * (score - low) / width) for score in scores]


def _events(rows: Sequence[dict[str, object]], user_id: str) -> list[Event]:
    mine = [
        Event(
            product_id=str(row["product_id"]),
            interaction_type=InteractionType.from_label(str(row["interaction_type"])),
            timestamp=int(row["timestamp"].timestamp()),  # type: ignore[attr-defined]
        )
        for row in rows
        if row["user_id"] == user_id
    ]
    return sorted(mine, key=lambda event: event.timestamp)


def _name(card: ProductCard | None, product_id: str) -> str:
    return (card.name if card else None) or product_id
