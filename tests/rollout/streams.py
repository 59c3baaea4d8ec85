"""An event stream written by the real sink, with few words."""

from dataclasses import dataclass, field
from datetime import date
from itertools import zip_longest

import pyarrow as pa

from lambda_api.state.event_sink import JsonLinesSink
from lambda_api.state.exposures import Exposure, ShownItem
from recsys_deploy.experiments.stream_tables import StreamTables


@dataclass
class Stream:
    """Lists and events around the moment ``start`` (seconds since 1970 UTC); ``at`` counts from there."""

    sink: JsonLinesSink
    start: float
    experiment: str
    count: int = 0
    waiting: list[dict[str, object]] = field(default_factory=list)

    def close(self) -> None:
        """Write what waits: feedback in one flush to the disk instead of one an event."""
        self.sink.emit("feedback", self.waiting)
        self.waiting = []
        self.sink.close()

    def shown(
        self,
        user: str,
        variant: str,
        *,
        at: float = 0.0,
        experiment: str | None = None,
        products: tuple[str, ...] = ("p1", "p2"),
        stage: str = "ranked",
        cause: str | None = None,
        latency_ms: float = 1.0,
        version: str | None = None,
        teams: tuple[str | None, ...] = (),
    ) -> str:
        """One list; gives its request id."""
        self.count += 1
        items = tuple(
            ShownItem(product, 1.0, place, 1.0, "popular", team)
            for place, (product, team) in enumerate(zip_longest(products, teams), 1)
        )
        exposure = Exposure(
            request_id=f"r-{self.count}",
            user_id=user,
            at_ms=int((self.start + at) * 1000),
            experiment=self.experiment if experiment is None else experiment,
            variant=variant,
            variant_propensity=0.5,
            model_version=version or ("v1.1.0" if variant == "challenger" else "v1.0.0"),
            stage=stage,
            cause=cause,
            items=items,
            context={},
            latency_ms=latency_ms,
        )
        self.sink.emit("exposure", [exposure.to_json()])
        return exposure.request_id

    def did(
        self,
        user: str,
        kind: str,
        *,
        at: float,
        request_id: str | None = None,
        price: float | None = None,
        quantity: int | None = None,
        event_id: str | None = None,
        product: str = "p1",
    ) -> None:
        """One event."""
        self.count += 1
        record = {
            "event_id": event_id or f"e-{self.count}",
            "user_id": user,
            "product_id": product,
            "interaction_type": kind,
            "timestamp": int(self.start + at),
            "price": price,
            "quantity": quantity,
            "request_id": request_id,
        }
        self.waiting.append(record)

    def read(self) -> tuple[pa.Table, pa.Table]:
        """Lists and events, everything written so far."""
        self.close()
        tables, first = StreamTables(str(self.sink.folder)), date(1970, 1, 1)
        return tables.lists(first), tables.events(first)
