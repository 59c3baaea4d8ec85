"""Which products are bought together: for each the few that most belong into the same basket.

Put the counting of baskets here. Keep where companions are stored (``lambda_api.recommender.catalogue``) and what is
said with them (``lambda_api.serving.reasons``) out.

A basket is what one shopper bought on one UTC day; a log knows no orders. Companions are ranked by the cosine of
the two sets of baskets, (baskets with both) / sqrt(baskets with one * baskets with the other): a bestseller lies in
many baskets and so needs many in common. A pair found together no more often than chance would have it is none.
"""

from typing import Final

import numpy as np
import pyarrow as pa

from lambda_api.recommender.ids import IdMap, IndexArray
from recsys_assets.features.engine import duckdb_engine, end_of_log, read_lake
from recsys_assets.lake import Lake

MAX_COMPANIONS: Final = 10
"""Kept of each product."""

MIN_SHARED_BASKETS: Final = 3
"""Baskets that must hold shared: one is an accident, two may be the same shopper's habit begun."""

MAX_BASKET_PRODUCTS: Final = 100
"""Products of the largest basket that counts.

A larger one is a wholesaler stocking up, or a robot: what is in it was not chosen to go together. And pairs grow with
the square: one basket of a thousand products has as many as all of ten thousand ordinary ones.
"""

_BASKETS: Final = """
    CREATE TEMP TABLE lines AS
    SELECT DISTINCT user_id, epoch_us(timestamp) // 86400000000 AS day, place
    FROM interactions JOIN places USING (product_id)
    WHERE interaction_type = 'purchase';
    CREATE TEMP TABLE baskets AS
    SELECT row_number() OVER () AS basket, places
    FROM (SELECT list(place) AS places FROM lines GROUP BY user_id, day)
    WHERE len(places) <= {most_lines};
    CREATE TEMP TABLE held AS SELECT basket, unnest(places) AS place FROM baskets;
"""
# a < b halves the pairs; every division is of whole numbers, so equal measures are equal exactly.
_COMPANIONS: Final = """
    WITH bought AS (SELECT place, count(*) AS baskets FROM held GROUP BY place),
    together AS (
        SELECT one.place AS a, other.place AS b, count(*) AS shared
        FROM held AS one JOIN held AS other ON one.basket = other.basket AND one.place < other.place
        GROUP BY a, b HAVING count(*) >= {least_baskets}
    ),
    pairs AS (
        SELECT a, b, shared FROM together UNION ALL SELECT b AS a, a AS b, shared FROM together
    )
    SELECT a, b, row_number() OVER (
        PARTITION BY a ORDER BY shared * shared / theirs.baskets DESC, shared DESC, b
    ) AS rank
    FROM pairs
    JOIN bought AS theirs ON theirs.place = b
    JOIN bought AS own ON own.place = a
    WHERE shared * (SELECT count(*) FROM baskets) > own.baskets * theirs.baskets
    QUALIFY rank <= {most_companions}
"""


def companions_of(lake: Lake, products: IdMap) -> IndexArray:
    """The companions of every product, int32 ``[n, MAX_COMPANIONS]``, best first, then -1.

    Counts over the whole validated log, in DuckDB's own memory limit: what goes beyond is spilled to disk.

    Raises:
        LakeError: there are no interactions.
    """
    found = np.full((len(products), MAX_COMPANIONS), -1, dtype=np.int32)
    ids = pa.array(products.external(np.arange(len(products))), pa.string())
    places = pa.table({"product_id": ids, "place": pa.array(np.arange(len(products), dtype=np.int32))})
    with duckdb_engine() as connection:
        read_lake(connection, lake, end_of_log(lake))
        connection.con.register("places", places)
        connection.con.execute(_BASKETS.format(most_lines=MAX_BASKET_PRODUCTS))
        limits = {"least_baskets": MIN_SHARED_BASKETS, "most_companions": MAX_COMPANIONS}
        rows = connection.con.sql(_COMPANIONS.format(**limits)).to_arrow_table()
    own, other, rank = (rows[name].to_numpy() for name in ("a", "b", "rank"))
    found[own, rank - 1] = other
    return found
