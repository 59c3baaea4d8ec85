"""Scorers: answer a question in this process or at an endpoint, with the same result; and the endpoint's JSON format.

numpy is imported with the first bundle, not with this module.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field

from lambda_api.errors import RecsysError
from lambda_api.interactions import InteractionType
from lambda_api.serving.bundle_host import BundleHost, CatalogueHost
from lambda_api.serving.folder_fetch import FolderUnavailable
from lambda_api.serving.folder_host import LoadedFolder
from lambda_api.serving.question import Invocation, JsonValue, Question, RankedItem, Ranking
from lambda_api.state.routing_record import RouteTarget

if TYPE_CHECKING:
    from lambda_api.serving.engine import Engine

MAX_SIMILAR = 100
MAX_ANSWER_BYTES = 4 << 20
"""Longest answer read from an endpoint; SageMaker has a similar limit."""


class EndpointFailed(RecsysError):
    """An endpoint did not answer, or its answer is invalid."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A ranking, the version that made it, and why it is not the version asked for (``None`` if it is).

    ``teams``: of an interleaved list the version that placed each item, ``None`` for both; otherwise empty.
    """

    ranking: Ranking
    model_version: str
    note: str | None = None
    teams: tuple[str | None, ...] = ()


class Scorer(Protocol):
    """Answers questions with the model of a route target. Methods may raise any exception; callers use a guard."""

    def ready(self, target: RouteTarget, variant: str) -> None:
        """Load bundle and catalogue, which may take seconds. Raises `FolderUnavailable`."""

    def ask(self, target: RouteTarget, asked: Invocation, variant: str = "champion") -> Scored:
        """The list. ``variant`` is the variant whose last good model answers when ``target`` cannot.

        Raises:
            UnknownProduct: similar products of a product that neither model nor catalogue has.
        """


class InProcessScorer:
    """Scores in this process, with memory-mapped bundles and catalogue.

    There is one engine per pair of bundle and catalogue; at most ``keep`` are held.
    """

    def __init__(self, bundles: BundleHost, catalogue: CatalogueHost, *, keep: int = 4) -> None:
        self.bundles = bundles
        self.catalogue = catalogue
        self._keep = keep
        self._lock = threading.Lock()
        self._engines: OrderedDict[tuple[str, str], Engine] = OrderedDict()

    def ready(self, target: RouteTarget, variant: str) -> None:
        """Load the bundle and the catalogue. Raises `FolderUnavailable`."""
        self._engine(target, variant)

    def ask(self, target: RouteTarget, asked: Invocation, variant: str = "champion") -> Scored:
        """See `Scorer.ask`."""
        engine, held, note = self._engine(target, variant)
        return Scored(engine.ask(asked), held.ref.version, note)

    def _engine(self, target: RouteTarget, variant: str) -> "tuple[Engine, LoadedFolder, str | None]":
        bundle = self.bundles.get(target, variant)
        notes = [] if bundle.note in (None, "loading") else [f"bundle: {bundle.note}"]
        catalogue: LoadedFolder | None = None
        try:
            catalogue = self.catalogue.get()
            note = catalogue.note
        except FolderUnavailable as error:
            note = error.cause
        if note not in (None, "loading"):
            notes.append(f"catalogue: {note}")
        key = (bundle.ref.checksum, catalogue.ref.checksum if catalogue else "")
        engine = self._engines.get(key)
        if engine is None:
            engine = self._make_engine(key, bundle, catalogue)
        return engine, bundle, "; ".join(notes) or None

    def _make_engine(self, key: tuple[str, str], bundle: LoadedFolder, catalogue: LoadedFolder | None) -> "Engine":
        from lambda_api.serving.engine import Engine

        with self._lock:
            if key not in self._engines:
                self._engines[key] = Engine(bundle.value.recommender, catalogue.value if catalogue else None)
            self._engines.move_to_end(key)
            while len(self._engines) > self._keep:
                self._engines.popitem(last=False)
            return self._engines[key]


class EndpointScorer:
    """Scores at an endpoint: ``invoke(target, body) -> answer``, both JSON (`sagemaker_invoke`, `http_invoke`).

    Answers are validated, exclusions included.
    """

    def __init__(self, invoke: Callable[[RouteTarget, bytes], bytes]) -> None:
        self._invoke = invoke

    def ready(self, target: RouteTarget, variant: str) -> None:
        """Nothing to load."""

    def ask(self, target: RouteTarget, asked: Invocation, variant: str = "champion") -> Scored:
        """See `Scorer.ask`. Raises `EndpointFailed`, also for an unknown product."""
        scored = decode_answer(self._invoke(target, encode_invocation(asked)), asked.k)
        return _without(scored, excluded_products(asked.question) if asked.question else {asked.similar_to})


class RoutedScorer:
    """Scores at the endpoint of the route target, or in this process if it has none."""

    def __init__(self, in_process: Scorer, endpoint: Scorer) -> None:
        self._in_process = in_process
        self._endpoint = endpoint

    def ready(self, target: RouteTarget, variant: str) -> None:
        """See `Scorer.ready`."""
        self._of(target).ready(target, variant)

    def ask(self, target: RouteTarget, asked: Invocation, variant: str = "champion") -> Scored:
        """See `Scorer.ask`."""
        return self._of(target).ask(target, asked, variant)

    def _of(self, target: RouteTarget) -> Scorer:
        return self._endpoint if target.endpoint else self._in_process


def excluded_products(question: Question) -> set[str]:
    """Ids of products that no answer to ``question`` may hold."""
    excluded = set(question.exclude_product_ids)
    if question.exclude_purchased:
        excluded.update(e.product_id for e in question.events if e.interaction_type == InteractionType.PURCHASE)
    if question.context.page in ("product", "cart"):
        excluded.update(question.context.product_ids)
    return excluded


def encode_invocation(asked: Invocation) -> bytes:
    """Body of ``/invocations``: ``{"question": {...}}``, with ``"operation"`` unless it is `answer`; for similar
    products ``{"similar": {"product_id", "k"}}``."""
    if asked.question is None:
        return _to_bytes({"similar": {"product_id": asked.similar_to, "k": asked.k}})
    content: dict[str, Any] = {"question": asked.question.to_json()}
    return _to_bytes(content if asked.operation == "answer" else content | {"operation": asked.operation})


@dataclass(frozen=True, slots=True)
class _SimilarTo(JsonValue):
    product_id: str
    k: Annotated[int, Field(strict=True, ge=1, le=MAX_SIMILAR)]


@dataclass(frozen=True, slots=True)
class _SimilarAsked(JsonValue):
    similar: _SimilarTo


@dataclass(frozen=True, slots=True)
class _QuestionAsked(JsonValue):
    question: Question
    operation: Literal["answer", "answer_unranked"] = "answer"


def read_invocation(content: dict[str, Any]) -> Invocation:
    """Inverse of `encode_invocation`, from parsed JSON. Raises pydantic's error (a ``ValueError``)."""
    if "similar" in content:
        wanted = _SimilarAsked.from_json(content).similar
        return Invocation.of_similar(wanted.product_id, wanted.k)
    asked = _QuestionAsked.from_json(content)
    return Invocation.of(asked.question, asked.operation)


