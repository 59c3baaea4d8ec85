"""Estimate of a month's cost, from an environment's values, a shop's traffic and a dated table of public prices.

AWS is not called, so this works without an account.
"""
