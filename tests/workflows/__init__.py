"""Workflows run what anybody can run, with no more rights than they need."""
