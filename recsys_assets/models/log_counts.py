"""The BM25 graph of `ItemKnn` for a very large log, as Ibis expressions for DuckDB out of core and for Spark.

A log has one row per event: ``user``, ``product``, ``kind`` (int, `InteractionType`) and ``seconds`` (int, since 1970
UTC). Graphs have the columns ``product``, ``other`` and ``weight``.
"""

import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import offsets_of_rows
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from recsys_assets.models.dataset import TrainingData

if TYPE_CHECKING:
    import ibis.expr.types as ir

MEMORY_LIMIT = "4GiB"
"""Of DuckDB's own buffers; beyond it DuckDB writes to a temporary folder."""


def event_weights(
    events: "ir.Table", type_weights: Mapping[InteractionType, float], as_of: int, half_life_days: float | None
) -> "ir.Table":
    """Events of weighted types with their ``weight``, as `TrainingData.event_weights`."""
    import ibis

    table = {int(kind): float(weight) for kind, weight in type_weights.items() if weight > 0}
    counted = events.filter(events.kind.isin(list(table)))
    weight = ibis.cases(*[(counted.kind == kind, value) for kind, value in table.items()]).cast("float64")
    if half_life_days is not None:
        age_days = (ibis.literal(as_of) - counted.seconds).cast("float64") / SECONDS_PER_DAY
        weight = weight * (age_days * float(np.log(0.5)) / half_life_days).exp()
    return counted.mutate(weight=weight)


def user_pairs(
    events: "ir.Table",
    type_weights: Mapping[InteractionType, float],
    as_of: int,
    half_life_days: float | None,
    *,
    binary: bool,
) -> "ir.Table":
    """``user``, ``product`` and ``weight`` of each pair, as `TrainingData.matrix`."""
    weighted = event_weights(
        events, dict.fromkeys(type_weights, 1.0) if binary else type_weights, as_of, half_life_days
    )
    weight = weighted.weight.max() if binary else weighted.weight.sum()
    return weighted.group_by(["user", "product"]).agg(weight=weight)


def bm25(pairs: "ir.Table", products: int, k1: float, b: float) -> "ir.Table":
    """`pairs` with the weights of `ItemKnn` for BM25, among a catalogue of ``products``."""
    per_user = pairs.group_by("user").agg(df=pairs.product.count())
    per_product = pairs.group_by("product").agg(length=pairs.weight.sum())
    total = pairs.agg(total=pairs.weight.sum())
    joined = pairs.join(per_user, "user").join(per_product, "product").cross_join(total)
    saturation = k1 * ((1.0 - b) + b * joined.length * float(products) / joined.total)
    rarity = float(np.log(products)) - (joined.df.cast("float64") + 1.0).ln()
    value = joined.weight * (k1 + 1.0) / (saturation + joined.weight) * rarity
    return joined.select("user", "product", weight=value)


def nearest(pairs: "ir.Table", neighbours: int) -> "ir.Table":
    """Each product's ``neighbours`` largest positive sums, over users, of products of weights.

    The product itself is among them; of equal sums the smaller ``other``.
    """
    import ibis

    others = pairs.view().rename(other="product", other_weight="weight")
    joined = pairs.join(others, "user")
    sums = joined.group_by(["product", "other"]).agg(weight=(joined.weight * joined.other_weight).sum())
    place = ibis.row_number().over(ibis.window(group_by="product", order_by=[ibis.desc("weight"), "other"]))
    ranked = sums.filter(sums.weight > 0).mutate(place=place)
    return ranked.filter(ranked.place < neighbours).select("product", "other", "weight")


def bm25_graph(
    data: TrainingData,
    type_weights: Mapping[InteractionType, float],
    *,
    binary: bool,
    k1: float,
    b: float,
    neighbours: int,
    half_life_days: float | None,
) -> SparseWeights:
    """The BM25 graph of `ItemKnn`, computed by DuckDB within `MEMORY_LIMIT` of memory."""
    import ibis

    with tempfile.TemporaryDirectory(prefix="recsys-counts-") as spill:
        connection = ibis.duckdb.connect(
            memory_limit=MEMORY_LIMIT, temp_directory=spill, preserve_insertion_order=False
        )
        columns = {"user": data.user, "product": data.product, "kind": data.kind, "seconds": data.timestamp}
        events = ibis.memtable(pa.table(columns))
        pairs = user_pairs(events, type_weights, data.as_of, half_life_days, binary=binary)
        valued = connection.create_table("pairs", bm25(pairs, len(data.products), k1, b))
        found = connection.to_pyarrow(nearest(valued, neighbours).order_by(["product", "other"]))
        connection.disconnect()
    return SparseWeights(
        offsets_of_rows(found["product"].to_numpy(), len(data.products)),
        found["other"].to_numpy().astype(np.int32),
        found["weight"].to_numpy().astype(np.float32),
    )
