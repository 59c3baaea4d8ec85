"""The Lambda handlers behind an HTTP server on this machine: the laptop's replacement of API Gateway.

``server`` starts gunicorn with its threaded worker; ``gateway`` is the WSGI application (routes, authorizer, limits,
CORS, access log); ``events`` converts HTTP to events of payload format 2.0 and back; ``static_files`` serves the shop
page. What a request means is decided in ``lambda_api.handlers``, which only workers import, after they are forked.
"""
