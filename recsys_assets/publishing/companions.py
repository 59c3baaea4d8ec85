"""Companions: for each product the few that are most often bought together with it.

A basket is what one shopper bought on one UTC day, because a log has no orders. Companions are ranked by the cosine of
the two sets of baskets, (baskets with both) / sqrt(baskets with one * baskets with the other), which corrects for
bestsellers. Pairs that occur no more often than expected by chance are left out.
"""

from typing import Final

import numpy as np
import pyarrow as pa

from lambda_api.recommender.ids import IdMap, IndexArray
from recsys_assets.features.engine import duckdb_engine, end_of_log, read_lake
from recsys_assets.lake import Lake

MAX_COMPANIONS: Final = 10
"""Maximum per product."""

MIN_SHARED_BASKETS: Final = 3
"""Minimum number of common baskets of a pair."""

MAX_BASKET_PRODUCTS: Final = 100
"""Larger baskets are ignored: they come from wholesalers or robots, and the number of pairs grows with the square."""

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
