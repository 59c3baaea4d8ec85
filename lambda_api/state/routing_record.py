"""The routing record: which model version answers which share of the shoppers, and which one is the shadow.

Assigning shoppers to variants, and the cache that serving reads the record through, are in
``lambda_api.serving.routing``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lambda_api.errors import RecsysError
from lambda_api.state.addressing import MalformedRecord, check_text
from lambda_api.state.table import Absent, ConditionFailed, Key, Matches, Put, Table

ROUTING_KEY = Key("routing", "current")
WHOLE = 10_000
"""Sum of all weights, which are ten-thousandths of the shoppers."""
MAX_VARIANTS = 3
HOLDOUT = "holdout"
"""Name of the variant whose shoppers keep an old version."""
MAX_HOLDOUT = 2_000
"""Ten-thousandths of the shoppers that may be held out: they do without every newer version."""
SEPARATOR = "\x1f"
"""Separates salt and user id when they are hashed; not allowed in a salt."""


class RoutingConflict(RecsysError):
    """Another writer changed the routing record; read it again and decide again."""


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """One model version that can be asked.

    Attributes:
        version: as in the model registry.
        bundle_uri: folder or ``s3://`` prefix of its bundle.
        checksum: of the bundle's content (``lambda_api.recommender.bundle``).
        endpoint: name or address of the endpoint that serves it; ``None``: scored in the serving process.
    """

    version: str
    bundle_uri: str
    checksum: str
    endpoint: str | None = None

    def __post_init__(self) -> None:
        for name in ("version", "bundle_uri", "checksum"):
            check_text(f"target's {name}", getattr(self, name))
        if self.endpoint is not None:
            check_text("target's endpoint", self.endpoint)

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "RouteTarget":
        """Raises ``ValueError`` naming a missing, unknown or malformed field."""
        fields = _fields("target", value, ("version", "bundle_uri", "checksum"), optional=("endpoint",))
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Variant:
    """A target and its share of the shoppers, in ten-thousandths."""

    name: str
    target: RouteTarget
    weight: int

    def __post_init__(self) -> None:
        check_text("variant's name", self.name)
        if type(self.weight) is not int or not 0 <= self.weight <= WHOLE:
            raise ValueError(f"weight of variant {self.name!r} must be a whole number from 0 to {WHOLE}")

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Variant":
        """Raises ``ValueError`` naming a missing, unknown or malformed field."""
        fields = _fields("variant", value, ("name", "target", "weight"))
        return cls(fields["name"], RouteTarget.from_json(fields["target"]), fields["weight"])


@dataclass(frozen=True, slots=True)
class RoutingRecord:
    """Variants, weights and shadow.

    Attributes:
        experiment: its name, as it appears in exposures.
        salt: changes which shoppers are in which variant; a new experiment takes a new one.
        variants: the `champion`, then at most two challengers (the reason is in ``lambda_api.serving.routing``). A
            stopped challenger stays with weight 0 while the other goes on.
        shadow: asked all questions after the reply; nobody sees its answers.
        holdout: an old version that a few shoppers keep while the others get ever newer ones, so that what the newer
            ones are worth can be measured. Its shoppers take part in nothing else; ``None``: there are none.
        interleaved: shoppers of the one challenger get lists drafted from both versions
            (``lambda_api.serving.team_draft``) instead of the challenger's.
        revision: grows with every write.
        updated_at: seconds since 1970 UTC.
    """

    experiment: str
    salt: str
    variants: tuple[Variant, ...]
    shadow: RouteTarget | None
    revision: int
    updated_at: int
    holdout: Variant | None = None
    interleaved: bool = False

    def __post_init__(self) -> None:
        check_text("experiment", self.experiment)
        check_salt(self.salt)
        if not 1 <= len(self.variants) <= MAX_VARIANTS:
            raise ValueError(f"{len(self.variants)} variants; a champion and at most {MAX_VARIANTS - 1} challengers")
        if type(self.interleaved) is not bool or (self.interleaved and len(self.variants) != 2):
            raise ValueError("interleaved must be true or false, and true only for a champion and one challenger")
        names = [variant.name for variant in (*self.variants, *self.held)]
        if len(set(names)) != len(names):
            raise ValueError(f"variants must have different names, are {names}")
        if self.holdout is not None and not 0 < self.holdout.weight <= MAX_HOLDOUT:
            raise ValueError(f"weight of the holdout must be from 1 to {MAX_HOLDOUT}, is {self.holdout.weight}")
        total = sum(variant.weight for variant in self.variants)
        if total != WHOLE:
            raise ValueError(f"weights sum to {total}; they must sum to {WHOLE}")
        for name in ("revision", "updated_at"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"{name} must be a whole number, at least 0, is {getattr(self, name)!r}")

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `from_json` reads it back."""
        content = {**asdict(self), "variants": [variant.to_json() for variant in self.variants]}
        # Older versions refuse these fields, so they are written only where they say something.
        return {name: value for name, value in content.items() if value or name not in ("holdout", "interleaved")}

    @property
    def champion(self) -> Variant:
        """The first of the variants."""
        return self.variants[0]

    @property
    def held(self) -> tuple[Variant, ...]:
        """The holdout, if there is one."""
        return () if self.holdout is None else (self.holdout,)

    def share_of(self, variant: Variant) -> float:
        """Share of all shoppers that a variant answers, in [0, 1]: weights are among those who are not held out."""
        others = 0 if self.holdout is None or variant is self.holdout else self.holdout.weight
        return variant.weight / WHOLE * (1 - others / WHOLE)

    @classmethod
    def from_json(cls, value: Any) -> "RoutingRecord":
        """Raises ``ValueError`` naming a missing, unknown or malformed field."""
        required = ("experiment", "salt", "variants", "revision", "updated_at")
        fields = _fields("routing record", value, required, optional=("shadow", "holdout", "interleaved"))
        if not isinstance(fields["variants"], list):
            raise ValueError("variants must be a list")
        shadow, holdout = fields.get("shadow"), fields.get("holdout")
        return cls(
            experiment=fields["experiment"],
            salt=fields["salt"],
            variants=tuple(Variant.from_json(variant) for variant in fields["variants"]),
            shadow=None if shadow is None else RouteTarget.from_json(shadow),
            revision=fields["revision"],
            updated_at=fields["updated_at"],
            holdout=None if holdout is None else Variant.from_json(holdout),
            interleaved=fields.get("interleaved", False),
        )


