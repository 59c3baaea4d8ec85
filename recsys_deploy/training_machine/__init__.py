"""The state machine that trains: its definition, the table of services it calls, and what is known of both.

Import submodules directly.
"""
