"""Finds new products, which the model does not know yet, by name and category."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.catalogue import UNKNOWN_TIME, Catalogue
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.profiles import SECONDS_PER_DAY

NEW_DAYS = 30
LOOKED_AT = 10
"""Number of the shopper's latest distinct products that new products are compared with."""

LEAST_ALIKE = 0.25
"""Minimum Jaccard similarity of names for two products of one category to be called similar."""

MOST_NEW = 5_000
"""Maximum number of new products compared, newest first."""

_WORD = re.compile(r"\w{3,}")


@dataclass(frozen=True, slots=True)
class NewProduct:
    """Row of a new product in the catalogue, and row of the past product that it is similar to."""

    place: int
    similar_to: int


@dataclass(frozen=True)
class NewProducts:
    """Products of the catalogue that the model does not know. ``known``: the products of the model."""

    catalogue: Catalogue
    known: IdMap

    @cached_property
    def places(self) -> IndexArray:
        """int32 ``[m]``, rows of the catalogue, newest first; only products with age, name and category."""
        seen, named = self.catalogue.first_seen, np.diff(self.catalogue.name_ends, prepend=0) > 0
        young = (self.known.translate(self.catalogue.products) < 0) & (seen > UNKNOWN_TIME)
        places = np.flatnonzero(young & named & (self.catalogue.category >= 0))
        return places[np.argsort(-seen[places], kind="stable")][:MOST_NEW].astype(np.int32)

    @cached_property
    def _words(self) -> tuple[dict[str, int], NDArray[np.bool_]]:
        """Column of each word, and bool ``[m, words]``: which name has which words."""
        words = [_words(self.catalogue.name(place)) for place in self.places.tolist()]
        numbers = {word: number for number, word in enumerate(sorted(set().union(*words)))}
        present = np.zeros((len(words), len(numbers)), dtype=bool)
        for row, own in enumerate(words):
            present[row, [numbers[word] for word in own]] = True
        return numbers, present

    def best(
        self, looked_at: Sequence[str], allowed: NDArray[np.bool_], now: int, excluded: Sequence[str]
    ) -> NewProduct | None:
        """The new product with the most similar name to one of ``looked_at`` (ids, latest first), of its category.

        Args:
            allowed: bool over the rows of the catalogue.
            excluded: ids not to be shown.
        """
        if len(self.places) == 0:
            return None
        seen = self.catalogue.first_seen[self.places]
        fresh = (seen <= now) & (now - seen <= NEW_DAYS * SECONDS_PER_DAY) & allowed[self.places]
        if not fresh.any():
            return None
        banned = self.catalogue.products.indices([*excluded, *looked_at])
        fresh &= ~np.isin(self.places, banned)
        numbers, present = self._words
        best, found = LEAST_ALIKE, None
        sizes = present.sum(axis=1)
        past = self.catalogue.products.indices(list(dict.fromkeys(looked_at))[:LOOKED_AT])
        for place in past[past >= 0].tolist():
            own = _words(self.catalogue.name(place))
            shared = present[:, [numbers[word] for word in own if word in numbers]].sum(axis=1)
            alike = shared / np.maximum(sizes + len(own) - shared, 1)
            alike[~fresh | (self.catalogue.category[self.places] != self.catalogue.category[place])] = 0.0
            at = int(np.argmax(alike))
            if alike[at] > best or (found is None and alike[at] >= best):
                best, found = float(alike[at]), NewProduct(int(self.places[at]), place)
        return found


def _words(name: str | None) -> set[str]:
    return set(_WORD.findall((name or "").lower()))
