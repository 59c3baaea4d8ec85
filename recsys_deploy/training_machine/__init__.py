"""The state machine that trains (``training.asl.json``) and the permissions for what it calls (``services.json``)."""
