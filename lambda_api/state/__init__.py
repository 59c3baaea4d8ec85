"""Small keyed records that serving reads and writes, behind one table port with two adapters (SQLite, DynamoDB).

``table`` is the port, ``encoding`` its limits, ``open_table`` chooses the adapter; the other modules are the stores:
history, exposures, popular products, routing record, API keys, shadow queue; ``event_sink`` is the event stream. The
data lake is in ``recsys_assets.lake``. Import the submodules directly.
"""
