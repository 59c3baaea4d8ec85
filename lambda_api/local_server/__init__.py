"""The Lambda handlers behind a real HTTP server, for a laptop: what API Gateway does, done here.

Put here what stands between a socket and a handler: events of payload format 2.0 (``events``), routing, authorizer and
limits (``gateway``), static files (``static_files``), the worker that reads sockets (``worker``), log lines
(``access_log``) and the process that runs it all (``server``). Keep what a request means in ``lambda_api.handlers``.
The master process imports none of the handlers: workers do, after they are forked.
"""
