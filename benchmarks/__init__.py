"""Figures the project claims, measured: ``make benchmarks`` prints them all, ``python -m benchmarks.<name>`` one."""