def read_routing(table: Table) -> RoutingRecord | None:
    """The routing record of the table ``serving``, or ``None`` before the first was written.

    Raises:
        MalformedRecord: the record breaks a rule.
        TableUnavailable: the table could not be asked.
    """
    record = table.get(ROUTING_KEY)
    if record is None:
        return None
    try:
        return RoutingRecord.from_json(record.attributes)
    except ValueError as error:
        raise MalformedRecord(ROUTING_KEY, str(error)) from error


def write_routing(table: Table, record: RoutingRecord, expected_revision: int | None) -> None:
    """Replace the routing record if it still has ``expected_revision`` (``None``: if there is none yet).

    Raises:
        RoutingConflict: it has another revision; nothing was written.
        ValueError: ``record.revision`` does not exceed ``expected_revision``.
        TableUnavailable: the table could not be asked.
    """
    if expected_revision is not None and record.revision <= expected_revision:
        raise ValueError(f"revision {record.revision} must exceed the expected revision {expected_revision}")
    condition = Absent() if expected_revision is None else Matches({"revision": expected_revision})
    try:
        table.write([Put(ROUTING_KEY, record.to_json(), condition=condition)])
    except ConditionFailed as failure:
        found = "there is none" if failure.found is None else f"it has revision {failure.found.get('revision')}"
        expected = "none" if expected_revision is None else f"revision {expected_revision}"
        raise RoutingConflict(
            f"routing record: expected {expected}, but {found}; read it again and repeat the decision"
        ) from failure


def check_salt(salt: Any) -> None:
    """Raises ``ValueError`` unless ``salt`` is non-empty text without the separator."""
    check_text("salt", salt)
    if SEPARATOR in salt:
        raise ValueError(f"salt {json.dumps(salt)} must not contain the separator U+001F")


def _fields(what: str, value: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be an object, is {type(value).__name__}")
    if missing := [name for name in required if name not in value]:
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    if unknown := [str(name) for name in value if name not in (*required, *optional)]:
        raise ValueError(f"{what} has unknown fields: {', '.join(sorted(unknown))}")
    return dict(value)
