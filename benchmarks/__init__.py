"""Figures the project claims, measured: ``make benchmarks`` prints them all, ``python -m benchmarks.<name>`` one.

Put a measurement here when the README or a document quotes its result. Keep assertions about speed out of the tests.
"""
