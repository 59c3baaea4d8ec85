"""Cache of lists that this process has scored, for questions that are asked again within seconds.

The key holds the model, the catalogue and the whole question, all events of the shopper included. Those are read from
the history store for every request, so an event, also one that another process took, makes another key: a list from
before the event is never given again.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace

from lambda_api.serving.counters import Counters
from lambda_api.serving.question import Question
from lambda_api.serving.scorers import Scored
from lambda_api.state.routing_record import RouteTarget

CAPACITY = 1_000
"""Lists held; the least recently used are dropped."""

COUNTER = "prediction_cache"


class AnswerCache:
    """Lists by model, catalogue and question. Thread-safe.

    Lists of a fallback model are not kept. With exploration the draw is kept with its list: its propensities stay the
    probabilities of that draw, and a shopper who reloads a page sees the same list.

    Args:
        ttl_s: longest age of a list that is given again, seconds; 0 turns the cache off.
        catalogue: identifies the catalogue in service; called for every look-up.
        counters: count ``prediction_cache`` hits and misses.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ttl_s: float,
        catalogue: Callable[[], Hashable],
        counters: Counters,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_s = ttl_s
        self._catalogue = catalogue
        self._counters = counters
        self._clock = clock
        self._lock = threading.Lock()
        self._lists: OrderedDict[Hashable, tuple[float, Scored]] = OrderedDict()

    def get_or_score(
        self, target: RouteTarget, question: Question, score: Callable[[], Scored | None]
    ) -> Scored | None:
        """The list kept for this question, or that of ``score``, which is kept."""
        if self._ttl_s <= 0:
            return score()
        key = (target, self._catalogue(), replace(question, now=0, seed=""))
        with self._lock:
            at, known = self._lists.get(key, (0.0, None))
            if known is not None and self._clock() - at < self._ttl_s:
                self._lists.move_to_end(key)
                self._counters.add(COUNTER, "hit")
                return known
        self._counters.add(COUNTER, "miss")
        at = self._clock()
        scored = score()
        if scored is not None and scored.note is None and scored.model_version == target.version:
            with self._lock:
                self._lists[key] = (at, scored)
                self._lists.move_to_end(key)
                while len(self._lists) > CAPACITY:
                    self._lists.popitem(last=False)
        return scored