def encode_answer(scored: Scored) -> bytes:
    """Body of an answer of ``/invocations``."""
    return _to_bytes({"ranking": scored.ranking.to_json(), "model_version": scored.model_version})


@dataclass(frozen=True, slots=True)
class _Answer(JsonValue):
    ranking: Ranking
    model_version: str


def decode_answer(body: bytes, k: int) -> Scored:
    """Inverse of `encode_answer`, for a list of at most ``k``: ``{"ranking": {...}, "model_version": "..."}``.

    Raises:
        EndpointFailed: the answer is not JSON, of another form or too long, or holds a duplicate product or a score
            that is not finite.
    """
    if len(body) > MAX_ANSWER_BYTES:
        raise EndpointFailed(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = _Answer.read_json(body)
    except ValueError as error:
        fault = " ".join(str(error).split())[:300]
        raise EndpointFailed(f"the answer is not of the agreed form: {fault}") from error
    if not 1 <= len(answer.model_version) <= 128:
        raise EndpointFailed("the answer's model_version is no name")
    _check_items(answer.ranking.items, k)
    return Scored(answer.ranking, answer.model_version)


def _check_items(items: Sequence[RankedItem], k: int) -> None:
    if len(items) > k:
        raise EndpointFailed(f"the answer has {len(items)} items, {k} were asked for")
    ids = [item.product_id for item in items]
    if len(set(ids)) != len(ids) or not all(ids):
        raise EndpointFailed("the answer names a product twice, or one without an id")
    for item in items:
        if item.propensity is not None and not 0 < item.propensity <= 1:
            raise EndpointFailed(f"the propensity of {item.product_id!r} is {item.propensity}")


def _without(scored: Scored, excluded: set[str]) -> Scored:
    kept = tuple(item for item in scored.ranking.items if item.product_id not in excluded)
    if len(kept) == len(scored.ranking.items):
        return scored
    ranking = Ranking(kept, scored.ranking.stage, scored.ranking.personal)
    return Scored(ranking, scored.model_version, "endpoint: excluded product")


def _to_bytes(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
